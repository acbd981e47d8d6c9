//! Whether a system could be installed now, whatever it is: what of the robot itself is in the way.
//!
//! Asked before a trial begins, while the system before runs: what is found then is no fault of the
//! system that is to be tried.

use super::{loader::writable, mounts, settings::Settings};
use crate::robot::{self, nixos};
use nix::sys::statvfs::{FsFlags, statvfs};
use std::path::Path;
use surefoot_api::finding::{self, Finding};
use surefoot_base::{space, units::short_bytes};
use surefoot_core::gate::{self, Closed};

/// What must be free where a switch writes, bytes: files of /etc, links, the entry of a loader.
const ROOM: u64 = 1 << 20;

/// What keeps every system from being installed now. `booting`: it was, and is to be booted on trial.
pub(super) fn obstacles(settings: &Settings, booting: bool) -> Vec<Closed> {
    let closed = |gate: &str, why: String| Closed {
        gate: gate.to_owned(),
        why,
    };
    let mut obstacles = Vec::new();
    let switcher = Path::new(nixos::SWITCHER);
    if let Err(error) = nixos::private_lock(switcher) {
        tracing::warn!("cannot keep the switcher's lock to root: {error}");
    }
    obstacles.extend(held(switcher).map(|why| closed(gate::SWITCHER, why)));
    let mut loader: Vec<Finding> = partitions(
        &robot::read(Path::new("/proc/self/mounts")).unwrap_or_default(),
        &robot::read(Path::new("/etc/fstab")).unwrap_or_default(),
    )
    .map(|point| writable("boot partition", Path::new(&point)))
    .collect();
    if booting && let Some(found) = settings.find_loader() {
        loader.extend(found.check());
    }
    obstacles.extend(finding::obstacle(&loader).map(|why| closed(gate::LOADER, why)));
    let profiles = Path::new(nixos::PROFILE).parent().unwrap_or(Path::new("/"));
    let written = [settings.state_dir.as_path(), profiles].map(|place| writable("disk", place));
    let full = [&settings.state_dir, profiles, Path::new("/etc")]
        .into_iter()
        .find_map(full);
    let disk = finding::obstacle(&written).or(full);
    obstacles.extend(disk.map(|why| closed(gate::DISK, why)));
    obstacles
}

/// Who holds the switcher's lock, if somebody does. It is not tried: whoever begins a switch in that
/// moment would be turned away.
fn held(switcher: &Path) -> Option<String> {
    let holder = robot::holder(&switcher.join(nixos::LOCK))?;
    Some(format!("another switch runs: {holder}"))
}

/// The boot partitions that are mounted and meant to be written to: what fstab(5) calls `ro` is
/// somebody's wish.
fn partitions(mounts: &str, fstab: &str) -> impl Iterator<Item = String> {
    let points = mounts::POINTS.map(|point| format!("/{point}"));
    let kept: Vec<String> = (points.into_iter())
        .filter(|point| {
            mounts::lists(mounts, point, None) && !mounts::lists(fstab, point, Some("ro"))
        })
        .collect();
    kept.into_iter()
}

/// Whether there is no room left at a place that is written to.
fn full(place: &Path) -> Option<String> {
    let place = space::existing(place);
    let flags = statvfs(place).ok()?.flags();
    if flags.contains(FsFlags::ST_RDONLY) {
        // An image without a free block, such as a frozen /etc, is not full. Whether the places that have
        // to be written can be is asked apart.
        return None;
    }
    let free = space::free(place).ok()?;
    (free < ROOM).then(|| {
        format!(
            "{} has {} left, and a switch needs {}",
            place.display(),
            short_bytes(free),
            short_bytes(ROOM)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{Flock, FlockArg};
    use std::fs;

    #[test]
    fn a_partition_counts_where_it_is_mounted_and_meant_to_be_written_to() {
        let mounts = "dev /boot vfat ro,relatime 0 0\ndev /efi vfat rw 0 0\ndev / ext4 ro 0 0\n";
        let of = |fstab: &str| partitions(mounts, fstab).collect::<Vec<_>>();
        assert_eq!(of(""), ["/boot", "/efi"]);
        assert_eq!(of("dev /boot vfat umask=0077,ro 0 2\n"), ["/efi"]);
        assert_eq!(
            of("dev /boot vfat errors=remount-ro 0 2\n# dev /efi vfat ro\nnonsense"),
            ["/boot", "/efi"]
        );
        assert_eq!(partitions("dev / ext4 rw 0 0", "").count(), 0);
    }

    #[test]
    fn a_held_lock_is_told_with_who_holds_it() {
        let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
            return;
        };
        assert_eq!(held(dir.path()), None);
        let file = fs::File::create(dir.path().join(nixos::LOCK)).unwrap();
        assert_eq!(held(dir.path()), None);
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
        let said = held(dir.path()).unwrap();
        let name = fs::read_to_string("/proc/self/comm").unwrap();
        let who = format!("process {} ({})", std::process::id(), name.trim());
        assert!(said.contains(&who), "{said}");
        drop(lock);
        assert_eq!(held(dir.path()), None);
    }

    #[test]
    fn a_place_with_room_is_not_full() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(full(&dir.path().join("later")), None);
    }
}
