//! What differs between two systems.
//!
//! Source: nixpkgs `nixos/modules/system/activation/top-level.nix` (what lies in a toplevel).

use crate::{
    StorePath,
    package::{self, Package, PackageChange},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Packages that are named in the line for people; the others are counted.
const NAMED: usize = 3;

/// What a system consists of. What could not be read is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// The version of NixOS.
    pub nixos: Option<String>,
    /// The version of the kernel.
    pub kernel: Option<String>,
    /// The kernel's parameters.
    pub params: BTreeSet<String>,
    /// Every path of its closure, with its size in bytes; `None` if the Nix daemon did not say it.
    pub paths: Option<BTreeMap<StorePath, u64>>,
    /// The units of systemd by name, each with something that is another where the unit is another.
    pub units: BTreeMap<String, String>,
    /// The files of `/etc` by path, units aside, each with such a thing.
    pub etc: BTreeMap<String, String>,
}

/// Something that was one thing and is another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Before; `None` if nobody could tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// After; `None` if nobody could tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Names that are in one of two systems, or in both but not the same.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Names {
    /// Only after.
    pub added: Vec<String>,
    /// Only before.
    pub removed: Vec<String>,
    /// In both, and another.
    pub changed: Vec<String>,
}

/// What differs between two systems.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The version of NixOS, if it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nixos: Option<Change>,
    /// The version of the kernel, if it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Change>,
    /// The kernel's parameters.
    #[serde(default)]
    pub params: Names,
    /// Packages, by name; `None` if the closure of one of the two is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packages: Option<Vec<PackageChange>>,
    /// Units of systemd.
    #[serde(default)]
    pub units: Names,
    /// Files of `/etc`, units aside.
    #[serde(default)]
    pub etc: Names,
}

impl Names {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    fn of(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Self {
        let missing = |from: &BTreeMap<String, String>, other: &BTreeMap<String, String>| {
            let missing = from.keys().filter(|name| !other.contains_key(*name));
            missing.cloned().collect()
        };
        let changed = before.iter().filter(|(name, is)| {
            let now = after.get(*name);
            now.is_some_and(|now| now != *is)
        });
        Self {
            added: missing(after, before),
            removed: missing(before, after),
            changed: changed.map(|(name, _)| name.clone()).collect(),
        }
    }
}

impl Contents {
    /// The packages of its closure, by name.
    #[must_use]
    pub fn packages(&self) -> Option<BTreeMap<String, Package>> {
        let paths = self.paths.as_ref()?;
        Some(package::packages(
            paths.iter().map(|(path, size)| (path, *size)),
        ))
    }
}

impl Difference {
    /// What differs between one system and another.
    #[must_use]
    pub fn between(before: &Contents, after: &Contents) -> Self {
        let change = |before: &Option<String>, after: &Option<String>| {
            (before != after).then(|| Change {
                before: before.clone(),
                after: after.clone(),
            })
        };
        let params = |contents: &Contents| {
            let params = contents.params.iter();
            params.map(|param| (param.clone(), String::new())).collect()
        };
        let packages = before.packages().zip(after.packages());
        Self {
            nixos: change(&before.nixos, &after.nixos),
            kernel: change(&before.kernel, &after.kernel),
            params: Names::of(&params(before), &params(after)),
            packages: packages.map(|(before, after)| package::changes(&before, &after)),
            units: Names::of(&before.units, &after.units),
            etc: Names::of(&before.etc, &after.etc),
        }
    }

    /// What differs in one line: the kernel, some packages by name, and how many others. Empty if
    /// nothing does.
    #[must_use]
    pub fn line(&self) -> String {
        let mut words = Vec::new();
        let unknown = "?".to_owned();
        if let Some(change) = &self.kernel {
            words.push(format!(
                "kernel {} → {}",
                change.before.as_ref().unwrap_or(&unknown),
                change.after.as_ref().unwrap_or(&unknown)
            ));
        }
        match &self.packages {
            None => words.extend(self.nixos.as_ref().map(|change| {
                format!(
                    "NixOS {} → {}",
                    change.before.as_ref().unwrap_or(&unknown),
                    change.after.as_ref().unwrap_or(&unknown)
                )
            })),
            Some(packages) => words.extend(words_of(packages, self.kernel.is_some())),
        }
        if words.is_empty() && !self.params.is_empty() {
            words.push("kernel parameters".to_owned());
        }
        words.join(", ")
    }
}

/// Versions that differ by name, and what is left by number.
fn words_of(packages: &[PackageChange], kernel_said: bool) -> Vec<String> {
    // The system itself, its kernel and what only carries its configuration say nothing that a
    // technician knows the robot by.
    let said = |change: &&PackageChange| {
        let kernel = kernel_said && change.name.starts_with("linux");
        !(kernel || change.name.starts_with("nixos-system-"))
    };
    let packages: Vec<&PackageChange> = packages.iter().filter(said).collect();
    let versions = |package: &Option<Package>| {
        let versions = package.iter().flat_map(|package| &package.versions);
        versions.cloned().collect::<Vec<_>>().join("+")
    };
    let is_named = |change: &&&PackageChange| {
        let known = !versions(&change.before).is_empty() && !versions(&change.after).is_empty();
        change.is_of_versions() && known
    };
    let named: Vec<&&PackageChange> = packages.iter().filter(is_named).take(NAMED).collect();
    let mut words: Vec<String> = named
        .iter()
        .map(|change| {
            let (before, after) = (versions(&change.before), versions(&change.after));
            format!("{} {before} → {after}", change.name)
        })
        .collect();
    let count = |is: &dyn Fn(&PackageChange) -> bool| packages.iter().filter(|one| is(one)).count();
    let more = count(&|one| one.before.is_none());
    let less = count(&|one| one.after.is_none());
    let others = packages.len() - more - less - named.len();
    for (count, word) in [(others, "changed"), (more, "more"), (less, "less")] {
        if count > 0 {
            let plural = if count == 1 { "" } else { "s" };
            words.push(format!("{count} package{plural} {word}"));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(kernel: &str, names: &[&str]) -> Contents {
        let path = |(n, name): (usize, &&str)| {
            let path = StorePath::from_base_name(&format!("{n:032}-{name}")).unwrap();
            (path, 10)
        };
        Contents {
            kernel: Some(kernel.into()),
            paths: Some(names.iter().enumerate().map(path).collect()),
            ..Contents::default()
        }
    }

    #[test]
    fn what_differs_is_one_line() {
        let old = contents(
            "6.12.4",
            &[
                "linux-6.12.4",
                "ros-nav2-1.3.2",
                "nixos-system-x-1",
                "unit-a",
            ],
        );
        let new = contents(
            "6.12.9",
            &[
                "linux-6.12.9",
                "ros-nav2-1.3.4",
                "nixos-system-x-2",
                "b-1",
                "c-1",
                "d-1",
            ],
        );
        assert_eq!(
            Difference::between(&old, &new).line(),
            "kernel 6.12.4 → 6.12.9, ros-nav2 1.3.2 → 1.3.4, 3 packages more, 1 package less"
        );
        assert_eq!(
            Difference::between(&new, &new),
            Difference {
                packages: Some(vec![]),
                ..Difference::default()
            }
        );
        assert_eq!(Difference::between(&new, &new).line(), "");
        // Without a Nix daemon the versions are left.
        let told = |nixos: &str| Contents {
            nixos: Some(nixos.into()),
            ..Contents::default()
        };
        assert_eq!(
            Difference::between(&told("26.05.1"), &told("26.05.2")).line(),
            "NixOS 26.05.1 → 26.05.2"
        );
    }

    #[test]
    fn units_files_and_parameters_are_told_by_name() {
        let of = |names: &[(&str, &str)]| -> BTreeMap<String, String> {
            names
                .iter()
                .map(|(name, is)| ((*name).into(), (*is).into()))
                .collect()
        };
        let old = Contents {
            units: of(&[("a.service", "1"), ("b.service", "1"), ("c.service", "1")]),
            params: ["quiet".into()].into(),
            ..Contents::default()
        };
        let new = Contents {
            units: of(&[("b.service", "2"), ("c.service", "1"), ("d.service", "1")]),
            etc: of(&[("hosts", "1")]),
            params: ["debug".into()].into(),
            ..Contents::default()
        };
        let difference = Difference::between(&old, &new);
        assert_eq!(difference.units.added, ["d.service"]);
        assert_eq!(difference.units.removed, ["a.service"]);
        assert_eq!(difference.units.changed, ["b.service"]);
        assert_eq!(difference.etc.added, ["hosts"]);
        assert_eq!(difference.params.removed, ["quiet"]);
        assert_eq!(difference.line(), "kernel parameters");
    }
}
