//! The boot partition's mount.
//!
//! NixOS' usual fstab has `nofail` for it, so a disk that comes late leaves a robot that runs and
//! cannot install anything: neither commit nor revert. Nobody will come, so it is mounted here.

use super::{program, run};
use crate::observe;
use anyhow::Context as _;
use std::path::{Path, PathBuf};

/// Where a boot partition may be mounted (bootctl(1)).
pub(super) const POINTS: [&str; 3] = ["boot", "efi", "boot/efi"];

/// Where fstab(5) wants a boot partition and nothing is mounted, outer ones first.
pub(super) fn missing() -> Vec<PathBuf> {
    let read = |path: &str| observe::read(Path::new(path)).unwrap_or_default();
    missing_in(&read("/proc/self/mountinfo"), &read("/etc/fstab"))
}

fn missing_in(mounts: &str, fstab: &str) -> Vec<PathBuf> {
    let mounted: Vec<&str> = (mounts.lines())
        .filter_map(|line| line.split(' ').nth(4))
        .collect();
    let mut missing: Vec<PathBuf> = (fstab.lines())
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let (point, options) = (words.next()?, words.nth(1).unwrap_or_default());
            let is_boot = POINTS.iter().any(|boot| point.strip_prefix('/') == Some(boot));
            let is_wanted = !options.split(',').any(|option| option == "noauto");
            (is_boot && is_wanted && !mounted.contains(&point)).then(|| point.into())
        })
        .collect();
    missing.sort();
    missing
}

/// Mounts them, as systemd would have: with its check of the file system before.
///
/// # Errors
/// One of them cannot be mounted.
pub(super) fn restore() -> anyhow::Result<()> {
    for point in missing() {
        start(&point).with_context(|| format!("{} is not mounted", point.display()))?;
        println!("({} was not mounted)", point.display());
    }
    Ok(())
}

/// Starts the unit of a mount point.
///
/// # Errors
/// systemd could not mount it.
pub(super) fn start(point: &Path) -> anyhow::Result<()> {
    run(program("systemctl").args(["start", &unit(point)]), &[0]).map(drop)
}

/// The unit of a mount point without special characters, as [`POINTS`] are (systemd.unit(5),
/// "String escaping for inclusion in unit names").
fn unit(point: &Path) -> String {
    let name = point.to_string_lossy();
    format!("{}.mount", name.trim_matches('/').replace('/', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fstab_wants_and_nobody_mounted_is_missing() {
        let root = "21 1 254:2 / / rw shared:1 - ext4 /dev/vda2 rw\n";
        let boot = "40 21 254:1 / /boot rw shared:9 - vfat /dev/vda1 rw\n";
        let auto = "40 21 0:40 / /boot rw shared:9 - autofs systemd-1 rw,fd=60\n";
        let efi = "41 40 254:3 / /boot/efi rw shared:9 - vfat /dev/vda3 rw\n";
        let fstab = "# /dev/x /efi vfat defaults 0 0\n\
                     /dev/vda2 / ext4 defaults 0 1\n\
                     /dev/vda4 /home ext4 nofail 0 2\n\
                     /dev/vda3 /boot/efi vfat defaults 0 2\n\
                     /dev/vda1 /boot vfat nofail,umask=0077 0 2\n";
        let found = |mounts: &[&str], fstab: &str| {
            let missing = missing_in(&mounts.concat(), fstab);
            missing
                .iter()
                .map(|point| point.display().to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(found(&[root], fstab), "/boot /boot/efi");
        assert_eq!(found(&[root, boot], fstab), "/boot/efi");
        assert_eq!(found(&[root, auto, efi], fstab), "");
        assert_eq!(found(&[root], "/dev/vda1 /boot vfat noauto 0 2\n"), "");
        assert_eq!(found(&[root], "/dev/vda1 /boot\n"), "/boot");
        assert_eq!(found(&[], ""), "");
        assert_eq!(unit(Path::new("/boot/efi")), "boot-efi.mount");
    }
}
