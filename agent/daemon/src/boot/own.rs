//! What keeps a system from being installed and is a part of it: a unit of its own that holds the switcher's
//! lock, a mount of its own over the boot partition.
//!
//! Only what the system before does not have by that name: what both have, or neither, says nothing about the
//! one that waits.

use super::mounts::{self, POINTS};
use crate::robot::{self, nixos, starts};
use std::path::Path;
use surefoot_core::StorePath;

/// What of `system` itself keeps it from being installed now, in words; `None` where that is not so, or nobody
/// can tell.
pub(crate) fn in_its_own_way(system: &StorePath, before: &StorePath) -> Option<String> {
    let [system, before] = [system, before].map(|system| system.to_string());
    let (system, before) = (Path::new(&system), Path::new(&before));
    let lock = Path::new(nixos::SWITCHER).join(nixos::LOCK);
    if let Some(process) = robot::holding(&lock) {
        let groups = robot::read(Path::new(&format!("/proc/{process}/cgroup")))?;
        let unit = unit_of(&groups)?;
        return (has_unit(system, unit) && !has_unit(before, unit)).then(|| {
            let lock = lock.display();
            format!(
                "a process of its own {unit}, which the system before does not have, holds {lock}"
            )
        });
    }
    let mounts = robot::read(Path::new("/proc/self/mounts"))?;
    mounted(&mounts, system, before)
}

/// The unit of systemd that a process belongs to, by its control groups (proc(5), `/proc/PID/cgroup`).
fn unit_of(groups: &str) -> Option<&str> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mut names = path.split('/').filter(|name| !name.is_empty());
    names.find(|name| name.contains('.') && !name.ends_with(".slice"))
}

/// Whether a system brings a unit, or the template of one.
fn has_unit(system: &Path, unit: &str) -> bool {
    let template = unit.split_once('@').and_then(|(name, rest)| {
        let (_, kind) = rest.rsplit_once('.')?;
        Some(format!("{name}@.{kind}"))
    });
    let units = system.join(starts::UNITS);
    let mut names = [Some(unit), template.as_deref()].into_iter().flatten();
    names.any(|name| units.join(name).exists())
}

/// A mount of a system over a place of the boot partition that the system before leaves as it is.
fn mounted(table: &str, system: &Path, before: &Path) -> Option<String> {
    let brings = |system: &Path, point: &str| {
        let fstab = robot::read(&system.join("etc/fstab")).unwrap_or_default();
        mounts::lists(&fstab, point, None) || has_unit(system, &mounts::unit(Path::new(point)))
    };
    let mut points = POINTS.iter().map(|point| format!("/{point}"));
    let own = points.find(|point| {
        mounts::lists(table, point, None) && brings(system, point) && !brings(before, point)
    })?;
    Some(format!(
        "its own mount of {own}, which the system before does not have, lies over what was there"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_process_belongs_to_the_outermost_unit_that_is_no_slice() {
        for (groups, unit) in [
            ("0::/system.slice/locker.service\n", Some("locker.service")),
            (
                "12:cpu:/\n0::/system.slice/system-arm.slice/arm@left.service/payload\n",
                Some("arm@left.service"),
            ),
            (
                "0::/user.slice/user-1000.slice/session-1.scope\n",
                Some("session-1.scope"),
            ),
            ("0::/\n", None),
            ("0::/system.slice\n", None),
            ("", None),
        ] {
            assert_eq!(unit_of(groups), unit, "{groups}");
        }
    }

    #[test]
    fn only_what_the_system_before_does_not_have_is_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| dir.path().join(name));
        for (system, unit) in [
            (&old, "upgrade.service"),
            (&new, "upgrade.service"),
            (&new, "arm@.service"),
        ] {
            let units = system.join(starts::UNITS);
            fs::create_dir_all(&units).unwrap();
            fs::write(units.join(unit), "").unwrap();
        }
        assert!(has_unit(&new, "upgrade.service") && has_unit(&old, "upgrade.service"));
        assert!(has_unit(&new, "arm@left.service") && !has_unit(&old, "arm@left.service"));
        // A technician's session.
        assert!(!has_unit(&new, "session-1.scope"));

        let mounts = "/dev/vda2 / ext4 rw 0 0\ntmpfs /boot tmpfs rw 0 0\n";
        let own = || mounted(mounts, &new, &old);
        assert_eq!(own(), None);
        fs::write(new.join("etc/fstab"), "tmpfs /boot tmpfs defaults 0 0\n").unwrap();
        assert!(own().unwrap().contains("its own mount of /boot"));
        assert_eq!(mounted("/dev/vda2 / ext4 rw 0 0\n", &new, &old), None);
        fs::write(old.join("etc/fstab"), "/dev/vda1 /boot vfat defaults 0 2\n").unwrap();
        assert_eq!(own(), None);
    }
}
