//! Where a repository is pushed to: a directory, a bucket that is written over HTTP, or whatever rsync reaches.

mod bucket;
mod remote;

use crate::web_servers::NetArgs;
use anyhow::{Context as _, ensure};
use bucket::{Bucket, Newest, somebody};
use remote::Remote;
use std::{
    fmt, io,
    path::{Path, PathBuf},
};
use surefoot_base::file;

/// No file of a repository is larger, bytes.
const MAX_FILE: u64 = 256 << 20;

/// The folder of the deltas in a binary cache.
pub(crate) const DELTAS: &str = "deltas";

/// What robots ask for first. It comes last: until then they see the old repository.
pub(crate) const NEWEST: &str = "metadata/timestamp.json";

/// Where a repository goes, and what reaches it.
pub(crate) enum Destination {
    Dir(PathBuf),
    Bucket(Box<Bucket>),
    Remote(Box<Remote>),
}

/// What a destination had as its newest file before anything was written.
pub(crate) enum Seen {
    Bytes(Vec<u8>),
    Tagged(Newest),
}

/// How the newest file was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Nobody else could come between.
    Kept,
    /// Nobody else had come between a moment before.
    Looked,
}

impl Destination {
    /// Understands what was typed, and has a look at what is there.
    ///
    /// # Errors
    /// It is not a place to push to, or cannot be reached.
    pub(crate) fn new(text: &str, net: &NetArgs) -> anyhow::Result<Self> {
        Ok(if let Some(place) = remote::place(text) {
            Self::Remote(Box::new(Remote::new(place)?))
        } else if is_url(text) {
            Self::Bucket(Box::new(Bucket::new(text, net)?))
        } else {
            Self::Dir(text.into())
        })
    }

    /// What is there, as it can be read by who believes signatures: a directory, or a URL.
    pub(crate) fn readable(&self) -> String {
        match self {
            Self::Dir(dir) => dir.display().to_string(),
            Self::Bucket(bucket) => bucket.url().to_string(),
            Self::Remote(remote) => remote.copy().display().to_string(),
        }
    }

    /// Its newest file; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn newest(&self) -> anyhow::Result<Option<Seen>> {
        Ok(match self {
            Self::Dir(dir) => file::read_if_there(&dir.join(NEWEST), MAX_FILE)?.map(Seen::Bytes),
            Self::Bucket(bucket) => bucket.read(NEWEST)?.map(Seen::Tagged),
            Self::Remote(remote) => remote.read(NEWEST)?.map(Seen::Bytes),
        })
    }

    /// Whether the destination has these very bytes, as far as can be told without reading what is named by
    /// its digest.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn has(&self, name: &str, bytes: &[u8]) -> anyhow::Result<Has> {
        match self {
            Self::Dir(dir) => {
                let there = file::read_if_there(&dir.join(name), MAX_FILE)?;
                Ok(Has::of(there, bytes))
            }
            Self::Bucket(bucket) => bucket.has(name, bytes),
            Self::Remote(remote) => remote.has(name, bytes),
        }
    }

    /// Writes files of the repository in this directory, in this order; those that have a version in their
    /// name over others only if they may be replaced.
    ///
    /// # Errors
    /// One cannot be written.
    pub(crate) fn write(
        &self,
        dir: &Path,
        names: &[&PathBuf],
        replace: bool,
    ) -> anyhow::Result<()> {
        match self {
            Self::Dir(to) => {
                for name in names {
                    let bytes = read(dir, name)?;
                    let path = to.join(name);
                    let write = || -> io::Result<()> {
                        file::make_dirs(path.parent().unwrap_or(&path))?;
                        file::replace(&path, &bytes, 0o644)
                    };
                    write().with_context(|| path.display().to_string())?;
                }
                Ok(())
            }
            Self::Bucket(bucket) => bucket.write(dir, names, replace),
            Self::Remote(remote) => remote.write(dir, names, replace),
        }
    }

    /// Writes a file that is named by its digest, unless it is there.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn put(&self, dir: &Path, name: &PathBuf) -> anyhow::Result<()> {
        if !matches!(self, Self::Remote(_)) {
            let bytes = read(dir, name)?;
            if self.has(&name.to_string_lossy(), &bytes)? == Has::Same {
                return Ok(());
            }
        }
        self.write(dir, &[name], true)
    }

    /// Writes the newest file, if it is still as it was seen; `files` are those of the repository that
    /// are there by now.
    ///
    /// # Errors
    /// Somebody else has pushed; it cannot be written.
    pub(crate) fn write_newest(
        &self,
        dir: &Path,
        seen: Option<&Seen>,
        files: &[PathBuf],
    ) -> anyhow::Result<Guard> {
        let newest = PathBuf::from(NEWEST);
        match self {
            // It is locked.
            Self::Dir(_) => {
                self.write(dir, &[&newest], true)?;
                Ok(Guard::Kept)
            }
            Self::Bucket(bucket) => {
                let seen = match seen {
                    Some(Seen::Tagged(seen)) => Some(seen),
                    _ => None,
                };
                let kept = bucket.write_newest(dir, seen, files)?;
                Ok(if kept { Guard::Kept } else { Guard::Looked })
            }
            Self::Remote(remote) => {
                let now = remote.read_again(NEWEST)?;
                let same = match (&now, seen) {
                    (None, None) => true,
                    (Some(now), Some(Seen::Bytes(seen))) => now == seen,
                    _ => false,
                };
                ensure!(same, somebody(self));
                // What has a version in its name was written over nobody else's: it may be that of another.
                let versioned: Vec<PathBuf> = versioned(files).cloned().collect();
                ensure!(
                    remote.differing(dir, &versioned)?.is_empty(),
                    somebody(self)
                );
                remote.write(dir, &[&newest], true)?;
                Ok(Guard::Looked)
            }
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir(dir) => dir.display().fmt(f),
            Self::Bucket(bucket) => bucket.shown().fmt(f),
            Self::Remote(remote) => remote.fmt(f),
        }
    }
}

/// What a destination has under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Has {
    Nothing,
    Same,
    Other,
}

impl Has {
    fn of(there: Option<Vec<u8>>, bytes: &[u8]) -> Self {
        match there {
            None => Self::Nothing,
            Some(there) if there == bytes => Self::Same,
            Some(_) => Self::Other,
        }
    }
}

/// Whether a place is an address rather than a directory.
pub(crate) fn is_url(place: &str) -> bool {
    place.contains("://")
}

/// A file of the repository in this directory.
pub(crate) fn read(dir: &Path, name: &Path) -> anyhow::Result<Vec<u8>> {
    file::read(&dir.join(name), MAX_FILE).with_context(|| name.display().to_string())
}

/// Those of these files that have a version in their name.
fn versioned(files: &[PathBuf]) -> impl Iterator<Item = &PathBuf> {
    (files.iter()).filter(|name| is_versioned(&name.to_string_lossy()))
}

/// Whether a file has its version in its name: it never changes.
pub(crate) fn is_versioned(name: &str) -> bool {
    let name = name.strip_prefix("metadata/");
    name.is_some_and(|name| name.starts_with(|c: char| c.is_ascii_digit()))
}
