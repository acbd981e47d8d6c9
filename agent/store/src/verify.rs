//! Whether what lies in the store is still what it was when it came there.
//!
//! A power cut may leave files empty whose path Nix had registered as valid already, and disks forget. Nix
//! itself does not look again: a path that is valid is believed.

pub use crate::damage::Damage;
use crate::{
    blocking::blocking,
    error::Result,
    nar,
    nix_daemon::{Connection, ValidPath},
};
use nix::{errno::Errno, libc};
use sha2::Digest;
use std::{
    collections::{BTreeMap, HashSet},
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use surefoot_base::file;
use surefoot_core::{Sha256, StorePath};
use surefoot_http::pace::{Bandwidth, Limiter};
use tokio::runtime::Handle;

/// Bytes of the memory of what was verified that are read: some 100 000 paths.
const MAX_MEMORY: u64 = 8 << 20;
/// Paths of a closure above this number are a broken database.
const MAX_PATHS: usize = 1 << 20;

/// The paths that were read in this boot and are what they should be, or came in it. Clones share it.
///
/// Whatever damages files, other than a power cut, is not looked for more than once a boot.
#[derive(Debug, Clone, Default)]
pub struct Verified {
    paths: Arc<Mutex<HashSet<StorePath>>>,
    /// Where it is remembered, and in which boot.
    file: Option<(PathBuf, String)>,
}

impl Verified {
    /// What a file remembers of this boot. One that cannot be read remembers nothing.
    #[must_use]
    pub fn load(file: PathBuf, boot: &str) -> Self {
        let bytes = file::read_if_there(&file, MAX_MEMORY).ok().flatten();
        let text = String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned();
        let mut lines = text.lines();
        let same = lines.next() == Some(boot);
        let paths = lines.filter_map(|line| line.parse().ok().filter(|_| same));
        Self {
            paths: Arc::new(Mutex::new(paths.collect())),
            file: Some((file, boot.to_owned())),
        }
    }

    fn paths(&self) -> MutexGuard<'_, HashSet<StorePath>> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a path was found good.
    #[must_use]
    pub fn has(&self, path: &StorePath) -> bool {
        self.paths().contains(path)
    }

    /// A path was found good, or has just come.
    pub fn add(&self, path: StorePath) {
        self.paths().insert(path);
    }

    /// A path was found damaged.
    pub fn forget(&self, path: &StorePath) {
        self.paths().remove(path);
    }

    /// Remembers it beyond this process.
    ///
    /// # Errors
    /// The file cannot be written: what was verified is verified again.
    pub fn save(&self) -> io::Result<()> {
        let Some((file, boot)) = &self.file else {
            return Ok(());
        };
        let mut text = format!("{boot}\n");
        for path in &*self.paths() {
            text.push_str(&path.to_string());
            text.push('\n');
        }
        file::replace_unsynced(file, text.as_bytes(), 0o600)
    }
}

/// Reads paths of the store, at a pace.
#[derive(Debug, Clone)]
pub struct Reader {
    /// The directory of the store: `/nix/store`.
    store: PathBuf,
    limiter: Arc<Limiter>,
    idle: bool,
}

impl Reader {
    /// Of the store in this directory, with so many bytes a second at most.
    #[must_use]
    pub fn new(store: PathBuf, pace: Bandwidth) -> Self {
        Self {
            store,
            limiter: Arc::new(Limiter::new(pace)),
            idle: false,
        }
    }

    /// The same, whose reads let those of all others go first: the disk's class "idle", where the
    /// scheduler of the disk knows classes (`ioprio_set(2)`).
    #[must_use]
    pub const fn idle(mut self) -> Self {
        self.idle = true;
        self
    }

    /// What the NAR of a path hashes to now; `read` is told of bytes. Why it cannot be read, otherwise.
    ///
    /// # Errors
    /// None of its own.
    pub async fn hash(
        &self,
        path: &StorePath,
        read: impl Fn(u64) + Send + 'static,
    ) -> Result<std::result::Result<Sha256, String>> {
        let at = self.store.join(path.base_name());
        let limiter = Arc::clone(&self.limiter);
        // Whoever waits for it may leave; then nothing is read to its end for nobody.
        let waits = Arc::new(());
        let left = Arc::downgrade(&waits);
        let handle = Handle::current();
        let idle = self.idle;
        let hash = blocking(move || {
            let _class = idle.then(Idle::begin);
            let mut to = Hashing {
                digest: sha2::Sha256::new(),
                pay: |bytes| {
                    if left.strong_count() == 0 {
                        return Err(io::Error::other("nobody waits for it any more"));
                    }
                    read(bytes);
                    handle.block_on(limiter.spend(bytes));
                    Ok(())
                },
            };
            Ok(match nar::write(&at, &mut to) {
                Ok(()) => Ok(Sha256(to.digest.finalize().into())),
                Err(why) => Err(why.to_string()),
            })
        })
        .await;
        drop(waits);
        hash
    }

    /// Whether a path is what is known of it; what is wrong with it, if not. `signed` is the hash that
    /// somebody signed, if that is at hand: another build of the same path is none the worse.
    ///
    /// # Errors
    /// The Nix daemon's.
    pub async fn damage(
        &self,
        path: &StorePath,
        signed: Option<Sha256>,
        daemon: &mut Connection,
        read: impl Fn(u64) + Send + 'static,
    ) -> Result<Option<Damage>> {
        let found = match self.hash(path, read).await? {
            Ok(found) if Some(found) == signed => return Ok(None),
            Ok(found) => {
                let known = daemon.path_info(path).await?.map(|known| known.nar_hash);
                if known.is_none_or(|known| known == found) {
                    return Ok(None);
                }
                "is not what was put into the store".to_owned()
            }
            Err(why) => format!("cannot be read: {why}"),
        };
        let path = path.clone();
        Ok(Some(Damage { path, found }))
    }
}

/// As long as it is there, what this thread reads from disks goes after what all others read.
struct Idle;

impl Idle {
    fn begin() -> Self {
        set_class(CLASS_IDLE);
        Self
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        // The thread has other work after that.
        set_class(CLASS_NONE);
    }
}

/// The classes of `ioprio_set(2)`, which has no name in the C library.
const CLASS_NONE: libc::c_int = 0;
const CLASS_IDLE: libc::c_int = 3;
const CLASS_SHIFT: libc::c_int = 13;
const WHO_PROCESS: libc::c_int = 1;

fn set_class(class: libc::c_int) {
    // SAFETY: three numbers, and no memory. Zero is the thread that asks.
    #[allow(unsafe_code, reason = "there is no safe way to ask the kernel for it")]
    let result =
        unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, class << CLASS_SHIFT) };
    // It reads as all others do where that is refused.
    if let Err(error) = Errno::result(result) {
        tracing::debug!("the class of reads cannot be set: {error}");
    }
}

/// Takes bytes into a digest, and pays for them.
struct Hashing<P> {
    digest: sha2::Sha256,
    pay: P,
}

impl<P: FnMut(u64) -> io::Result<()>> Write for Hashing<P> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.digest.update(bytes);
        // Names and the like are few.
        if bytes.len() > 512 {
            (self.pay)(bytes.len() as u64)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All that these paths refer to, themselves included, with what the store knows of it. What is not valid is
/// left out.
///
/// # Errors
/// The Nix daemon's.
pub async fn closure(
    roots: impl IntoIterator<Item = StorePath>,
    daemon: &mut Connection,
) -> Result<BTreeMap<StorePath, ValidPath>> {
    let mut closure = BTreeMap::new();
    let mut seen = HashSet::new();
    let mut next: Vec<StorePath> = roots.into_iter().collect();
    while let Some(path) = next.pop() {
        if seen.len() >= MAX_PATHS || !seen.insert(path.clone()) {
            continue;
        }
        if let Some(known) = daemon.path_info(&path).await? {
            next.extend(known.references.iter().cloned());
            closure.insert(path, known);
        }
    }
    Ok(closure)
}

/// The path of the store that a link leads to: `/run/current-system`.
#[must_use]
pub fn link(link: &Path) -> Option<StorePath> {
    StorePath::containing(&fs::read_link(link).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_verified_is_remembered_in_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("verified");
        let path = |c: &str| StorePath::from_base_name(&format!("{}-x", c.repeat(32))).unwrap();
        let verified = Verified::load(file.clone(), "this boot");
        verified.add(path("a"));
        verified.save().unwrap();
        let again = Verified::load(file.clone(), "this boot");
        assert!(again.has(&path("a")) && !again.has(&path("b")));
        assert!(!Verified::load(file.clone(), "the next").has(&path("a")));
        fs::write(&file, b"this boot\n\xff\nnonsense\n").unwrap();
        assert!(!Verified::load(file, "this boot").has(&path("a")));
    }

    #[test]
    fn what_is_read_over_goes_after_everybody_else() {
        // SAFETY: two numbers, and no memory.
        #[allow(unsafe_code, reason = "there is no safe way to ask the kernel for it")]
        let class =
            || unsafe { libc::syscall(libc::SYS_ioprio_get, WHO_PROCESS, 0) >> CLASS_SHIFT };
        let before = class();
        let idle = Idle::begin();
        assert_eq!(class(), i64::from(CLASS_IDLE));
        drop(idle);
        assert_eq!(class(), before);
    }

    #[tokio::test]
    async fn a_file_that_was_emptied_changes_the_hash() {
        let dir = tempfile::tempdir().unwrap();
        let path = StorePath::from_base_name(&format!("{}-x", "a".repeat(32))).unwrap();
        let at = dir.path().join(path.base_name());
        fs::create_dir(&at).unwrap();
        fs::write(at.join("file"), vec![7; 100_000]).unwrap();
        let reader = Reader::new(dir.path().into(), Bandwidth::default());
        let read = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let hash = || {
            let read = Arc::clone(&read);
            let count = move |bytes| {
                read.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
            };
            reader.hash(&path, count)
        };
        let whole = hash().await.unwrap().unwrap();
        assert_eq!(read.load(std::sync::atomic::Ordering::Relaxed), 100_000);
        assert_eq!(hash().await.unwrap(), Ok(whole));
        fs::write(at.join("file"), "").unwrap();
        assert_ne!(hash().await.unwrap(), Ok(whole));
        fs::remove_dir_all(&at).unwrap();
        assert!(hash().await.unwrap().is_err());
    }
}
