//! What differs between systems, in words for people.

use crate::output::{Style, sanitize};
use surefoot_api::Difference;
use surefoot_base::units::short_bytes;
use surefoot_core::{
    comparison::{Change, Names},
    package::{Package, PackageChange},
};

/// A line for each package that is not the same.
pub(crate) fn packages(changes: &[PackageChange], style: Style) -> Vec<String> {
    let words = |package: &Package| {
        let versions: Vec<&str> = package.versions.iter().map(String::as_str).collect();
        sanitize(&versions.join(", "))
    };
    let line = |change: &PackageChange| {
        let name = sanitize(&change.name);
        match (&change.before, &change.after) {
            (Some(before), Some(after)) => {
                let versions = if before.versions == after.versions {
                    words(after)
                } else {
                    format!("{} → {}", words(before), words(after))
                };
                let line = format!("  {name} {versions}");
                format!("{} {}", line.trim_end(), size(before.size, after.size))
            }
            (None, Some(after)) => {
                let line = format!("+ {name} {}", words(after));
                format!(
                    "{} {}",
                    style.good(line.trim_end()),
                    short_bytes(after.size)
                )
            }
            (Some(before), None) => {
                let line = format!("- {name} {}", words(before));
                format!(
                    "{} {}",
                    style.bad(line.trim_end()),
                    short_bytes(before.size)
                )
            }
            (None, None) => format!("  {name}"),
        }
    };
    changes.iter().map(line).collect()
}

/// How a size changed, both in bytes.
pub(crate) fn size(before: u64, after: u64) -> String {
    match after.cmp(&before) {
        std::cmp::Ordering::Equal => "the same size".to_owned(),
        std::cmp::Ordering::Greater => format!("+{}", short_bytes(after - before)),
        std::cmp::Ordering::Less => format!("-{}", short_bytes(before - after)),
    }
}

/// All that differs between two systems.
pub(crate) fn describe(difference: &Difference, style: Style) -> String {
    let mut lines = Vec::new();
    for (what, change) in [("NixOS", &difference.nixos), ("kernel", &difference.kernel)] {
        lines.extend(change.as_ref().map(|change| version(what, change)));
    }
    for (what, names) in [
        ("Kernel parameters", &difference.params),
        ("Units", &difference.units),
        ("Files of /etc", &difference.etc),
    ] {
        if !names.is_empty() {
            lines.push(style.strong(what));
            lines.extend(self::names(names, style));
        }
    }
    match &difference.packages {
        Some(changes) if !changes.is_empty() => {
            lines.push(style.strong("Packages"));
            lines.extend(packages(changes, style));
        }
        Some(_) => {}
        None => lines.push(style.busy(
            "which packages differ is not known: the Nix daemon did not say what the systems consist of",
        )),
    }
    if lines.is_empty() {
        lines.push("nothing differs".to_owned());
    }
    lines.join("\n")
}

fn version(what: &str, change: &Change) -> String {
    let word = |version: &Option<String>| {
        let version = version.as_deref().unwrap_or("of unknown version");
        sanitize(version)
    };
    format!("{what} {} → {}", word(&change.before), word(&change.after))
}

fn names(names: &Names, style: Style) -> Vec<String> {
    let added = names.added.iter();
    let removed = names.removed.iter();
    let changed = names.changed.iter();
    (added.map(|name| style.good(&format!("+ {}", sanitize(name)))))
        .chain(removed.map(|name| style.bad(&format!("- {}", sanitize(name)))))
        .chain(changed.map(|name| format!("  {}", sanitize(name))))
        .collect()
}
