//! `surefoot publish`: a release into a channel of a signed repository.

use crate::{
    deltas::{self, Brought, DeltaArgs},
    desk::{ClockArgs, Desk, EndArgs, PlanArgs, WaitArgs, check_fits, refreshed, require},
    errors::Usage,
    keyring::KeysArgs,
    output::{Output, sanitize},
    web_servers::{self, NetArgs},
};
use anyhow::{Context as _, ensure};
use indicatif::BinaryBytes;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};
use surefoot_core::{
    StorePath,
    closure::ClosureIndex,
    release::{Label, Listed, MAX_NEEDS, Manifest, Name, RebootPolicy, Release, System},
};
use surefoot_http::Http;
use surefoot_store::{
    Error, Kind,
    cache::{Cache, place},
    index::{self, Packed},
    nix_daemon::{Connection, PATIENCE, default_socket},
    signature::PublicKey,
};

/// Add a release to a channel of a signed repository.
#[derive(Debug, clap::Args)]
#[command(mut_arg("keys_dir", |keys| keys.alias("keys")))]
#[command(after_long_help = r#"Examples:
  Say what would be published:
      surefoot publish --repo fleet --channel stable --model picker --cache https://cache.example.org --dry-run ./result
  Publish it to one robot in a hundred now, and to all within two days:
      surefoot publish --repo fleet --channel stable --model picker --cache https://cache.example.org --waves "1% now, 100% after 2d" ./result"#)]
pub(crate) struct PublishArgs {
    /// The system: a store path, or a link to one as `nix build` makes it. With several models, one
    /// for each, in the same order.
    #[arg(required = true)]
    toplevel: Vec<String>,
    /// The repository that `surefoot repo init` made.
    #[arg(long, value_name = "DIR")]
    repo: PathBuf,
    /// The channel; made with its first release. After the first one of a repository --new has to say
    /// so.
    #[arg(long)]
    channel: Name,
    /// The channel or a model is a new one, and that is meant. Without this a name that the repository
    /// does not have is taken for a slip.
    #[arg(long)]
    new: bool,
    /// The robots that it is for; may be given several times.
    #[arg(long, required = true)]
    model: Vec<Name>,
    /// Only robots with this label, KEY=VALUE; may be given several times. Of one key any value will
    /// do, and each key counts. To offer it to all, publish the system again under another name:
    /// where it runs already it is not tried again.
    #[arg(long, value_name = "LABEL")]
    only: Vec<Label>,
    /// The least release to come from: robots that run an older one take that one first.
    #[arg(long, value_name = "RELEASE")]
    come_from: Option<Name>,
    /// It brings an older system back, and that is meant.
    #[arg(long)]
    step_back: bool,
    #[command(flatten)]
    plan: PlanArgs,
    /// A feature that robots' agents must know to take it; may be given several times. One that does
    /// not know all of them leaves the release alone, and takes the newest before it that it knows and
    /// that is newer than what runs.
    #[arg(long, value_name = "FEATURE")]
    needs: Vec<Name>,
    /// The binary cache that holds the closure, a directory or a URL. Those given after it go into
    /// the closure index as further places to look.
    #[arg(long, required = true, value_name = "DIR|URL")]
    cache: Vec<String>,
    /// Let the closure index name caches that are a directory or file://, for robots that have such a
    /// place themselves: a stick, say. Without this it names the others only, and there has to be one.
    #[arg(long)]
    local_cache: bool,
    /// Write another closure index for a release that is there, of the same systems: where the cache has
    /// got other files for them since. Nothing else of the release changes.
    #[arg(long, value_name = "RELEASE", conflicts_with_all = ["release", "waves", "share", "first", "only",
        "come_from", "step_back", "needs", "notes", "reboot", "again", "moves", "new"])]
    replace_index: Option<Name>,
    /// It is not a NixOS system, and that is meant: no robot could run it, but `surefoot fetch` brings it.
    #[arg(long)]
    any_closure: bool,
    #[command(flatten)]
    deltas: DeltaArgs,
    /// The release's name. [default: today's date and a number, such as 2026-11-22.1]
    #[arg(long, value_name = "ID")]
    release: Option<Name>,
    /// What is new, for people.
    #[arg(long, value_name = "TEXT", default_value = "")]
    notes: String,
    /// Whether robots try it by a reboot although nothing in it demands one.
    #[arg(long, value_enum, default_value = "auto")]
    reboot: Reboot,
    /// Offer it also to robots where a person rolled this system back. Without this they do not try the
    /// system again, whatever the release's name.
    #[arg(long)]
    again: bool,
    /// It is meant that robots follow another repository or channel with it, or become another model.
    /// Without this they refuse a system whose configuration says so: most likely it is a slip, and they
    /// would never be reached again.
    #[arg(long)]
    moves: bool,
    #[command(flatten)]
    keys: KeysArgs,
    #[command(flatten)]
    end: EndArgs,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    clock: ClockArgs,
    /// Ask no Nix store. This is also done where no Nix daemon is. Then each NAR of the closure is
    /// downloaded and hashed, for a narinfo is no more than the cache's word, unless
    /// --trusted-public-key says whose word is believed.
    #[arg(long)]
    no_store: bool,
    /// Refuse a path that none of these keys signed; give those that robots have in their
    /// trusted-public-keys. Without a Nix store it also means that what they signed is believed.
    #[arg(long, value_name = "NAME:BASE64")]
    trusted_public_key: Vec<PublicKey>,
    #[command(flatten)]
    net: NetArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Reboot {
    Auto,
    Always,
}

/// Runs it.
pub(crate) fn run(args: PublishArgs, output: Output) -> anyhow::Result<()> {
    ensure!(
        args.model.len() == args.toplevel.len(),
        Usage(format!(
            "{} models, but {} systems; give one system for each model",
            args.model.len(),
            args.toplevel.len()
        ))
    );
    ensure!(
        args.needs.len() <= MAX_NEEDS,
        Usage(format!(
            "{} times --needs; robots read at most {MAX_NEEDS}",
            args.needs.len()
        ))
    );
    let keys = args.keys.ring(&args.repo)?;
    // Held open, and so locked, from here on: two publishers must not take the same name.
    let mut desk = Desk::read(args.wait.open(&args.repo, keys)?);
    let now = args.clock.now(desk.editor())?;
    desk.has_models(&args.model, args.new)?;
    desk.has_channel(&args.channel, args.new)?;
    if let Some(release) = &args.replace_index {
        return replace_index(&args, release, desk, now, output);
    }
    let manifest = desk.channel(&args.channel)?;
    let id = match &args.release {
        Some(id) => id.clone(),
        None => next_id(desk.channels(), now)?,
    };
    let mut release = Release {
        id: id.clone(),
        created: now,
        notes: args.notes.clone(),
        reboot: match args.reboot {
            Reboot::Auto => RebootPolicy::Auto,
            Reboot::Always => RebootPolicy::Always,
        },
        again: args.again,
        moves: args.moves,
        systems: BTreeMap::new(),
        only: args.only.clone(),
        needs: args.needs.clone(),
        rollout: args.plan.begin(None, now)?,
        from: args.come_from.clone(),
        step_back: args.step_back,
        recalled: None,
    };
    require(&mut release)?;
    // What can be wrong is said before the closure is looked at, which takes its time.
    check_fits(&release, manifest)?;

    let mut closures = web_servers::wait(closures(&args))?;
    for (model, closure) in args.model.iter().zip(&mut closures) {
        closure.add_deltas(&args, &older(&args, &desk, model, None)?)?;
    }
    put_systems(&mut release, &args.model, &closures)?;
    for closure in &closures {
        desk.put_index(&closure.packed.target, closure.packed.bytes.clone())?;
    }
    let manifest = desk.manifest(&args.channel)?;
    check_fits(&release, manifest)?;
    manifest
        .releases
        .push(Listed::Known(Box::new(release.clone())));
    let ended = desk.save(&args.channel, now, &args.end)?;
    desk.warn(&args.repo, now);
    if output.is_json() {
        let systems: serde_json::Map<_, _> = args
            .model
            .iter()
            .zip(&closures)
            .map(|(model, closure)| (model.to_string(), closure.to_json()))
            .collect();
        output.object(&json!({
            "channel": args.channel,
            "release": id,
            "systems": systems,
            "rollout": release.rollout,
            "dryRun": args.end.dry_run,
            "draft": args.end.draft,
            "versions": ended.versions(),
        }))?;
        return Ok(());
    }
    output.text(&format!(
        "Release {id} {} in channel {}",
        if ended.versions().is_none() {
            "would be"
        } else {
            "is"
        },
        args.channel
    ))?;
    for (model, closure) in args.model.iter().zip(&closures) {
        output.text(&format!("  {model}: {}", closure.index.toplevel))?;
        output.text(&format!(
            "    {} paths, {} to download, {} in the store, {}",
            closure.index.paths.len(),
            BinaryBytes(closure.download_bytes()),
            BinaryBytes(closure.index.nar_size()),
            closure.hashes.words()
        ))?;
        if let Some(brought) = &closure.brought {
            output.text(&format!("    {}", brought.words()))?;
        }
        if closure.unsigned > 0 {
            output.text(&format!("    {} paths have no signature: robots that check Nix' signatures will refuse them",
                closure.unsigned))?;
        }
    }
    match &release.rollout {
        None => {}
        Some(plan) => {
            output.text(&format!(
                "It goes out in steps: {}",
                sanitize(&plan.to_string())
            ))?;
            refreshed(plan, &args.repo, now).map_or(Ok(()), |line| output.text(&line))?;
        }
    }
    ended.line().map_or(Ok(()), |line| output.text(&line))
}

/// One system, ready to be published.
struct Closure {
    index: ClosureIndex,
    packed: Packed,
    /// Whose word its hashes are.
    hashes: Hashes,
    /// Paths with neither a signature nor a content address.
    unsigned: usize,
    /// What its deltas bring, if some were asked for.
    brought: Option<Brought>,
}

impl Closure {
    fn download_bytes(&self) -> u64 {
        let sizes = self.index.paths.iter();
        sizes.map(|info| info.download.size(info.nar_size)).sum()
    }

    /// Lists deltas of these closures, and writes the index anew.
    fn add_deltas(&mut self, args: &PublishArgs, old: &[ClosureIndex]) -> anyhow::Result<()> {
        let old: Vec<ClosureIndex> = (old.iter())
            .filter(|old| old.toplevel != self.index.toplevel)
            .cloned()
            .collect();
        let caches = args.cache.iter().map(|text| Cache::new(&place(text)));
        let caches = caches.collect::<Result<Vec<_>, _>>()?;
        let how = (&args.net, !args.no_store, args.end.dry_run);
        self.brought = args.deltas.add(&mut self.index, &old, &caches, how)?;
        if let Some(brought) = &self.brought {
            deltas::warn(brought);
            self.packed = index::pack(&self.index).context(
                "the closure index is too large with its deltas; give a smaller --deltas-from",
            )?;
        }
        Ok(())
    }

    fn to_json(&self) -> serde_json::Value {
        json!({
            "toplevel": self.index.toplevel,
            "index": self.packed.target,
            "caches": self.index.caches,
            "paths": self.index.paths.len(),
            "narSize": self.index.nar_size(),
            "downloadBytes": self.download_bytes(),
            "comparedWithStore": self.hashes == Hashes::Store,
            "hashes": self.hashes,
            "unsigned": self.unsigned,
            "deltas": self.brought,
        })
    }
}

/// Whose word the hashes of a closure are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
enum Hashes {
    /// The local Nix store's.
    Store,
    /// That of keys which the publisher named.
    Signatures,
    /// Nobody's: each NAR was downloaded and hashed.
    Read,
}

impl Hashes {
    const fn words(self) -> &'static str {
        match self {
            Self::Store => "compared with the local store",
            Self::Signatures => "as keys that were named have signed it",
            Self::Read => "each NAR was read",
        }
    }
}

/// The systems that a model had in the releases before, or before this one, the newest first: as many as
/// deltas are made of.
fn older(
    args: &PublishArgs,
    desk: &Desk,
    model: &Name,
    before: Option<&Name>,
) -> anyhow::Result<Vec<ClosureIndex>> {
    let Ok(manifest) = desk.channel(&args.channel) else {
        return Ok(Vec::new());
    };
    let is_it = |one: &&Listed| before.is_some_and(|id| one.id() == id.as_str());
    let releases: Vec<&Listed> = (manifest.releases.iter())
        .take_while(|one| !is_it(one))
        .collect();
    let mut seen = BTreeSet::new();
    let systems = releases.into_iter().rev().filter_map(|one| match one {
        Listed::Known(release) => release.systems.get(model),
        Listed::Other(_) => None,
    });
    let systems = systems.filter(|system| seen.insert(system.toplevel.clone()));
    let mut old = Vec::new();
    for system in systems.take(args.deltas.from()) {
        let bytes = desk.editor().read_target(&system.index)?;
        let bytes = bytes.with_context(|| format!("{} is not in the repository", system.index))?;
        old.push(index::unpack(&bytes).with_context(|| system.index.clone())?);
    }
    Ok(old)
}

/// Puts the system of each model into a release.
fn put_systems(release: &mut Release, models: &[Name], closures: &[Closure]) -> anyhow::Result<()> {
    for (model, closure) in models.iter().zip(closures) {
        let system = System {
            toplevel: closure.index.toplevel.clone(),
            index: closure.packed.target.clone(),
            paths: closure.index.paths.len() as u64,
            nar_size: closure.index.nar_size(),
        };
        let twice = release.systems.insert(model.clone(), system).is_some();
        ensure!(!twice, Usage(format!("model '{model}' is given twice")));
    }
    Ok(())
}

/// Writes another index for systems that a release has.
fn replace_index(
    args: &PublishArgs,
    id: &Name,
    mut desk: Desk,
    now: Timestamp,
    output: Output,
) -> anyhow::Result<()> {
    let mut closures = web_servers::wait(closures(args))?;
    for (model, closure) in args.model.iter().zip(&mut closures) {
        closure.add_deltas(args, &older(args, &desk, model, Some(id))?)?;
    }
    let release = desk.release(&args.channel, id)?;
    for (model, closure) in args.model.iter().zip(&closures) {
        let has = release.systems.get(model).map(|system| &system.toplevel);
        ensure!(
            has == Some(&closure.index.toplevel),
            Usage(format!(
                "release {id} has {} for model '{model}', not {}; another system is another release",
                has.map_or_else(|| "no system".to_owned(), ToString::to_string),
                closure.index.toplevel
            ))
        );
        release.systems.remove(model);
    }
    put_systems(release, &args.model, &closures)?;
    for closure in &closures {
        desk.put_index(&closure.packed.target, closure.packed.bytes.clone())?;
    }
    let ended = desk.save(&args.channel, now, &args.end)?;
    desk.warn(&args.repo, now);
    let object = json!({
        "channel": args.channel,
        "release": id,
        "dryRun": args.end.dry_run,
        "draft": args.end.draft,
        "versions": ended.versions(),
    });
    output.result(&object, |_| {
        format!(
            "Release {id} {} another index. Robots that could not fetch it ask for it with their next check; \
             who has its system does nothing.",
            if ended.versions().is_none() { "would get" } else { "has" }
        )
    })
}

async fn closures(args: &PublishArgs) -> anyhow::Result<Vec<Closure>> {
    let all = args
        .cache
        .iter()
        .map(|text| Cache::new(&place(text)))
        .collect::<Result<Vec<_>, _>>()?;
    let (Some(cache), http) = (all.first().cloned(), Http::new(args.net.options())) else {
        return Ok(Vec::new());
    };
    // What only a cache has that robots do not reach is not there for them.
    let caches: Vec<Cache> = (all.into_iter())
        .filter(|cache| args.local_cache || !cache.to_string().starts_with("file:"))
        .collect();
    ensure!(
        !caches.is_empty(),
        Usage(format!(
            "{cache} lies on this machine, where robots do not reach it; give the URL by which they reach \
             it as another --cache, or --local-cache if they have the same place"
        ))
    );
    cache.check(&http).await?;
    let mut daemon = store_daemon(args.no_store).await?;
    let mut closures = Vec::new();
    for text in &args.toplevel {
        let toplevel = store_path(text)?;
        let mut index = index_of(&toplevel, daemon.as_mut(), &cache, &http).await?;
        index.caches = caches.iter().map(ToString::to_string).collect();
        let by_keys = !args.trusted_public_key.is_empty();
        if by_keys {
            index::check_signatures(&index, &args.trusted_public_key)?;
        }
        let hashes = match daemon {
            Some(_) => Hashes::Store,
            None if by_keys => Hashes::Signatures,
            None => Hashes::Read,
        };
        if hashes == Hashes::Read {
            index::read_nars(&index, &caches, &http, tempfile::tempfile).await?;
        } else {
            index::check_nars(&index, &caches, &http).await?;
        }
        if !args.any_closure {
            check_system(&index, &caches, &http).await?;
        }
        let bare = |info: &&surefoot_core::closure::PathInfo| {
            info.signatures.is_empty() && info.ca.is_none()
        };
        closures.push(Closure {
            packed: index::pack(&index)?,
            unsigned: index.paths.iter().filter(bare).count(),
            brought: None,
            hashes,
            index,
        });
    }
    Ok(closures)
}

/// What each system of NixOS has, and robots look for before a trial.
const PARTS: [&str; 2] = ["bin/switch-to-configuration", "nixos-version"];

/// Whether the toplevel of a closure is a system of NixOS: by its own NAR, for it need not be in a store
/// here.
async fn check_system(index: &ClosureIndex, caches: &[Cache], http: &Http) -> anyhow::Result<()> {
    let info = (index.paths.iter()).find(|info| info.path == index.toplevel);
    let info = info.context("the index has no toplevel")?;
    let names = index::list(info, caches, http, tempfile::tempfile).await?;
    for part in PARTS {
        ensure!(
            names.iter().any(|name| name == part),
            Usage(format!(
                "{} has no {part}: it is not a NixOS system, and no robot could run it; give \
                 config.system.build.toplevel, or --any-closure if it is not for robots to run",
                index.toplevel
            ))
        );
    }
    Ok(())
}

/// What a store and a cache say of a system, or the cache alone.
///
/// # Errors
/// They do not have all of it, or do not agree.
pub(super) async fn index_of(
    toplevel: &StorePath,
    daemon: Option<&mut Connection>,
    cache: &Cache,
    http: &Http,
) -> anyhow::Result<ClosureIndex> {
    Ok(match daemon {
        Some(daemon) => index::from_store(daemon, cache, http, toplevel).await,
        None => index::from_cache(cache, http, toplevel).await,
    }?)
}

/// The local store's Nix daemon, unless no store is to be asked or there is none.
///
/// # Errors
/// There has to be one, or it does not answer as one.
pub(super) async fn store_daemon(no_store: bool) -> anyhow::Result<Option<Connection>> {
    if no_store {
        return Ok(None);
    }
    find_daemon(&default_socket()).await
}

/// The Nix daemon, where there is one.
async fn find_daemon(socket: &Path) -> anyhow::Result<Option<Connection>> {
    match Connection::open(socket, PATIENCE).await {
        Ok(daemon) => Ok(Some(daemon)),
        // A socket that was asked for by name must be there.
        Err(Error::DaemonGone { .. }) if std::env::var_os("NIX_DAEMON_SOCKET_PATH").is_none() => {
            Ok(None)
        }
        Err(error) if error.kind() == Kind::Daemon => {
            Err(error).context("give --no-store to believe the cache alone")
        }
        Err(error) => Err(error.into()),
    }
}

/// A store path, or a link to one.
///
/// # Errors
/// It is neither.
pub(super) fn store_path(text: &str) -> anyhow::Result<StorePath> {
    if let Ok(path) = text.trim_end_matches('/').parse() {
        return Ok(path);
    }
    let target = std::fs::canonicalize(text)
        .with_context(|| format!("'{text}' is neither a store path nor a link to one"))?;
    Ok(StorePath::containing(&target)?)
}

/// Today's date in UTC, and the first number above those of all channels: a release that is promoted keeps
/// its name.
fn next_id(channels: &[Manifest], now: Timestamp) -> anyhow::Result<Name> {
    let today = format!("{}.", now.to_zoned(TimeZone::UTC).date());
    let names = channels.iter().flat_map(Manifest::names);
    let numbers = names.filter_map(|name| name.strip_prefix(&today)?.parse::<u32>().ok());
    let number = numbers.max().unwrap_or(0);
    Ok(format!("{today}{}", u64::from(number) + 1).parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_counted_up() {
        let now: Timestamp = "2026-11-22T23:30:00Z".parse().unwrap();
        let mut manifest = Manifest::empty("stable".parse().unwrap());
        for (have, next) in [
            ("2026-11-21.9", "2026-11-22.1"),
            ("2026-11-22.1", "2026-11-22.2"),
            ("2026-11-22.10", "2026-11-22.11"),
            ("2026-11-22.3", "2026-11-22.11"),
            ("2026-11-22.x", "2026-11-22.11"),
            ("anything", "2026-11-22.11"),
        ] {
            manifest.releases.push(Listed::Known(Box::new(Release {
                id: have.parse().unwrap(),
                created: now,
                notes: String::new(),
                reboot: RebootPolicy::Auto,
                again: false,
                moves: false,
                systems: BTreeMap::new(),
                only: Vec::new(),
                needs: Vec::new(),
                rollout: None,
                from: None,
                step_back: false,
                recalled: None,
            })));
            assert_eq!(
                next_id(std::slice::from_ref(&manifest), now)
                    .unwrap()
                    .as_str(),
                next
            );
        }
    }
}
