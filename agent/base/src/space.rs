//! Room on file systems: how much is left, and how what is there keeps its own.

use nix::{
    errno::Errno,
    sys::{
        statfs::{BTRFS_SUPER_MAGIC, fstatfs},
        statvfs::statvfs,
    },
};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use std::{fs::File, path::Path};

/// Bytes that an ordinary user may still write on the file system that a path lies on
/// (`statvfs(3)`, `f_bavail`).
///
/// # Errors
/// What the system says: the path is missing, or it may not be looked at.
pub fn free(path: &Path) -> Result<u64, Errno> {
    let stat = statvfs(path)?;
    #[allow(
        clippy::useless_conversion,
        reason = "the types differ between platforms"
    )]
    let free = u64::from(stat.blocks_available()).saturating_mul(u64::from(stat.fragment_size()));
    Ok(free)
}

/// The lowest directory above a path that is there, or the path itself: where what is yet to be
/// made will take its room.
#[must_use]
pub fn existing(path: &Path) -> &Path {
    path.ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"))
}

/// Has a new, empty file written in its own place from now on, on a file system that takes other
/// blocks for each write and can be told not to: btrfs (`chattr(1)`, `C`). Elsewhere, and where it
/// says no, nothing changes.
pub fn no_copy_on_write(file: &File) {
    if fstatfs(file).is_ok_and(|stat| stat.filesystem_type() == BTRFS_SUPER_MAGIC)
        && let Ok(flags) = ioctl_getflags(file)
    {
        let _ = ioctl_setflags(file, flags | IFlags::NOCOW);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_yet_lies_where_it_will_be() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("a/b/c");
        assert_eq!(existing(&missing), dir.path());
        assert_eq!(existing(dir.path()), dir.path());
        assert_eq!(free(&missing), Err(Errno::ENOENT));
        assert!(free(existing(&missing)).is_ok());
    }
}
