//! The directory that the trusted set lies in.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
};
use surefoot_base::file::{self, ReadError};

/// Slots above this size are not read, bytes. None is ever written: the limits of a client add up
/// to less, even where each byte is escaped.
const MAX_SLOT_BYTES: u64 = 128 << 20;

/// The few things that the store needs of a directory. Real, or simulated with power cuts.
pub(crate) trait Disk {
    /// Reads a file; `None` if there is none.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;
    /// Writes a file, which may stay in memory.
    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Brings a file's content to the disk.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// Puts a file in another's place.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Brings the directory's names to the disk.
    fn sync_dir(&mut self) -> io::Result<()>;
    /// For errors.
    fn path(&self, name: &str) -> PathBuf;
}

/// A directory of the machine.
#[derive(Debug)]
pub(crate) struct RealDisk(pub(crate) PathBuf);

impl Disk for RealDisk {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match file::read_if_there(&self.0.join(name), MAX_SLOT_BYTES) {
            Err(ReadError::NotAFile) => Ok(None),
            read => Ok(read?),
        }
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        fs::write(self.0.join(name), bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        File::open(self.0.join(name))?.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        file::sync_dir(&self.0)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}
