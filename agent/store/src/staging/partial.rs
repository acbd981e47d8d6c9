//! A file of which only a beginning may be there.

use crate::error::{Error, Result};
use sha2::Digest;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};
use surefoot_base::file;
use surefoot_core::Sha256;

/// Files up to this size are kept in memory until they are complete, bytes: their beginnings are not
/// worth files.
pub(crate) const SMALL: u64 = 64 << 10;

/// Notes of origins above this size are not ours, bytes.
const MAX_ORIGIN: u64 = 64 << 10;
/// After the name of a complete file: the beginning of it.
pub(super) const PART: &str = ".part";
/// After the name of a complete file: where its beginning came from.
pub(super) const FROM: &str = ".from";

/// The beginning of a file, its digest so far, and the place to write on. All of it blocks, but for
/// small files up to their completion.
#[derive(Debug)]
pub struct Partial {
    bytes: Bytes,
    digest: sha2::Sha256,
    len: u64,
    validator: Option<String>,
    path: PathBuf,
    from: PathBuf,
    done: PathBuf,
}

#[derive(Debug)]
enum Bytes {
    File(File),
    Memory(Vec<u8>),
}

impl Partial {
    /// Takes up a file where it was left: `done` with `.part`, and `.from` beside it. Reads all that is
    /// there; blocks.
    pub(super) fn open(done: PathBuf) -> Result<Self> {
        let (path, from) = (with_suffix(&done, PART), with_suffix(&done, FROM));
        let mut part = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let (digest, len) = hash(&mut part).map_err(Error::io("read", &path))?;
        let validator = match len {
            0 => None,
            _ => file::read_text(&from, MAX_ORIGIN).ok(),
        };
        Ok(Self {
            bytes: Bytes::File(part),
            digest,
            len,
            validator,
            path,
            from,
            done,
        })
    }

    /// Begins a file of at most [`SMALL`] bytes, of which nothing is there. Does not block.
    pub(super) fn in_memory(done: PathBuf) -> Self {
        Self {
            bytes: Bytes::Memory(Vec::new()),
            digest: sha2::Sha256::new(),
            len: 0,
            validator: None,
            path: with_suffix(&done, PART),
            from: with_suffix(&done, FROM),
            done,
        }
    }

    /// Whether it is kept in memory.
    pub(crate) fn is_small(&self) -> bool {
        matches!(self.bytes, Bytes::Memory(_))
    }

    /// Bytes that are there.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing is there yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The URL and the validator under which these bytes came, if they are known.
    #[must_use]
    pub fn origin(&self) -> Option<(&str, &str)> {
        self.validator.as_deref()?.split_once('\n')
    }

    /// Notes where the following bytes come from. Only a file that is worth it is noted on disk.
    ///
    /// # Errors
    /// What the file system says.
    pub fn set_origin(&mut self, url: &str, validator: Option<&str>, size: u64) -> Result<()> {
        let note = validator.map(|validator| format!("{url}\n{validator}"));
        if note != self.validator {
            match &note {
                _ if self.is_small() => {}
                Some(note) if size >= SMALL => {
                    fs::write(&self.from, note).map_err(Error::io("write", &self.from))?;
                }
                // Left from an earlier attempt, it would be wrong now.
                _ => drop(fs::remove_file(&self.from)),
            }
            self.validator = note;
        }
        Ok(())
    }

    /// Throws away what is there, to begin again.
    ///
    /// # Errors
    /// What the file system says.
    pub fn reset(&mut self) -> Result<()> {
        match &mut self.bytes {
            Bytes::File(file) => file
                .set_len(0)
                .and_then(|()| io::Seek::rewind(file))
                .map_err(Error::io("truncate", &self.path))?,
            Bytes::Memory(memory) => memory.clear(),
        }
        self.digest = sha2::Sha256::new();
        self.len = 0;
        Ok(())
    }

    /// Appends.
    ///
    /// # Errors
    /// What the file system says. Bytes that were written in spite of it are not counted: whoever
    /// goes on must open the file again.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.bytes {
            Bytes::File(file) => file
                .write_all(bytes)
                .map_err(Error::io("write", &self.path))?,
            Bytes::Memory(memory) => memory.extend_from_slice(bytes),
        }
        self.digest.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The digest of what is there.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        Sha256(self.digest.clone().finalize().into())
    }

    /// Gives the file its final name. The caller has checked it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn complete(&mut self) -> Result<()> {
        match &self.bytes {
            Bytes::File(_) => {
                fs::rename(&self.path, &self.done).map_err(Error::io("rename", &self.path))?;
            }
            Bytes::Memory(memory) => {
                let written = fs::write(&self.done, memory);
                if written.is_err() {
                    let _ = fs::remove_file(&self.done);
                }
                return written.map_err(Error::io("write", &self.done));
            }
        }
        if self.validator.is_some() {
            let _ = fs::remove_file(&self.from);
        }
        Ok(())
    }
}

/// The same name with something after it.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Reads all of a file, from where it is.
pub(super) fn hash(file: &mut File) -> io::Result<(sha2::Sha256, u64)> {
    let mut digest = sha2::Sha256::new();
    let mut len = 0;
    if file.metadata()?.len() == 0 {
        return Ok((digest, 0));
    }
    let mut piece = vec![0; 128 << 10];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok((digest, len)),
            n => {
                digest.update(&piece[..n]);
                len += n as u64;
            }
        }
    }
}
