//! Room on a file system that is really taken, to be given free when there is no other.
//!
//! A file of random bytes: a file system that compresses or that only promises room cannot have given
//! it to somebody else in the meantime.

use crate::{
    file::{self, TEMPORARY},
    space,
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// Written between two looks at whether to go on, bytes. Each piece is brought to the disk, so that
/// whoever else writes waits for no more than one.
const PIECE: usize = 1 << 20;

/// A file that keeps room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserve {
    path: PathBuf,
    size: u64,
}

impl Reserve {
    /// Where it lies, and how large it is, bytes; 0: there is none.
    #[must_use]
    pub const fn new(path: PathBuf, size: u64) -> Self {
        Self { path, size }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How large it is, bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Whether all of it is there, and no more.
    #[must_use]
    pub fn is_there(&self) -> bool {
        match fs::symlink_metadata(&self.path) {
            Ok(meta) => meta.is_file() && meta.len() == self.size && self.size > 0,
            Err(_) => self.size == 0,
        }
    }

    /// Takes the room, if as much again stays free. `random` fills a piece with bytes that cannot be
    /// compressed; `stop` is looked at between two pieces.
    ///
    /// # Errors
    /// There is not so much room ([`ErrorKind::StorageFull`]), it was stopped
    /// ([`ErrorKind::Interrupted`]), or the disk says no. Then none of it is there.
    pub fn make(&self, stop: &AtomicBool, mut random: impl FnMut(&mut [u8])) -> io::Result<()> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let temporary = self.temporary(dir);
        // One of another size, or one that was left half made, takes the room of this one.
        for old in [&self.path, &temporary] {
            remove(old)?;
        }
        if self.size == 0 {
            return Ok(());
        }
        let free = space::free(dir)?;
        if free / 2 < self.size {
            return Err(ErrorKind::StorageFull.into());
        }
        self.write(&temporary, stop, &mut random)
            .and_then(|()| fs::rename(&temporary, &self.path))
            .and_then(|()| file::sync_dir(dir))
            .inspect_err(|_| {
                let _ = remove(&temporary);
            })
    }

    fn write(
        &self,
        path: &Path,
        stop: &AtomicBool,
        random: &mut impl FnMut(&mut [u8]),
    ) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        space::no_copy_on_write(&file);
        let mut piece = vec![0; PIECE];
        let mut left = self.size;
        while left > 0 {
            if stop.load(Ordering::Relaxed) {
                return Err(ErrorKind::Interrupted.into());
            }
            let length = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            random(&mut piece[..length]);
            file.write_all(&piece[..length])?;
            file.sync_data()?;
            left -= length as u64;
        }
        Ok(())
    }

    /// Gives the room free. Says whether there was any.
    ///
    /// # Errors
    /// The disk says no.
    pub fn give_free(&self) -> io::Result<bool> {
        let dir = self.path.parent().unwrap_or(Path::new("."));
        // In this order: one that is being made gets its name in between, or is taken away before it does.
        let there = remove(&self.temporary(dir))? | remove(&self.path)?;
        if there {
            // Some file systems give blocks free only with that.
            file::sync_dir(dir)?;
        }
        Ok(there)
    }

    fn temporary(&self, dir: &Path) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        dir.join(format!("{TEMPORARY}{name}"))
    }
}

/// Takes a file away, its content first: on a file system that takes new blocks for each write that may
/// be what makes room for the rest. Says whether it was there.
fn remove(path: &Path) -> io::Result<bool> {
    if let Ok(file) = File::options().write(true).open(path) {
        let _ = file.set_len(0);
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        removed => removed.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(piece: &mut [u8]) {
        piece.fill(7);
    }

    #[test]
    fn room_is_taken_and_given_free() {
        let dir = tempfile::tempdir().unwrap();
        let at = |size| Reserve::new(dir.path().join("reserve"), size);
        let go = AtomicBool::new(false);
        let size = (PIECE + 5) as u64;
        assert!(!at(size).is_there());
        assert!(!at(size).give_free().unwrap());
        for size in [size, 9] {
            at(size).make(&go, fill).unwrap();
            assert!(at(size).is_there());
            assert!(!at(size + 1).is_there());
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
        assert!(at(9).give_free().unwrap());
        assert!(!at(9).is_there());
        at(9).make(&go, fill).unwrap();
        at(0).make(&go, fill).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn where_there_is_no_room_or_no_time_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reserve");
        let stop = AtomicBool::new(true);
        let error = Reserve::new(path.clone(), 9).make(&stop, fill).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
        let error = Reserve::new(path, u64::MAX).make(&stop, fill).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
