//! Whether GRUB's directory lies where GRUB can write, and where a power cut leaves its menu whole.

use crate::robot;
use anyhow::{Context as _, ensure};
use std::path::Path;
use surefoot_api::finding::{Finding, Subject};

/// Type and device of the file system that a directory lies on.
pub(super) fn of(directory: &Path) -> anyhow::Result<(String, String)> {
    let mounts = robot::read(Path::new("/proc/self/mounts")).unwrap_or_default();
    let found = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (device, place, kind) = (words.next()?, words.next()?, words.next()?);
            directory
                .starts_with(place)
                .then(|| (place.len(), kind.to_owned(), device.to_owned()))
        })
        .max_by_key(|(length, ..)| *length);
    found
        .map(|(_, kind, device)| (kind, device))
        .with_context(|| format!("no file system has {}", directory.display()))
}

/// Whether GRUB can write to such a file system on this device.
pub(super) fn plain(kind: &str, device: &str) -> anyhow::Result<String> {
    ensure!(
        matches!(kind, "ext2" | "ext3" | "ext4" | "vfat"),
        "GRUB cannot write to {kind}, so its one-shot would never be cleared"
    );
    let name = device.rsplit('/').next().unwrap_or_default();
    for layer in ["dm", "md"] {
        ensure!(
            !Path::new("/sys/class/block")
                .join(name)
                .join(layer)
                .exists(),
            "GRUB cannot write through {device} (LVM, encryption or RAID), so its one-shot would \
             never be cleared"
        );
    }
    Ok(format!("GRUB can write to {kind} on {device}"))
}

/// Whether a power cut leaves the menu whole while NixOS writes a new one: it does not sync it before
/// it takes the old one's place (nixpkgs, `install-grub.pl`), which ext4 sees to by itself (ext4(5),
/// `auto_da_alloc`).
pub(super) fn journaled(kind: &str) -> Finding {
    let what = "a power cut while the menu is written";
    if kind == "ext4" {
        Finding::ok(Subject::Loader, what, "leaves the old menu or the new one")
    } else {
        Finding::warn(
            Subject::Loader,
            what,
            format!("may leave none at all on {kind}"),
            "put /boot on ext4, or use systemd-boot",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_api::finding::Level;

    #[test]
    fn where_grub_cannot_write_it_is_not_used() {
        for kind in ["btrfs", "zfs", "xfs", "overlay"] {
            let error = plain(kind, "/dev/none1").unwrap_err().to_string();
            assert!(error.contains("never be cleared"), "{error}");
        }
        for (kind, level) in [("ext4", Level::Ok), ("vfat", Level::Warn)] {
            plain(kind, "/dev/none1").unwrap();
            assert_eq!(journaled(kind).level, level);
        }
    }
}
