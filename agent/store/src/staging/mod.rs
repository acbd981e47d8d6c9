//! The staging area: compressed NARs on their way from a cache into the store.
//!
//! Files are named by their content and path: `KEY` is complete and was checked once, `KEY.part` is
//! the beginning of it, `KEY.from` says under which validator that beginning came. Nothing in here is
//! trusted after a restart: a power cut may have taken any bytes that were not on the disk yet, so
//! whatever is found is hashed before it is used. So the names need no `fsync`; what was fetched is
//! brought to the disk from time to time ([`Staging::sync`]) to make a cut cheap.

mod key;
mod partial;

use crate::error::{Error, Result};
use nix::fcntl::{Flock, FlockArg};
use sha2::Digest;
use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};
use surefoot_core::Sha256;

pub use key::StagingKey;
pub use partial::Partial;
pub(crate) use partial::SMALL;
use partial::{FROM, PART, hash, with_suffix};

/// A staging directory, locked.
#[derive(Debug)]
pub struct Staging {
    dir: PathBuf,
    /// Held for as long as the directory is in use.
    _lock: Flock<File>,
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

    /// What is there of a file, by its size alone: enough to say what a fetch will cost.
    #[must_use]
    pub fn look(dir: &Path, key: &StagingKey) -> Found {
        let size = |path: PathBuf| fs::metadata(path).ok().map(|data| data.len());
        if let Some(size) = size(dir.join(&key.0)) {
            Found::Whole(size)
        } else if let Some(size) = size(dir.join(format!("{}{PART}", key.0))) {
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

    /// Takes up a file where it was left. Reads all that is there; blocks.
    ///
    /// # Errors
    /// What the file system says.
    pub fn partial(&self, key: &StagingKey) -> Result<Partial> {
        Partial::open(self.path(key))
    }

    /// Begins a file of at most [`SMALL`] bytes, of which nothing is there. Does not block.
    pub(crate) fn small(&self, key: &StagingKey) -> Partial {
        Partial::in_memory(self.path(key))
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
        let path = self.path(key);
        let sides = [PART, FROM].map(|suffix| with_suffix(&path, suffix));
        remove(&path)?;
        sides.iter().try_for_each(|side| remove(side))
    }

    /// Forgets a complete file.
    ///
    /// # Errors
    /// What the file system says, unless it says that the file is not there.
    pub(crate) fn forget_whole(&self, key: &StagingKey) -> Result<()> {
        remove(&self.path(key))
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
                .strip_suffix(PART)
                .or_else(|| name.strip_suffix(FROM))
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

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(why)),
        _ => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_core::{
        StorePath,
        closure::{Compression, Download, PathInfo},
    };

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
                compression: Compression::Xz.into(),
                file_hash: Some(Sha256(sha2::Sha256::digest(file).into())),
                file_size: Some(file.len() as u64),
            },
            deltas: vec![],
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
