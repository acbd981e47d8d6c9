//! Who holds a lock on a file.

use std::{fs::Metadata, os::unix::fs::MetadataExt as _};

/// The process that took the lock on this file, by the kernel's table of locks (`proc_locks(5)`). It may
/// have ended since, and have left the lock to its children. `None`: nobody holds one, or nobody who
/// can be seen from here.
#[must_use]
pub fn holder(table: &str, file: &Metadata) -> Option<u32> {
    table.lines().find_map(|line| {
        // `1: FLOCK  ADVISORY  WRITE 812 00:19:1143 0 EOF`; with `->` it waits for another one's.
        let mut words = line.split_whitespace().skip(1);
        if words.next()? == "->" {
            return None;
        }
        let process = words.nth(2)?.parse().ok()?;
        let mut place = words.next()?.split(':');
        let mut number = |radix| u64::from_str_radix(place.next()?, radix).ok();
        let (major, minor, inode) = (number(16)?, number(16)?, number(10)?);
        let device = nix::sys::stat::makedev(major, minor);
        (inode == file.ino() && device == file.dev()).then_some(process)
    })
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
