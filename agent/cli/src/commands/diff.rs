//! `surefoot diff`: what differs between two releases, by their closure indexes alone.

use crate::{
    desk::{Desk, LookArgs},
    errors::Usage,
    output::{Output, Style, sanitize},
};
use anyhow::{Context as _, bail};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};
use surefoot_base::units::short_bytes;
use surefoot_core::{
    closure::{ClosureIndex, PathInfo},
    release::{Listed, Name, Release},
};
use surefoot_store::index;

/// Say what differs between two releases: packages, their versions and sizes, and what a robot that has
/// the one downloads for the other.
///
/// It needs nothing but the signed repository, so it works for any two releases.
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// The release before.
    old: Name,
    /// The release after.
    new: Name,
    /// The model. [default: the only one that both have]
    #[arg(long)]
    model: Option<Name>,
    #[command(flatten)]
    look: LookArgs,
}

/// A package of a system, in all its paths.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    versions: BTreeSet<String>,
    /// Bytes in the store.
    size: u64,
}

/// What differs.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Difference {
    added: BTreeMap<String, Package>,
    removed: BTreeMap<String, Package>,
    /// Before, and after: other versions, or another size.
    changed: BTreeMap<String, (Package, Package)>,
    /// What a robot that has the old one alone downloads, bytes.
    download: u64,
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
    let (old, new) = (find(&args.old)?, find(&args.new)?);
    let model = match &args.model {
        Some(model) => model.clone(),
        None => only_model(&old, &new)?,
    };
    let difference = Difference::between(&read(&desk, &old, &model)?, &read(&desk, &new, &model)?);
    output.result(&difference, |style| describe(&difference, style))
}

fn only_model(old: &Release, new: &Release) -> anyhow::Result<Name> {
    let both = old
        .systems
        .keys()
        .filter(|model| new.systems.contains_key(model));
    let both: Vec<&Name> = both.collect();
    match both.as_slice() {
        [one] => Ok((*one).clone()),
        [] => bail!("the releases have no model in common"),
        several => {
            let names: Vec<&str> = several.iter().map(|model| model.as_str()).collect();
            bail!(Usage(format!(
                "both have {}; say --model",
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
        let (before, after) = (packages(old), packages(new));
        let missing = |from: &BTreeMap<String, Package>, in_: &BTreeMap<String, Package>| {
            let mut missing = from.clone();
            missing.retain(|name, _| !in_.contains_key(name));
            missing
        };
        let had: BTreeSet<_> = old.paths.iter().map(|info| &info.path).collect();
        let new_paths = new.paths.iter().filter(|info| !had.contains(&info.path));
        Self {
            added: missing(&after, &before),
            removed: missing(&before, &after),
            changed: (before.iter())
                .filter_map(|(name, package)| {
                    let now = after.get(name).filter(|now| *now != package)?;
                    Some((name.clone(), (package.clone(), now.clone())))
                })
                .collect(),
            download: new_paths
                .map(|info| info.download.size(info.nar_size))
                .sum(),
            size: (old.nar_size(), new.nar_size()),
        }
    }
}

/// The packages of a closure, by name.
fn packages(index: &ClosureIndex) -> BTreeMap<String, Package> {
    let mut packages: BTreeMap<String, Package> = BTreeMap::new();
    for PathInfo { path, nar_size, .. } in &index.paths {
        let (name, version) = split(path.name());
        let package = packages.entry(name.to_owned()).or_default();
        package.size += nar_size;
        if !version.is_empty() {
            package.versions.insert(version.to_owned());
        }
    }
    packages
}

/// A name and a version: the version begins behind the first `-` that no letter follows, as Nix splits
/// names of derivations (`src/libstore/names.cc`).
fn split(name: &str) -> (&str, &str) {
    let dashes = name.match_indices('-').map(|(at, _)| at);
    let mut starts = dashes.filter(|at| {
        let next = name[at + 1..].chars().next();
        next.is_some_and(|c| !c.is_ascii_alphabetic())
    });
    match starts.next() {
        Some(at) => (&name[..at], &name[at + 1..]),
        None => (name, ""),
    }
}

fn describe(difference: &Difference, style: Style) -> String {
    let mut text = String::new();
    let words = |package: &Package| {
        let versions: Vec<&str> = package.versions.iter().map(String::as_str).collect();
        sanitize(&versions.join(", "))
    };
    for (name, package) in &difference.added {
        let line = format!("+ {} {}", sanitize(name), words(package));
        let _ = writeln!(
            text,
            "{} {}",
            style.good(line.trim_end()),
            short_bytes(package.size)
        );
    }
    for (name, package) in &difference.removed {
        let line = format!("- {} {}", sanitize(name), words(package));
        let _ = writeln!(
            text,
            "{} {}",
            style.bad(line.trim_end()),
            short_bytes(package.size)
        );
    }
    for (name, (before, after)) in &difference.changed {
        let versions = if before.versions == after.versions {
            words(after)
        } else {
            format!("{} → {}", words(before), words(after))
        };
        let size = change(before.size, after.size);
        let _ = writeln!(text, "  {} {versions} {size}", sanitize(name));
    }
    let (before, after) = difference.size;
    let _ = write!(
        text,
        "{} in the store ({}); a robot that has the old one downloads {}",
        short_bytes(after),
        change(before, after),
        short_bytes(difference.download)
    );
    text
}

/// How a size changed.
fn change(before: u64, after: u64) -> String {
    match after.cmp(&before) {
        std::cmp::Ordering::Equal => "the same size".to_owned(),
        std::cmp::Ordering::Greater => format!("+{}", short_bytes(after - before)),
        std::cmp::Ordering::Less => format!("-{}", short_bytes(before - after)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions_are_split_as_nix_does() {
        for (name, parts) in [
            ("linux-6.12.9", ("linux", "6.12.9")),
            ("python3.12-numpy-2.1.0", ("python3.12-numpy", "2.1.0")),
            ("glibc-2.40-66-bin", ("glibc", "2.40-66-bin")),
            (
                "nixos-system-picker-25.05",
                ("nixos-system-picker", "25.05"),
            ),
            ("unit-surefootd.service", ("unit-surefootd.service", "")),
            ("etc", ("etc", "")),
            ("a-", ("a-", "")),
        ] {
            assert_eq!(split(name), parts);
        }
    }

    #[test]
    fn what_is_added_removed_and_changed_is_said() {
        let index = |paths: &[(char, &str, u64)]| -> ClosureIndex {
            let paths: Vec<serde_json::Value> = (paths.iter())
                .map(|(c, name, size)| {
                    serde_json::json!({
                        "path": format!("/nix/store/{}-{name}", c.to_string().repeat(32)),
                        "narHash": format!("sha256:{}", "0".repeat(52)),
                        "narSize": size,
                        "download": { "url": format!("nar/{c}.nar"), "compression": "none" },
                    })
                })
                .collect();
            let toplevel = paths.last().unwrap()["path"].clone();
            let index = serde_json::json!({ "spec": 1, "toplevel": toplevel, "caches": [], "paths": paths });
            ClosureIndex::parse(index.to_string().as_bytes()).unwrap()
        };
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
