//! Files, with this crate's errors.

use crate::Error;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use std::{fs::File, path::Path};
use surefoot_base::file::{self, ReadError};

/// Puts a file in the place of another, as [`file::replace`] does. Directories above are made.
///
/// # Errors
/// [`Error::Io`]; the old file, if any, is then untouched.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    make_dir(path.parent().unwrap_or(Path::new(".")))?;
    file::replace(path, bytes, mode).map_err(Error::io(path))
}

/// Makes a directory with all above it, as [`file::make_dirs`] does.
///
/// # Errors
/// [`Error::Io`], naming the first directory that could not be made.
pub(crate) fn make_dir(dir: &Path) -> Result<(), Error> {
    file::make_dirs(dir).map_err(|error| {
        let missing = dir.ancestors().take_while(|dir| !dir.exists());
        Error::io(missing.last().unwrap_or(dir))(error)
    })
}

/// Reads a file of at most `limit` bytes, as [`file::read`] does; `None` if there is none, or
/// something else in its place.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::Io`].
pub(crate) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    match file::read_if_there(path, limit) {
        Ok(bytes) => Ok(bytes),
        Err(ReadError::NotAFile) => Ok(None),
        Err(ReadError::TooLarge { limit }) => Err(Error::TooLarge {
            file: path.display().to_string(),
            limit,
        }),
        Err(error) => Err(Error::io(path)(error.into())),
    }
}

/// Keeps others out of a directory for as long as the lock lives (`flock(2)` on the directory).
///
/// # Errors
/// [`Error::Locked`], [`Error::Io`].
pub(crate) fn lock(dir: &Path) -> Result<Flock<File>, Error> {
    let file = File::open(dir).map_err(Error::io(dir))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => Error::Locked(dir.to_owned()),
        other => Error::io(dir)(other.into()),
    })
}
