//! Files that are there whole or not at all.

use crate::Error;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use std::{
    fs::{self, File, Permissions},
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

/// Writes a file so that after a power cut it is either as before or new and whole: a temporary
/// file beside it, fsync, rename, fsync of the directory. Directories above are made.
///
/// # Errors
/// [`Error::Io`]; the old file, if any, is then untouched.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let dir = path.parent().unwrap_or(Path::new("."));
    make_dir(dir)?;
    let mut file = tempfile::Builder::new()
        .prefix(".surefoot-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(dir)
        .map_err(Error::io(dir))?;
    file.write_all(bytes).map_err(Error::io(path))?;
    file.as_file().sync_all().map_err(Error::io(path))?;
    file.persist(path).map_err(|e| Error::Io {
        path: path.to_owned(),
        source: e.error,
    })?;
    sync_dir(dir)
}

/// Makes a directory with all above it, and syncs those that were new into their parents.
pub(crate) fn make_dir(dir: &Path) -> Result<(), Error> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(Path::new("."));
    make_dir(parent)?;
    match fs::create_dir(dir) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(Error::io(dir)(e)),
        _ => sync_dir(parent),
    }
}

fn sync_dir(dir: &Path) -> Result<(), Error> {
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(Error::io(dir))
}

/// Reads a file of at most `limit` bytes; `None` if there is none.
///
/// What is no file is not even opened: somebody's stick may have a pipe in a file's place, on which
/// an open would wait for ever, or a link to a device that opening sets off.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::Io`].
pub(crate) fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let file = match fs::metadata(path).map(|found| found.is_file().then(|| File::open(path))) {
        Ok(Some(Ok(file))) => file,
        Ok(None) => return Ok(None),
        Err(e) | Ok(Some(Err(e)))
            if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        Err(e) | Ok(Some(Err(e))) => return Err(Error::io(path)(e)),
    };
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(Error::io(path))?;
    if bytes.len() as u64 > limit {
        return Err(Error::TooLarge {
            file: path.display().to_string(),
            limit,
        });
    }
    Ok(Some(bytes))
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
