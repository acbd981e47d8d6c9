//! `surefoot fetch`: what the daemon does to bring a closure, by hand.

use crate::{
    errors::Usage,
    files,
    output::{Bar, Output},
    web_servers::{self, NetArgs},
};
use anyhow::{Context as _, bail, ensure};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use indicatif::BinaryBytes;
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use surefoot_base::units::parse_bytes;
use surefoot_core::{
    StorePath,
    closure::{ClosureIndex, MAX_COMPRESSED_INDEX_BYTES, MAX_INDEX_BYTES, SignaturePolicy},
    offers::Robot,
    release::{Label, MAX_MANIFEST_BYTES, Manifest, Name, manifest_target},
};
use surefoot_http::Http;
use surefoot_store::{
    cache::{Cache, place},
    fetch::{self, FetchReport},
    index,
    nix_daemon::default_socket,
    plan::FetchPlan,
    progress::{Progress, Status},
    request::FetchRequest,
};

/// Without a terminal, how often a line says how far it is.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Bring a closure into the local Nix store, as the daemon does.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
#[command(after_long_help = r"Examples:
  What the newest release would cost this robot:
      surefoot fetch --repo https://updates.example.org/fleet --channel stable --model picker --dry-run")]
pub(crate) struct FetchArgs {
    /// The system to fetch: a store path. Its closure is read from the cache's narinfos; only Nix'
    /// own signatures protect it.
    #[arg(group = "what", requires = "from")]
    toplevel: Option<StorePath>,
    /// A closure index, as `surefoot publish` writes it (.json.zst), or the JSON in it.
    #[arg(long, group = "what", value_name = "FILE")]
    index: Option<PathBuf>,
    /// A signed repository, a directory or a URL: fetches what its channel has for the model.
    #[arg(
        long,
        group = "what",
        value_name = "DIR|URL",
        requires = "channel",
        requires = "model"
    )]
    repo: Option<String>,
    /// The channel to read.
    #[arg(long, requires = "repo")]
    channel: Option<Name>,
    /// The model to fetch for.
    #[arg(long, requires = "repo")]
    model: Option<Name>,
    /// The repository's trust anchor.
    #[arg(
        long,
        requires = "repo",
        value_name = "FILE",
        default_value = "/etc/surefoot/root.json"
    )]
    root: PathBuf,
    /// A label of the robot, KEY=VALUE; may be given several times.
    #[arg(long, requires = "repo", value_name = "LABEL")]
    label: Vec<Label>,
    /// A binary cache, a directory or a URL; may be given several times. Asked in this order, before
    /// those that the closure index names.
    #[arg(long, value_name = "DIR|URL")]
    from: Vec<String>,
    /// Downloads at a time.
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u8).range(1..=64))]
    connections: u8,
    /// Bytes a second at most; K, M and G stand for powers of 1024.
    #[arg(long, value_name = "SIZE", value_parser = rate)]
    limit_rate: Option<u64>,
    /// The symlink that will keep the closure in the store.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/nix/var/nix/gcroots/surefoot/fetch"
    )]
    gc_root: PathBuf,
    /// Where downloads wait for their import; what an interrupted fetch left there is taken up.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/cache/surefoot/staging"
    )]
    staging: PathBuf,
    /// Whose word makes a path good: the Nix signatures that the daemon checks besides, or the
    /// closure index alone, which the daemon allows to trusted users.
    #[arg(long, default_value = "nix", value_parser = signatures())]
    signatures: SignaturePolicy,
    /// Do not wait until the store is on the disk. A power cut soon after may damage what was
    /// fetched, unless nix.conf has fsync-store-paths.
    #[arg(long)]
    no_sync: bool,
    /// Fetch whole paths, even where the closure index has deltas of what is in the store.
    #[arg(long)]
    no_deltas: bool,
    /// Only say what it would cost.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    net: NetArgs,
}

fn signatures() -> impl TypedValueParser<Value = SignaturePolicy> {
    PossibleValuesParser::new(SignaturePolicy::NAMES)
        .map(|name| SignaturePolicy::named(&name).unwrap_or_default())
}

/// How far it is, for [`Bar`].
const BAR: &str = "{bar:30} {bytes:>11} of {total_bytes}  {bytes_per_sec}  {eta} left  {msg}";

/// Runs it.
pub(crate) fn run(args: FetchArgs, output: Output) -> anyhow::Result<()> {
    one_arena();
    web_servers::wait(fetch(args, output))
}

async fn fetch(args: FetchArgs, output: Output) -> anyhow::Result<()> {
    let from: Vec<String> = args.from.iter().map(|text| place(text)).collect();
    let (index, release) = find_index(&args, &from).await?;
    let mut caches = from;
    for cache in &index.caches {
        if !caches.contains(cache) {
            caches.push(cache.clone());
        }
    }
    ensure!(
        !caches.is_empty(),
        Usage("the closure index names no cache; give one with --from".into())
    );
    let index = Arc::new(index);
    let mut request = FetchRequest::new(Arc::clone(&index), caches, args.staging, args.gc_root);
    request.connections = args.connections.into();
    request.sync = !args.no_sync;
    request.http = args.net.options();
    request.bandwidth.set(args.limit_rate.unwrap_or(0));
    request.daemon_socket = default_socket();
    request.signatures = args.signatures;
    request.deltas = !args.no_deltas;
    if args.dry_run {
        let plan = fetch::plan(&request).await?;
        if output.is_json() {
            return output.object(&json!({
                "toplevel": index.toplevel,
                "release": release,
                "paths": index.paths.len(),
                "missing": plan.missing.len(),
                "alreadyPresent": plan.already_present,
                "downloadBytes": plan.download_bytes,
                "stagedBytes": plan.staged_bytes,
                "wireBytes": plan.wire_bytes(),
                "narBytes": plan.nar_bytes,
                "deltas": plan.deltas,
                "savedBytes": plan.saved_bytes,
            }));
        }
        return print_plan(&index, release.as_ref(), &plan, output);
    }
    let fetch = fetch::prepare(&request).await?;
    print_plan(&index, release.as_ref(), &fetch.plan, output)?;
    let report = if output.is_json() || fetch.plan.missing.is_empty() {
        fetch.run(&()).await?
    } else if let Some(bar) = Bar::new(BAR) {
        fetch.run(&bar).await?
    } else {
        let lines = Lines {
            output,
            last: Mutex::default(),
        };
        fetch.run(&lines).await?
    };
    if output.is_json() {
        return output.object(&json!({
            "toplevel": index.toplevel,
            "release": release,
            "gcRoot": request.gc_root,
            "paths": report.paths,
            "fetched": report.fetched,
            "alreadyPresent": report.already_present,
            "downloadBytes": report.download_bytes,
            "wireBytes": report.wire_bytes,
            "resumedBytes": report.resumed_bytes,
            "wastedBytes": report.wasted_bytes,
            "narBytes": report.nar_bytes,
            "seconds": report.elapsed.as_secs_f64(),
        }));
    }
    print_report(&request.gc_root, &report, output)
}

/// One heap for all threads: what each of them frees in a heap of its own (`mallopt(3)`) would
/// double the memory that a fetch takes.
#[cfg(target_env = "gnu")]
fn one_arena() {
    // SAFETY: it takes two numbers, and no other thread runs yet.
    #[allow(
        unsafe_code,
        reason = "there is no safe way to ask the C library for it"
    )]
    unsafe {
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1);
    }
}

#[cfg(not(target_env = "gnu"))]
const fn one_arena() {}

/// A rate: bytes a second, above zero.
fn rate(text: &str) -> Result<u64, String> {
    match parse_bytes(text) {
        Ok(0) => Err("nothing would come at a rate of 0".into()),
        Ok(bytes) => Ok(bytes),
        Err(why) => Err(format!("{why}; write e.g. 500K or 2MiB")),
    }
}

/// The closure to fetch, and the release that it belongs to.
async fn find_index(
    args: &FetchArgs,
    from: &[String],
) -> anyhow::Result<(ClosureIndex, Option<Name>)> {
    if let Some(file) = &args.index {
        return Ok((read_index(file)?, None));
    }
    if let (Some(repo), Some(channel), Some(model)) = (&args.repo, &args.channel, &args.model) {
        let (index, release) =
            released(repo, channel, model, &args.label, &args.root, &args.net).await?;
        return Ok((index, Some(release)));
    }
    let (Some(toplevel), Some(cache)) = (&args.toplevel, from.first()) else {
        bail!(Usage("give TOPLEVEL and --from, --index, or --repo".into()));
    };
    let (cache, http) = (Cache::new(cache)?, Http::new(args.net.options()));
    cache.check(&http).await?;
    Ok((index::from_cache(&cache, &http, toplevel).await?, None))
}

fn read_index(file: &Path) -> anyhow::Result<ClosureIndex> {
    use std::io::Read as _;
    /// The first bytes of every zstd frame (RFC 8878 § 3.1.1).
    const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let limit = MAX_COMPRESSED_INDEX_BYTES.max(MAX_INDEX_BYTES) + 1;
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {}", file.display()))?;
    let index = if bytes.starts_with(&ZSTD) {
        index::unpack(&bytes)
    } else {
        ClosureIndex::parse(&bytes).map_err(Into::into)
    };
    index.with_context(|| file.display().to_string())
}

/// What the repository has for a model, verified from the anchor on. Nothing is remembered: a
/// robot's own daemon does that, and so notices replays.
async fn released(
    repo: &str,
    channel: &Name,
    model: &Name,
    labels: &[Label],
    root: &Path,
    net: &NetArgs,
) -> anyhow::Result<(ClosureIndex, Name)> {
    let anchor = files::read_signed(root).with_context(|| {
        format!(
            "cannot read the trust anchor {}; see --root",
            root.display()
        )
    })?;
    let state = tempfile::tempdir()?;
    let mut config = surefoot_trust::Config::new(&place(repo), anchor, state.path().into());
    config.http = net.options();
    let mut client = surefoot_trust::Client::new(config)?;
    client.refresh(jiff::Timestamp::now()).await?;
    let name = manifest_target(channel);
    let manifest = Manifest::parse(&client.target(&name, MAX_MANIFEST_BYTES).await?, channel)?;
    let choice = manifest.offers(&Robot::by_hand(model, labels)).choose(None);
    if let Some(left) = choice.left {
        bail!(left.why);
    }
    let target = choice
        .target
        .with_context(|| format!("channel '{channel}' has no release for model '{model}'"))?;
    let bytes = client
        .target(&target.index, MAX_COMPRESSED_INDEX_BYTES)
        .await?;
    let index = index::unpack(&bytes)?;
    ensure!(
        index.toplevel == target.system,
        "release {} is for {}, but its closure index is for {}; publish it again",
        target.release,
        target.system,
        index.toplevel
    );
    Ok((index, target.release))
}

fn print_plan(
    index: &ClosureIndex,
    release: Option<&Name>,
    plan: &FetchPlan,
    output: Output,
) -> anyhow::Result<()> {
    if let Some(release) = release {
        output.text(&format!("Release {release}"))?;
    }
    output.text(&format!("{}", index.toplevel))?;
    if plan.missing.is_empty() {
        return output.text(&format!(
            "  all {} paths are in the store",
            index.paths.len()
        ));
    }
    output.text(&format!(
        "  {} of {} paths are missing: {} to download, {} in the store",
        plan.missing.len(),
        index.paths.len(),
        BinaryBytes(plan.download_bytes),
        BinaryBytes(plan.nar_bytes)
    ))?;
    if plan.deltas > 0 {
        output.text(&format!(
            "  {} of them as deltas, which spare {}",
            plan.deltas,
            BinaryBytes(plan.saved_bytes)
        ))?;
    }
    if plan.staged_bytes > 0 {
        output.text(&format!(
            "  {} of it is left from an earlier try",
            BinaryBytes(plan.staged_bytes)
        ))?;
    }
    Ok(())
}

fn print_report(gc_root: &Path, report: &FetchReport, output: Output) -> anyhow::Result<()> {
    output.text(&format!(
        "Fetched {} paths, {} in {:.1} s ({} were there); resumed {}, wasted {}",
        report.fetched,
        BinaryBytes(report.wire_bytes),
        report.elapsed.as_secs_f64(),
        report.already_present,
        BinaryBytes(report.resumed_bytes),
        BinaryBytes(report.wasted_bytes)
    ))?;
    output.text(&format!("Kept by {}", gc_root.display()))
}

/// For people at a terminal.
impl Progress for Bar {
    fn update(&self, status: &Status) {
        let beside = format!("{}/{} paths", status.paths_done, status.paths);
        Self::update(self, status.downloaded, status.download_bytes, beside);
    }
}

/// For logs and pipes.
struct Lines {
    output: Output,
    last: Mutex<Option<Instant>>,
}

impl Progress for Lines {
    fn update(&self, status: &Status) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let due = *last.get_or_insert(now) + LINE_EVERY;
        if now >= due {
            *last = Some(now);
            // A reader that is gone is not a reason to stop.
            let _ = self.output.text(&format!(
                "  {} of {}, {} of {} paths in the store",
                BinaryBytes(status.downloaded),
                BinaryBytes(status.download_bytes),
                status.paths_done,
                status.paths
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_size_above_zero() {
        assert_eq!(rate("500K"), Ok(500 << 10));
        assert_eq!(rate("0.5MiB"), Ok(512 << 10));
        for text in ["", "K", "100", "0B", "-1K"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
