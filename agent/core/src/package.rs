//! Packages: the store paths of a closure by name, and what differs between two closures.

use crate::StorePath;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A package of a system, in all its paths.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    /// Its versions. Paths without one add none.
    pub versions: BTreeSet<String>,
    /// Size in the store, bytes.
    pub size: u64,
}

/// A package that is not the same before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageChange {
    /// Its name.
    pub name: String,
    /// Before; `None` if it is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Package>,
    /// After; `None` if it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Package>,
}

impl PackageChange {
    /// Whether it has other versions, and not only another size.
    #[must_use]
    pub fn is_of_versions(&self) -> bool {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => before.versions != after.versions,
            _ => false,
        }
    }
}

/// A name and a version: the version begins behind the first `-` that no letter follows, as Nix splits
/// names of derivations (`src/libstore/names.cc`).
#[must_use]
pub fn split(name: &str) -> (&str, &str) {
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

/// The packages of a closure, by name, from its paths with their sizes in bytes.
pub fn packages<'a>(
    paths: impl IntoIterator<Item = (&'a StorePath, u64)>,
) -> BTreeMap<String, Package> {
    let mut packages: BTreeMap<String, Package> = BTreeMap::new();
    for (path, size) in paths {
        let (name, version) = split(path.name());
        let package = packages.entry(name.to_owned()).or_default();
        package.size = package.size.saturating_add(size);
        if !version.is_empty() {
            package.versions.insert(version.to_owned());
        }
    }
    packages
}

/// What differs between the packages of two closures, by name: other versions, or another size.
#[must_use]
pub fn changes(
    before: &BTreeMap<String, Package>,
    after: &BTreeMap<String, Package>,
) -> Vec<PackageChange> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let change = |name: &String| {
        let (before, after) = (before.get(name), after.get(name));
        (before != after).then(|| PackageChange {
            name: name.clone(),
            before: before.cloned(),
            after: after.cloned(),
        })
    };
    names.into_iter().filter_map(change).collect()
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
    fn paths_of_one_name_are_one_package() {
        let path = |c: &str, name: &str| -> StorePath {
            StorePath::from_base_name(&format!("{}-{name}", c.repeat(32))).unwrap()
        };
        let paths = [path("a", "zsh-5"), path("b", "zsh-5"), path("c", "zsh-6")];
        let all = packages(paths.iter().map(|path| (path, u64::MAX / 2)));
        assert_eq!(all["zsh"].versions.len(), 2);
        assert_eq!(
            all["zsh"].size,
            u64::MAX,
            "a size too large counts as the largest"
        );
        assert_eq!(changes(&all, &all), []);
    }
}
