//! The staging area: compressed NARs on their way from a cache into the store.
//!
//! Files are named by their content and path: `KEY` is complete and was checked once, `KEY.part` is
//! the beginning of it, `KEY.from` says under which validator that beginning came. Nothing in here is
//! trusted after a restart: a power cut may have taken any bytes that were not on the disk yet, so
//! whatever is found is hashed before it is used. So the names need no `fsync`; what was fetched is
//! brought to the disk from time to time ([`Staging::sync`]) to make a cut cheap.

use crate::error::{Error, Result};
use nix::fcntl::{Flock, FlockArg};
use sha2::Digest;
use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};
use surefoot_core::{
    Sha256,
    closure::{Compression, PathInfo},
};

/// Files up to this size are kept in memory until they are complete, bytes: their beginnings are not
/// worth files.
pub(crate) const SMALL: u64 = 64 << 10;

/// A staging directory, locked.
#[derive(Debug)]
pub struct Staging {
    dir: PathBuf,
    /// Held for as long as the directory is in use.
    _lock: Flock<File>,
}

/// The name of one file in staging: the digest of what it holds, and the hash part of the path that
/// it is for, since several paths may have the same file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StagingKey(String);

impl StagingKey {
    /// The compressed file's digest where the index says it; else the NAR's, with the compression.
    #[must_use]
    pub fn of(info: &PathInfo) -> Self {
        let suffix = match info.download.compression {
            Compression::None => "nar",
            Compression::Xz => "nar.xz",
            Compression::Zstd => "nar.zst",
        };
        let digest = match info.download.file_hash {
            Some(hash) => hash.hex(),
            None => format!("nar-{}", info.nar_hash.hex()),
        };
        Self(format!("{digest}-{}.{suffix}", info.path.hash_part()))
    }
}

/// What a look at a staged file gives, before anything is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A beginning of so many bytes.
    Part(u64),
    /// All of it.
    Whole(u64),
}

impl Staging {
    /// Opens a staging directory, makes it if need be, and locks it against other fetchers.
    ///
    /// # Errors
    /// [`Error::StagingBusy`] if another process has it, or what the file system says.
    pub fn open(dir: &Path) -> Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(Error::io("make the staging directory", dir))?;
        let path = dir.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self {
                dir: dir.into(),
                _lock: lock,
            }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(Error::StagingBusy(dir.into())),
            Err((_, errno)) => Err(Error::io("lock", path)(errno.into())),
        }
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is there of a file, by its size alone: enough to say what a fetch will cost.
    #[must_use]
    pub fn look(dir: &Path, key: &StagingKey) -> Found {
        let size = |path: PathBuf| fs::metadata(path).ok().map(|data| data.len());
        if let Some(size) = size(dir.join(&key.0)) {
            Found::Whole(size)
        } else if let Some(size) = size(dir.join(format!("{}.part", key.0))) {
            Found::Part(size)
        } else {
            Found::Nothing
        }
    }

    /// Where the complete file lies.
    #[must_use]
    pub fn path(&self, key: &StagingKey) -> PathBuf {
        self.dir.join(&key.0)
    }

    fn side(&self, key: &StagingKey, suffix: &str) -> PathBuf {
        self.dir.join(format!("{}.{suffix}", key.0))
    }

    /// Takes up a file where it was left. Reads all that is there; blocks.
    ///
    /// # Errors
    /// What the file system says.
    pub fn partial(&self, key: &StagingKey) -> Result<Partial> {
        let path = self.side(key, "part");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let (digest, len) = hash(&mut file).map_err(Error::io("read", &path))?;
        let from = self.side(key, "from");
        let validator = match len {
            0 => None,
            _ => fs::read_to_string(&from).ok(),
        };
        Ok(Partial {
            bytes: Bytes::File(file),
            digest,
            len,
            validator,
            from,
            path,
            done: self.path(key),
        })
    }

    /// Begins a file of at most [`SMALL`] bytes, of which nothing is there. Does not block.
    pub(crate) fn small(&self, key: &StagingKey) -> Partial {
        Partial {
            bytes: Bytes::Memory(Vec::new()),
            digest: sha2::Sha256::new(),
            len: 0,
            validator: None,
            from: self.side(key, "from"),
            path: self.side(key, "part"),
            done: self.path(key),
        }
    }

    /// Reads the complete file again, if there is one, and says what its digest is. Blocks.
    ///
    /// # Errors
    /// What the file system says.
    pub fn recheck(&self, key: &StagingKey) -> Result<Option<(Sha256, u64)>> {
        let path = self.path(key);
        match File::open(&path) {
            Ok(mut file) => {
                let (digest, len) = hash(&mut file).map_err(Error::io("read", &path))?;
                Ok(Some((Sha256(digest.finalize().into()), len)))
            }
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(Error::io("open", path)(why)),
        }
    }

    /// Forgets a file: it was imported, or it is worth nothing.
    ///
    /// # Errors
    /// What the file system says, unless it says that the file is not there.
    pub fn forget(&self, key: &StagingKey) -> Result<()> {
        for path in [
            self.path(key),
            self.side(key, "part"),
            self.side(key, "from"),
        ] {
            match fs::remove_file(&path) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", path)(why));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Forgets a complete file.
    ///
    /// # Errors
    /// What the file system says, unless it says that the file is not there.
    pub(crate) fn forget_whole(&self, key: &StagingKey) -> Result<()> {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", path)(why))
            }
            _ => Ok(()),
        }
    }

    /// Removes everything that does not belong to one of the keys: what was left by a release that
    /// is not wanted any more. Gives the bytes it freed, and the keys of which something is there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep_only(&self, keys: &HashSet<StagingKey>) -> Result<(u64, HashSet<StagingKey>)> {
        let (mut freed, mut found) = (0, HashSet::new());
        let entries = fs::read_dir(&self.dir).map_err(Error::io("list", &self.dir))?;
        for entry in entries {
            let entry = entry.map_err(Error::io("list", &self.dir))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let stem = name
                .strip_suffix(".part")
                .or_else(|| name.strip_suffix(".from"))
                .unwrap_or(&name);
            let ours = stem.ends_with(".nar") || stem.contains(".nar.");
            if !ours {
                continue;
            }
            if let Some(key) = keys.get(&StagingKey(stem.into())) {
                found.insert(key.clone());
                continue;
            }
            freed += entry.metadata().map_or(0, |data| data.len());
            fs::remove_file(entry.path()).map_err(Error::io("remove", entry.path()))?;
        }
        Ok((freed, found))
    }

    /// Brings everything that was staged so far to the disk. Blocks.
    ///
    /// # Errors
    /// What the file system says.
    pub fn sync(&self) -> Result<()> {
        sync_file_system(&self.dir)
    }
}

/// `syncfs(2)` on the file system that a directory lies on.
///
/// # Errors
/// What the file system says: data that could not be written is reported here.
pub(crate) fn sync_file_system(dir: &Path) -> Result<()> {
    let file = File::open(dir).map_err(Error::io("open", dir))?;
    nix::unistd::syncfs(&file).map_err(|errno| Error::io("sync", dir)(errno.into()))
}

fn hash(file: &mut File) -> io::Result<(sha2::Sha256, u64)> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_core::{StorePath, closure::Download};

    fn info(file: &[u8]) -> PathInfo {
        PathInfo {
            path: StorePath::from_base_name(&format!("{}-x", "0".repeat(32))).unwrap(),
            nar_hash: Sha256([7; 32]),
            nar_size: 1,
            references: vec![],
            deriver: None,
            signatures: vec![],
            ca: None,
            download: Download {
                url: "nar/x".into(),
                compression: Compression::Xz,
                file_hash: Some(Sha256(sha2::Sha256::digest(file).into())),
                file_size: Some(file.len() as u64),
            },
        }
    }

    #[test]
    fn a_beginning_survives_and_is_completed() {
        let dir = tempfile::tempdir().unwrap();
        let info = info(b"hello world");
        let key = StagingKey::of(&info);
        let staging = Staging::open(dir.path()).unwrap();
        let mut partial = staging.partial(&key).unwrap();
        partial
            .set_origin("http://c/x", Some("\"1\""), SMALL)
            .unwrap();
        partial.write(b"hello ").unwrap();
        drop((partial, staging));
        assert_eq!(Staging::look(dir.path(), &key), Found::Part(6));

        let staging = Staging::open(dir.path()).unwrap();
        let mut partial = staging.partial(&key).unwrap();
        assert_eq!(partial.len(), 6);
        assert_eq!(partial.origin(), Some(("http://c/x", "\"1\"")));
        partial.write(b"world").unwrap();
        assert_eq!(Some(partial.digest()), info.download.file_hash);
        partial.complete().unwrap();
        assert_eq!(Staging::look(dir.path(), &key), Found::Whole(11));
        let found = staging.recheck(&key).unwrap().unwrap();
        assert_eq!((Some(found.0), found.1), (info.download.file_hash, 11));
        staging.sync().unwrap();
        staging.forget(&key).unwrap();
        assert_eq!(Staging::look(dir.path(), &key), Found::Nothing);
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "only the lock"
        );
    }

    #[test]
    fn paths_with_the_same_file_are_not_in_each_others_way() {
        let (one, mut other) = (info(b"empty"), info(b"empty"));
        other.path = StorePath::from_base_name(&format!("{}-y", "1".repeat(32))).unwrap();
        assert_eq!(one.download, other.download);
        assert_ne!(StagingKey::of(&one), StagingKey::of(&other));
    }

    #[test]
    fn one_fetcher_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = Staging::open(dir.path()).unwrap();
        assert!(matches!(
            Staging::open(dir.path()),
            Err(Error::StagingBusy(_))
        ));
        drop(first);
        Staging::open(dir.path()).unwrap();
    }

    #[test]
    fn only_what_is_wanted_stays() {
        let dir = tempfile::tempdir().unwrap();
        let staging = Staging::open(dir.path()).unwrap();
        let (wanted, old) = (StagingKey::of(&info(b"new")), StagingKey::of(&info(b"old")));
        for key in [&wanted, &old] {
            staging.partial(key).unwrap().write(b"12345").unwrap();
        }
        fs::write(dir.path().join("somebody's notes"), "x").unwrap();
        let wanted_only = HashSet::from([wanted.clone()]);
        assert_eq!(
            staging.keep_only(&wanted_only).unwrap(),
            (5, wanted_only.clone())
        );
        assert_eq!(Staging::look(dir.path(), &wanted), Found::Part(5));
        assert_eq!(Staging::look(dir.path(), &old), Found::Nothing);
        assert!(dir.path().join("somebody's notes").exists());
    }

    #[test]
    fn starting_over_starts_over() {
        let dir = tempfile::tempdir().unwrap();
        let staging = Staging::open(dir.path()).unwrap();
        let key = StagingKey::of(&info(b"b"));
        for mut partial in [staging.partial(&key).unwrap(), staging.small(&key)] {
            partial.write(b"aaaa").unwrap();
            partial.reset().unwrap();
            assert!(partial.is_empty());
            partial.write(b"b").unwrap();
            partial.complete().unwrap();
            assert_eq!(fs::read(staging.path(&key)).unwrap(), b"b");
            staging.forget_whole(&key).unwrap();
            assert_eq!(Staging::look(dir.path(), &key), Found::Nothing);
        }
    }
}
