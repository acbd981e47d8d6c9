//! What the agent remembers: its journal, what the robot's software said, and the roots that keep
//! its systems. One agent at a time holds them.

mod holds;
pub(crate) mod journal;
pub(crate) mod leases;
pub(crate) mod logs;
#[cfg(test)]
#[path = "../../../../tests/recorded/next.rs"]
mod next;
pub(crate) mod reserve;
pub(crate) mod roots;

use crate::robot::clock;
use anyhow::{Context as _, bail};
use nix::fcntl::{Flock, FlockArg};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};
use surefoot_base::space;
use surefoot_core::machine::state::{Origin, State};

/// The state directory, held by one agent at a time.
#[derive(Debug)]
pub(crate) struct StateDir {
    dir: PathBuf,
    journal: journal::Open,
    /// Room for a way back.
    pub(crate) reserve: reserve::Keeper,
    unusable: Option<String>,
    /// Released when the process ends, however it ends.
    _lock: Flock<File>,
}

impl StateDir {
    /// Makes the directory if need be, and takes its lock. `reserve`: the size of the reserve, bytes.
    ///
    /// Where it cannot be made or written (a file system that is read-only, say) nothing can be
    /// remembered, which is said by [`Self::unusable`]. There is one agent all the same.
    ///
    /// # Errors
    /// Another agent holds it, or there is nothing at all that could be locked.
    pub(crate) fn open(dir: &Path, reserve: u64) -> anyhow::Result<Self> {
        let path = dir.join("lock");
        let (written, unusable) = match writable(dir) {
            Ok(file) => (Some(file), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        // Open for reading, which keeps nobody from making the file system read-only. Where there is no
        // such file it is what is there in its place.
        let file = File::open(&path).or_else(|_| File::open(space::existing(dir)));
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => {
                // For the one who finds it taken. Not worth failing for.
                if let Some(mut file) = written {
                    let _ = file.set_len(0);
                    let _ = writeln!(file, "{}", std::process::id());
                }
                Ok(Self {
                    dir: dir.to_owned(),
                    journal: journal::Open::default(),
                    reserve: reserve::Keeper::new(dir, reserve),
                    unusable,
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

    /// Why nothing can be remembered here, if nothing can: the directory cannot be written, or its
    /// journal is not to be used.
    pub(crate) fn unusable(&self) -> Option<&str> {
        self.unusable.as_deref()
    }

    /// Whether a directory in which nothing could be remembered can be used now. `rooted` as in
    /// [`journal::read`].
    pub(crate) fn is_usable(&self, rooted: bool) -> bool {
        writable(&self.dir).is_ok() && journal::read(&self.dir, rooted).is_ok()
    }

    /// Where it is.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.clone()
    }

    /// Writes something; where there is no room, once more without the reserve.
    ///
    /// # Errors
    /// Whatever `write` says.
    pub(crate) fn with_room<T>(&self, write: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<T> {
        match write() {
            Err(error)
                if is_full(&error)
                    && self
                        .reserve
                        .give_free(clock::since_boot(), &format!("{error:#}")) =>
            {
                write()
            }
            written => written,
        }
    }

    /// A way back needs room for more than the journal: whatever the switch writes.
    pub(crate) fn make_room_for(&self, state: &State) {
        let back = match state {
            State::Reverting(_) => true,
            State::Committing(committing) => {
                matches!(
                    committing.origin,
                    Origin::Rollback { .. } | Origin::Restore { .. }
                )
            }
            _ => false,
        };
        if back {
            self.reserve.make_room(clock::since_boot());
        }
    }

    /// Takes the reserve again while the robot rests.
    pub(crate) fn tend(&self, state: &State) {
        if matches!(state, State::Idle | State::Ready(_)) {
            self.reserve.tend(clock::since_boot());
        }
    }
}

/// The file that one agent locks, in a directory that is made if need be.
///
/// # Errors
/// The disk says no.
fn writable(dir: &Path) -> anyhow::Result<File> {
    fs::create_dir_all(dir)
        .with_context(|| format!("cannot make the state directory {}", dir.display()))?;
    let path = dir.join("lock");
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Whether an error is that of a file system without room, or of a quota that is used up.
fn is_full(error: &anyhow::Error) -> bool {
    let full = [ErrorKind::StorageFull, ErrorKind::QuotaExceeded];
    let mut causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| full.contains(&cause.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_written_once_more_without_the_reserve() {
        let full = || anyhow::Error::from(io::Error::from(nix::errno::Errno::ENOSPC)).context("x");
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path(), 9).unwrap();
        let reserve = dir.path().join("reserve");
        let write = || {
            if reserve.exists() {
                Err(full())
            } else {
                Ok(())
            }
        };
        fs::write(&reserve, "123456789").unwrap();
        state.with_room(write).unwrap();
        assert!(state.reserve.lacking().unwrap().contains("No space left"));
        let tries = std::cell::Cell::new(0);
        let write = |error: fn() -> anyhow::Error| {
            tries.take();
            state.with_room(|| -> anyhow::Result<()> {
                tries.set(tries.get() + 1);
                Err(error())
            })
        };
        // There is none any more, and what has another reason is not tried again.
        write(full).unwrap_err();
        assert_eq!(tries.get(), 1);
        fs::write(&reserve, "123456789").unwrap();
        write(|| io::Error::from(nix::errno::Errno::EROFS).into()).unwrap_err();
        assert!(reserve.exists());
    }

    #[test]
    fn a_second_agent_is_told_who_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDir::open(dir.path(), 0).unwrap();
        let error = StateDir::open(dir.path(), 0).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        StateDir::open(dir.path(), 0).unwrap();
    }
}
