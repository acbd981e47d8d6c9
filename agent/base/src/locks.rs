//! Who holds a lock on a file, and whether somebody waits for it.

use std::{fs::Metadata, os::unix::fs::MetadataExt as _};

/// A lock on a file, by the kernel's table of locks (`proc_locks(5)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The process that took it. It may have ended since, and have left the lock to its children.
    pub process: u32,
    /// The device of the file, as the kernel has it: `stat(2)` tells another one on btrfs and overlayfs.
    pub device: u64,
    /// The inode of the file.
    pub inode: u64,
    /// Whether somebody waits for it.
    pub waited: bool,
}

/// The locks in the kernel's table, in its order. Lines that are not understood are passed over.
#[must_use]
pub fn parse(table: &str) -> Vec<Held> {
    let mut held: Vec<Held> = Vec::new();
    // Whoever waits stands below the lock that it waits for.
    let mut understood = false;
    for line in table.lines() {
        // `1: FLOCK  ADVISORY  WRITE 812 00:19:1143 0 EOF`; with `->` it waits for another one's.
        let mut words = line.split_whitespace().skip(1);
        let first = words.next();
        if first != Some("->") {
            let lock = first.and_then(|_| lock(words));
            understood = lock.is_some();
            held.extend(lock);
        } else if understood && let Some(last) = held.last_mut() {
            last.waited = true;
        }
    }
    held
}

/// The words of a line after the kind of the lock.
fn lock<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<Held> {
    let process = words.nth(2)?.parse().ok()?;
    let mut place = words.next()?.split(':');
    let mut number = |radix| u64::from_str_radix(place.next()?, radix).ok();
    let (major, minor, inode) = (number(16)?, number(16)?, number(10)?);
    Some(Held {
        process,
        device: nix::sys::stat::makedev(major, minor),
        inode,
        waited: false,
    })
}

/// The process that took the lock on this file. `None`: nobody holds one, or nobody who can be seen from
/// here.
#[must_use]
pub fn holder(table: &str, file: &Metadata) -> Option<u32> {
    let on_it = |held: &Held| held.inode == file.ino() && held.device == file.dev();
    parse(table)
        .into_iter()
        .find(on_it)
        .map(|held| held.process)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{
        fcntl::{Flock, FlockArg},
        sys::stat::{major, minor},
    };
    use std::fs::File;

    #[test]
    fn the_kernels_table_says_who_holds_a_lock() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("lock")).unwrap();
        let metadata = file.metadata().unwrap();
        let line = |device: u64, inode: u64| {
            format!(
                "FLOCK  ADVISORY  WRITE 812 {:02x}:{:02x}:{inode} 0 EOF\n",
                major(device),
                minor(device)
            )
        };
        let (device, inode) = (metadata.dev(), metadata.ino());
        let of = |text: &str| holder(text, &metadata);
        assert_eq!(of(&format!("1: {}", line(device, inode))), Some(812));
        for other in [
            format!("1: {}", line(device, inode + 1)),
            format!("1: {}", line(device + 1, inode)),
            format!("1: -> {}", line(device, inode)),
            "1: FLOCK ADVISORY\n1: FLOCK ADVISORY WRITE x 0:0 \n\n".to_owned(),
        ] {
            assert_eq!(of(&other), None, "{other}");
        }
    }

    #[test]
    fn the_table_of_this_kernel_is_understood() {
        // On an overlay the table names the device below.
        let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
            return;
        };
        let file = File::create(dir.path().join("lock")).unwrap();
        let metadata = file.metadata().unwrap();
        let table = || std::fs::read_to_string("/proc/locks").unwrap();
        assert_eq!(holder(&table(), &metadata), None);
        let held = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
        assert_eq!(holder(&table(), &metadata), Some(std::process::id()));
        drop(held);
        assert_eq!(holder(&table(), &metadata), None);
    }
}
