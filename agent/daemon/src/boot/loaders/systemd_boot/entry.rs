//! An entry of the boot menu: a file on the boot partition (The Boot Loader Specification, "Type #1
//! Boot Loader Specification Entries").

use crate::{boot::loader::init_of, robot};
use std::path::{Path, PathBuf};
use surefoot_base::glob;
use surefoot_core::StorePath;

/// The first line of the spare entry.
pub(super) const SPARE: &str =
    "# Surefoot's spare entry, should the default's be lost. Leave it alone.\n";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its name without a count of tries: what one-shot and default speak of.
    pub(super) id: String,
    pub(super) path: PathBuf,
    pub(super) system: Option<StorePath>,
    /// The kernel and what goes with it, on the partition of the entries.
    pub(super) files: Vec<Named>,
    /// Whether it is the spare one.
    pub(super) spare: bool,
    pub(super) order: Order,
}

/// A file that an entry names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// As what: `linux`, `initrd`, ….
    pub(super) key: String,
    /// Its path on the partition of the entry.
    pub(super) path: String,
}

impl Entry {
    /// Reads an entry's file; `None` if its name is not that of one. What cannot be read names
    /// nothing to start.
    pub(super) fn read(path: PathBuf) -> Option<Self> {
        let id = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(identity)?;
        let text = robot::read(&path).unwrap_or_default();
        let key = |name| {
            let rest = |line: &'_ str| Some(line.trim().strip_prefix(name)?.trim().to_owned());
            text.lines().find_map(rest)
        };
        let (stem, sort_key) = (
            path.file_stem().and_then(|stem| stem.to_str()),
            key("sort-key "),
        );
        let file = |line: &'_ str| {
            let (key, value) = line.trim().split_once([' ', '\t'])?;
            matches!(key, "linux" | "efi" | "uki" | "initrd" | "devicetree").then(|| Named {
                key: key.to_owned(),
                path: value.trim().to_owned(),
            })
        };
        Some(Self {
            id,
            files: text.lines().filter_map(file).collect(),
            spare: text.starts_with(SPARE),
            system: text
                .lines()
                .filter_map(|line| line.trim().strip_prefix("options"))
                .find_map(init_of),
            order: Order {
                used_up: stem.is_some_and(|stem| {
                    counted(stem).is_some_and(|(_, left)| left.bytes().all(|b| b == b'0'))
                }),
                unsorted: sort_key.is_none(),
                sort_key: sort_key.unwrap_or_default(),
                machine_id: key("machine-id ").unwrap_or_default(),
            },
            path,
        })
    }

    /// Whether it names anything to start: the loader does not know it otherwise.
    pub(super) fn is_startable(&self) -> bool {
        !self.files.is_empty()
    }

    /// Whether a pattern for ids speaks of it. The loader knows no case in either (systemd,
    /// `src/boot/boot.c`).
    pub(super) fn matches(&self, pattern: &str) -> bool {
        glob::matches(&pattern.to_lowercase(), &self.id.to_lowercase())
    }

    /// Whether it bears a name of NixOS.
    pub(super) fn is_nixos(&self) -> bool {
        self.id.to_lowercase().starts_with("nixos-")
    }

    /// Where a file lies that it names.
    pub(super) fn locate(&self, file: &Named) -> PathBuf {
        self.partition().join(file.path.trim_start_matches('/'))
    }

    /// Where the partition is mounted that it lies on, and its files.
    pub(super) fn partition(&self) -> &Path {
        // It lies in `loader/entries`.
        self.path.ancestors().nth(3).unwrap_or(&self.path)
    }
}

/// What the loader sorts its entries by (The Boot Loader Specification, "Sorting"), as far as NixOS
/// needs it: what comes after (the version, the name) is compared in a way of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    /// No try is left.
    pub(super) used_up: bool,
    /// What has a sort key comes first.
    pub(super) unsorted: bool,
    pub(super) sort_key: String,
    pub(super) machine_id: String,
}

/// The id of an entry's file: its name without the count of tries, `+LEFT[-DONE]`.
pub(super) fn identity(name: &str) -> Option<String> {
    let stem = name.strip_suffix(".conf")?;
    Some(format!(
        "{}.conf",
        counted(stem).map_or(stem, |(before, _)| before)
    ))
}

/// What stands before a count of tries, and how many are left, if it has one.
pub(super) fn counted(stem: &str) -> Option<(&str, &str)> {
    let (before, count) = stem.rsplit_once('+')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (left, done) = count.split_once('-').unwrap_or((count, "0"));
    (digits(left) && digits(done)).then_some((before, left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_tries_are_no_part_of_the_name() {
        assert_eq!(identity("a+3.conf").unwrap(), "a.conf");
        assert_eq!(identity("a+0-3.conf").unwrap(), "a.conf");
        assert_eq!(identity("a+b.conf").unwrap(), "a+b.conf");
        assert_eq!(identity("a.conf").unwrap(), "a.conf");
        assert_eq!(identity("a.efi"), None);
    }
}
