//! What the agent remembers: its journal, what the robot's software said, and the roots that keep
//! its systems. One agent at a time holds them.

mod holds;
pub(crate) mod journal;
pub(crate) mod leases;
pub(crate) mod roots;

use anyhow::{Context as _, bail};
use nix::fcntl::{Flock, FlockArg};
use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// The state directory, held by one agent at a time.
#[derive(Debug)]
pub(crate) struct StateDir {
    dir: PathBuf,
    journal: journal::Open,
    /// Released when the process ends, however it ends.
    _lock: Flock<File>,
}

impl StateDir {
    /// Makes the directory if need be, and takes its lock.
    ///
    /// # Errors
    /// Another agent holds it, or the disk says no.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir)
            .with_context(|| format!("cannot make the state directory {}", dir.display()))?;
        let path = dir.join("lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                // For the one who finds it taken. Not worth failing for.
                let _ = lock.set_len(0);
                let _ = lock.rewind();
                let _ = writeln!(lock, "{}", std::process::id());
                Ok(Self {
                    dir: dir.to_owned(),
                    journal: journal::Open::default(),
                    _lock: lock,
                })
            }
            Err((file, nix::errno::Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                let _ = file.take(20).read_to_string(&mut pid);
                bail!(
                    "another surefootd (process {}) works on {}; only one may",
                    pid.trim(),
                    dir.display()
                )
            }
            Err((_, error)) => {
                Err(error).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_told_who_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDir::open(dir.path()).unwrap();
        let error = StateDir::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        StateDir::open(dir.path()).unwrap();
    }
}
