//! `surefoot diff`: what differs between two releases, by their closure indexes alone.

use super::publish::{index_of, store_daemon, store_path};
use crate::{
    desk::{Desk, LookArgs},
    differences,
    errors::Usage,
    output::{Output, Style},
    web_servers::{self, NetArgs},
};
use anyhow::{Context as _, bail};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use surefoot_base::units::short_bytes;
use surefoot_core::{
    closure::ClosureIndex,
    deltas::download_bytes,
    package::{self, Package, PackageChange},
    release::{Listed, Name, Release},
};
use surefoot_http::Http;
use surefoot_store::{
    cache::{Cache, place},
    index,
};

/// Say what differs between two releases: packages, their versions and sizes, and what a robot that has
/// the one downloads for the other.
///
/// It needs nothing but the signed repository, so it works for any two releases; with --toplevel, also a
/// binary cache that has the system.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  What release 42 changes:
      surefoot diff --repo fleet 41 42")]
pub(crate) struct DiffArgs {
    /// The release before.
    old: Name,
    /// The release after.
    #[arg(required_unless_present = "toplevel")]
    new: Option<Name>,
    /// Instead of a release: the system that `surefoot publish` would get, a store path or a link to one.
    /// Nothing is downloaded but what the cache says of its paths.
    #[arg(long, value_name = "PATH", requires = "cache", conflicts_with = "new")]
    toplevel: Option<String>,
    /// The binary cache that has it, a directory or a URL.
    #[arg(long, value_name = "DIR|URL", requires = "toplevel")]
    cache: Option<String>,
    /// Ask no Nix store about it. This is also done where no Nix daemon is.
    #[arg(long, requires = "toplevel")]
    no_store: bool,
    /// The model. [default: the only one that both have]
    #[arg(long)]
    model: Option<Name>,
    #[command(flatten)]
    net: NetArgs,
    #[command(flatten)]
    look: LookArgs,
}

/// What differs.
#[derive(Debug, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Difference {
    added: BTreeMap<String, Package>,
    removed: BTreeMap<String, Package>,
    /// Before, and after: other versions, or another size.
    changed: BTreeMap<String, (Package, Package)>,
    /// What a robot that has the old one alone downloads, bytes, deltas of it counted.
    download: u64,
    /// The same without deltas.
    whole: u64,
    /// In the store, bytes: before, and after.
    size: (u64, u64),
}

/// Runs it.
pub(super) fn run(args: &DiffArgs, output: Output) -> anyhow::Result<()> {
    let desk = args.look.open()?;
    let find = |release: &Name| -> anyhow::Result<Release> {
        let channel = desk.channel_of(release, args.look.channel.as_ref())?;
        let releases = &desk.channel(&channel)?.releases;
        match releases.iter().find(|one| one.id() == release.as_str()) {
            Some(Listed::Known(known)) => Ok((**known).clone()),
            _ => bail!("release {release} is written in a way that this program does not know"),
        }
    };
    let old = find(&args.old)?;
    let new = args.new.as_ref().map(find).transpose()?;
    let model = match &args.model {
        Some(model) => model.clone(),
        None => only_model(&old, new.as_ref())?,
    };
    let before = read(&desk, &old, &model)?;
    let after = match (new, &args.toplevel, &args.cache) {
        (Some(new), ..) => read(&desk, &new, &model)?,
        (None, Some(toplevel), Some(cache)) => {
            let http = Http::new(args.net.options());
            let index = would_be(toplevel, cache, &http, args.no_store);
            web_servers::wait(index)?
        }
        (None, ..) => bail!(Usage("name a release, or --toplevel and --cache".into())),
    };
    let difference = Difference::between(&before, &after);
    output.result(&difference, |style| describe(&difference, style))
}

/// What a closure index of this system would say.
async fn would_be(
    toplevel: &str,
    cache: &str,
    http: &Http,
    no_store: bool,
) -> anyhow::Result<ClosureIndex> {
    let cache = Cache::new(&place(cache))?;
    cache.check(http).await?;
    let mut daemon = store_daemon(no_store).await?;
    index_of(&store_path(toplevel)?, daemon.as_mut(), &cache, http).await
}

/// The model of both, or of the one that is a release.
fn only_model(old: &Release, new: Option<&Release>) -> anyhow::Result<Name> {
    let has = |model: &&Name| new.is_none_or(|new| new.systems.contains_key(*model));
    let both: Vec<&Name> = old.systems.keys().filter(has).collect();
    match both.as_slice() {
        [one] => Ok((*one).clone()),
        [] => bail!("the releases have no model in common"),
        several => {
            let names: Vec<&str> = several.iter().map(|model| model.as_str()).collect();
            bail!(Usage(format!(
                "there are systems for {}; say --model",
                names.join(", ")
            )))
        }
    }
}

fn read(desk: &Desk, release: &Release, model: &Name) -> anyhow::Result<ClosureIndex> {
    let system = release.systems.get(model);
    let system =
        system.with_context(|| format!("release {} has no model '{model}'", release.id))?;
    let bytes = desk.editor().read_target(&system.index)?;
    let bytes = bytes.with_context(|| format!("{} is not in the repository", system.index))?;
    index::unpack(&bytes).with_context(|| system.index.clone())
}

impl Difference {
    fn between(old: &ClosureIndex, new: &ClosureIndex) -> Self {
        let had: HashSet<_> = old.paths.iter().map(|info| &info.path).collect();
        let mut difference = Self {
            download: download_bytes(new, &had, true),
            whole: download_bytes(new, &had, false),
            size: (old.nar_size(), new.nar_size()),
            ..Self::default()
        };
        for change in package::changes(&packages(old), &packages(new)) {
            let PackageChange {
                name,
                before,
                after,
            } = change;
            match (before, after) {
                (Some(before), Some(after)) => {
                    difference.changed.insert(name, (before, after));
                }
                (Some(before), None) => {
                    difference.removed.insert(name, before);
                }
                (None, after) => {
                    difference.added.extend(after.map(|after| (name, after)));
                }
            }
        }
        difference
    }

    /// Added, removed, changed: as people read it.
    fn packages(&self) -> Vec<PackageChange> {
        let change =
            |name: &String, before: Option<&Package>, after: Option<&Package>| PackageChange {
                name: name.clone(),
                before: before.cloned(),
                after: after.cloned(),
            };
        let added = self.added.iter();
        let removed = self.removed.iter();
        let changed = self.changed.iter();
        (added.map(|(name, after)| change(name, None, Some(after))))
            .chain(removed.map(|(name, before)| change(name, Some(before), None)))
            .chain(changed.map(|(name, (before, after))| change(name, Some(before), Some(after))))
            .collect()
    }
}

fn packages(index: &ClosureIndex) -> BTreeMap<String, Package> {
    let paths = index.paths.iter();
    package::packages(paths.map(|info| (&info.path, info.nar_size)))
}

fn describe(difference: &Difference, style: Style) -> String {
    let mut lines = differences::packages(&difference.packages(), style);
    let (before, after) = difference.size;
    lines.push(format!(
        "{} in the store ({}); a robot that has the old one downloads {}{}",
        short_bytes(after),
        differences::size(before, after),
        short_bytes(difference.download),
        if difference.download < difference.whole {
            format!(", or {} without deltas", short_bytes(difference.whole))
        } else {
            String::new()
        }
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::index;

    #[test]
    fn what_is_added_removed_and_changed_is_said() {
        let old = index(&[
            ('a', "linux-6.1", 1000),
            ('b', "less-1", 10),
            ('c', "system-1", 1),
        ]);
        let new = index(&[
            ('d', "linux-6.2", 1500),
            ('f', "zsh-5", 20),
            ('c', "system-1", 1),
        ]);
        let difference = Difference::between(&old, &new);
        assert_eq!(difference.download, 1520);
        let text = describe(&difference, Style::PLAIN);
        assert_eq!(
            text,
            "+ zsh 5 20 B\n- less 1 10 B\n  linux 6.1 → 6.2 +500 B\n1.49 KiB in the store (+510 B); a \
             robot that has the old one downloads 1.48 KiB"
        );
        let same = Difference::between(&old, &old);
        assert!(same.changed.is_empty() && same.download == 0);
    }
}
