//! Files that are there whole or not at all, and readers with limits.

use std::{
    fs::{self, File, Permissions},
    io::{self, BufWriter, ErrorKind, Read, Write},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};
use tempfile::NamedTempFile;

/// What the names of files begin with that are not yet in their place. A power cut may leave one.
pub const TEMPORARY: &str = ".surefoot-";

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk says no, or the file is missing.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A directory, a pipe or a device is in its place; it was not opened.
    #[error("it is not a regular file")]
    NotAFile,
    /// It is larger than the caller reads.
    #[error("it has more than {limit} bytes")]
    TooLarge {
        /// What the caller reads at most, bytes.
        limit: u64,
    },
    /// The caller wants text.
    #[error("it is not UTF-8")]
    NotText,
}

impl ReadError {
    /// Whether nothing has that name.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        let missing = [ErrorKind::NotFound, ErrorKind::NotADirectory];
        matches!(self, Self::Io(error) if missing.contains(&error.kind()))
    }
}

/// Whether an error says something of the disk or of this machine, and not of what lies there: a bad block,
/// say, or want of memory. Somebody else's files are good or bad whatever such an error says.
#[must_use]
pub fn is_of_the_machine(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::InvalidData
            | ErrorKind::InvalidFilename
    ) && error.raw_os_error() != Some(nix::errno::Errno::ELOOP as i32)
}

/// Whether something has this name, links followed.
///
/// # Errors
/// Nobody knows: the disk says no ([`is_of_the_machine`]).
pub fn exists(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if is_of_the_machine(&error) => Err(error),
        Err(_) => Ok(false),
    }
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => error,
            other => Self::new(ErrorKind::InvalidData, other),
        }
    }
}

/// Reads a regular file of at most `limit` bytes.
///
/// What is not a regular file is not even opened: somebody's stick may have a pipe in a file's place,
/// on which an open would wait for ever, or a link to a device that opening sets off. Files that
/// people name themselves, where `/dev/null` and pipes are welcome, are opened by the caller and
/// read by [`read_from`].
///
/// # Errors
/// [`ReadError`], but for [`ReadError::NotText`].
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    read_from(open(path)?, limit)
}

/// [`read`], where a missing file is an answer: `None`.
///
/// # Errors
/// As [`read`], but for a missing file.
pub fn read_if_there(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, ReadError> {
    match read(path, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// [`read`], for text.
///
/// # Errors
/// [`ReadError`].
pub fn read_text(path: &Path, limit: u64) -> Result<String, ReadError> {
    String::from_utf8(read(path, limit)?).map_err(|_| ReadError::NotText)
}

/// Reads no more than the first `limit` bytes of a regular file, however large it is.
///
/// # Errors
/// [`ReadError::Io`], [`ReadError::NotAFile`].
pub fn read_start(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads what is open already to its end, at most `limit` bytes.
///
/// # Errors
/// [`ReadError::Io`], [`ReadError::TooLarge`].
pub fn read_from(from: impl Read, limit: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    from.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(ReadError::TooLarge { limit });
    }
    Ok(bytes)
}

fn open(path: &Path) -> Result<File, ReadError> {
    if !fs::metadata(path)?.is_file() {
        return Err(ReadError::NotAFile);
    }
    Ok(File::open(path)?)
}

/// Puts a file in the place of another, so that after a power cut it is either as before or new and
/// whole: written beside it, fsynced, renamed, the directory fsynced.
///
/// `mode` is what `open(2)` is given for a new file: the umask takes from it.
///
/// # Errors
/// The disk says no; the old file, if any, is then untouched.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    replace_with(path, mode, |file| file.write_all(bytes))
}

/// [`replace`], for what is written piece by piece.
///
/// # Errors
/// As [`replace`], or what `write` says.
pub fn replace_with(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> io::Result<()> {
    let file = written(path, mode, write)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    sync_parent(path)
}

/// [`replace`], for what need not outlast the power: nothing is fsynced. Whoever reads sees the old
/// file or the new one, whole.
///
/// # Errors
/// As [`replace`].
pub fn replace_unsynced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    written(path, mode, |file| file.write_all(bytes))?.persist(path)?;
    Ok(())
}

/// A new file beside a path. It is taken away when it is dropped before it is in its place.
fn written(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> io::Result<NamedTempFile> {
    let file = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(parent(path))?;
    let mut writer = BufWriter::new(file.as_file());
    write(&mut writer)?;
    writer.into_inner()?;
    Ok(file)
}

/// Puts a symbolic link in the place of what has its name, durably: there is never a moment without
/// one. A link that leads there already is left as it is.
///
/// # Errors
/// The disk says no, a directory has the name, or the directory above is missing.
pub fn replace_symlink(link: &Path, target: &Path) -> io::Result<()> {
    if fs::read_link(link).is_ok_and(|there| there == target) {
        return Ok(());
    }
    tempfile::Builder::new()
        .prefix(TEMPORARY)
        .make_in(parent(link), |temporary| symlink(target, temporary))?
        .persist(link)?;
    sync_parent(link)
}

/// Makes a directory with all above it, and syncs those that were new into their parents.
///
/// # Errors
/// The disk says no, or a file is in the way.
pub fn make_dirs(dir: &Path) -> io::Result<()> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    make_dirs(parent(dir))?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => sync_parent(dir),
    }
}

/// Brings the names in a directory to the disk.
///
/// # Errors
/// The disk says no.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Brings a file's name to the disk: what is made, renamed or removed lies in its directory.
///
/// # Errors
/// The disk says no.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    sync_dir(parent(path))
}

/// Where a file lies; a bare name lies in the working directory.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{sys::stat::Mode, unistd::mkfifo};
    use std::path::PathBuf;

    /// What lies in a directory.
    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/file");
        make_dirs(parent(&path)).unwrap();
        make_dirs(parent(&path)).unwrap();
        replace(&path, b"one", 0o600).unwrap();
        replace_with(&path, 0o600, |file| writeln!(file, "two")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two\n");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        replace_with(&path, 0o600, |file| {
            file.write_all(b"half of thr")?;
            Err(io::Error::other("no more"))
        })
        .unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"two\n");
        replace_unsynced(&path, b"four", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"four");
        assert_eq!(names(parent(&path)), ["file"]);
        let missing = dir.path().join("missing/file");
        let error = replace(&missing, b"", 0o600).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_link_is_replaced_but_not_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        for target in ["/a", "/b", "/b"] {
            replace_symlink(&link, Path::new(target)).unwrap();
            assert_eq!(fs::read_link(&link).unwrap(), Path::new(target));
        }
        fs::create_dir(dir.path().join("dir")).unwrap();
        replace_symlink(&dir.path().join("dir"), Path::new("/a")).unwrap_err();
        assert_eq!(names(dir.path()), ["dir", "link"]);
    }

    #[test]
    fn a_file_in_the_way_of_a_directory_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), b"").unwrap();
        make_dirs(&dir.path().join("file/dir")).unwrap_err();
    }

    #[test]
    fn readers_keep_to_their_limits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, b"12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(read(&path, u64::MAX).unwrap(), b"12345");
        assert_eq!(read_start(&path, 4).unwrap(), b"1234");
        assert_eq!(read_text(&path, 5).unwrap(), "12345");
        for error in [
            read(&path, 4).unwrap_err(),
            read_if_there(&path, 4).unwrap_err(),
            read_text(&path, 4).unwrap_err(),
            read_from(&b"12345"[..], 4).unwrap_err(),
        ] {
            assert_eq!(error.to_string(), "it has more than 4 bytes");
        }
        fs::write(&path, [0xff]).unwrap();
        let error = read_text(&path, 5).unwrap_err();
        assert!(matches!(error, ReadError::NotText), "{error}");
    }

    #[test]
    fn what_is_missing_is_told_from_what_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| -> PathBuf { dir.path().join(name) };
        fs::write(at("file"), b"").unwrap();
        // Opening it would wait for a writer.
        mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
        for missing in ["missing", "missing/file", "file/file"] {
            assert!(read(&at(missing), 5).unwrap_err().is_missing());
            assert_eq!(read_if_there(&at(missing), 5).unwrap(), None);
        }
        for no_file in ["pipe", ""] {
            let error = read_if_there(&at(no_file), 5).unwrap_err();
            assert!(matches!(error, ReadError::NotAFile), "{error}");
            assert!(!error.is_missing());
        }
    }
}
