//! Who holds the locks of a Nix store that somebody waits for.
//!
//! Nix locks a path that it makes by `flock(2)` on the file of its name and `.lock`, without a limit in
//! time (Nix `src/libstore/pathlocks.cc`). Who holds it and who waits is in `/proc/locks` (`proc(5)`).

use std::{collections::HashMap, fmt, fs, os::unix::fs::MetadataExt, path::Path, path::PathBuf};
use surefoot_base::{
    file, locks,
    text::{shown, shown_within},
};
use surefoot_core::StorePath;

/// Bytes of `/proc/locks` that are read; a line has less than 100.
const MAX_TABLE: u64 = 4 << 20;
/// Locks that are told at once.
const MAX_TOLD: usize = 3;

/// A lock that somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Its file.
    pub file: PathBuf,
    /// The process that holds it, as the reader of `/proc` numbers it.
    pub pid: u32,
    /// The name of its program, if that can be read.
    pub program: Option<String>,
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pid = self.pid;
        match &self.program {
            Some(program) => write!(f, "{} (process {pid})", shown_within(program, 40))?,
            None => write!(f, "process {pid}")?,
        }
        write!(f, " holds {}", shown(self.file.display()))
    }
}

/// The first of these locks in one line.
#[must_use]
pub fn list(locks: &[Lock]) -> String {
    let told: Vec<_> = locks.iter().take(MAX_TOLD).map(Lock::to_string).collect();
    told.join(", ")
}

/// The locks of the store in this directory (`/nix/store`) that somebody waits for. What cannot be read is
/// left out. It reads the whole directory: not for every day.
#[must_use]
pub fn waited_for(store: &Path) -> Vec<Lock> {
    let held = table();
    if held.values().all(|(_, waited)| !waited) {
        return Vec::new();
    }
    let state = store.with_file_name("var").join("nix");
    let paths = fs::read_dir(store).into_iter().flatten().flatten();
    let paths = paths.map(|entry| entry.path());
    let files = paths
        .filter(|path| path.extension().is_some_and(|end| end == "lock"))
        .chain(["gc.lock", "db/big-lock"].map(|name| state.join(name)));
    of(files, &held, |waited| waited)
}

/// The locks of these paths of the store that are held, whether somebody waits for them or not.
pub fn held<'a>(store: &Path, paths: impl Iterator<Item = &'a StorePath>) -> Vec<Lock> {
    let files = paths.map(|path| store.join(format!("{}.lock", path.base_name())));
    of(files, &table(), |_| true)
}

fn of(
    files: impl Iterator<Item = PathBuf>,
    held: &HashMap<u64, (u32, bool)>,
    counts: impl Fn(bool) -> bool,
) -> Vec<Lock> {
    let mut locks: Vec<Lock> = files
        .filter_map(|file| {
            let inode = fs::symlink_metadata(&file).ok()?.ino();
            let (pid, waited) = *held.get(&inode)?;
            let program = fs::read_to_string(format!("/proc/{pid}/comm")).ok();
            let program = program.map(|name| name.trim_end().to_owned());
            counts(waited).then_some(Lock { file, pid, program })
        })
        .collect();
    locks.sort_by(|a, b| a.file.cmp(&b.file));
    locks
}

fn table() -> HashMap<u64, (u32, bool)> {
    let table = file::read_start(Path::new("/proc/locks"), MAX_TABLE).unwrap_or_default();
    parse(&String::from_utf8_lossy(&table))
}

/// The inodes of files that are locked, with the holder of each and whether somebody waits for it. The
/// device is left out: the one of a file as `stat` tells it is another one on btrfs.
fn parse(table: &str) -> HashMap<u64, (u32, bool)> {
    let held = locks::parse(table).into_iter();
    held.map(|held| (held.inode, (held.process, held.waited)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn holders_are_told_from_those_who_wait() {
        let table = "\
1: FLOCK  ADVISORY  WRITE 11 fd:01:100 0 EOF
2: FLOCK  ADVISORY  WRITE 22 fd:01:200 0 EOF
2: -> FLOCK  ADVISORY  WRITE 33 fd:01:200 0 EOF
2: -> FLOCK  ADVISORY  READ 34 fd:01:200 0 EOF
3: POSIX  ADVISORY  READ 44 00:2a:300 128 128
4: nonsense
4: -> FLOCK  ADVISORY  WRITE 55 fd:01:300 0 EOF
";
        let expected = [(100, (11, false)), (200, (22, true)), (300, (44, false))];
        assert_eq!(parse(table), HashMap::from(expected));
    }

    #[test]
    fn the_holder_of_a_path_that_somebody_waits_for_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = dir.path().join("store");
        let path = StorePath::from_base_name(&format!("{}-x", "a".repeat(32))).unwrap();
        fs::create_dir(&store).unwrap();
        let file = store.join(format!("{}.lock", path.base_name()));
        let holder = File::create(&file).unwrap();
        holder.lock().unwrap();
        assert_eq!(waited_for(&store), [], "nobody waits");
        assert_eq!(super::held(&store, [&path].into_iter()).len(), 1);
        let waits = File::open(&file).unwrap();
        let waiter = std::thread::spawn(move || waits.lock());
        let locks = loop {
            let locks = waited_for(&store);
            if !locks.is_empty() {
                break locks;
            }
            std::thread::yield_now();
        };
        holder.unlock().unwrap();
        waiter.join().unwrap().unwrap();
        let pid = std::process::id();
        assert_eq!((&locks[0].file, locks[0].pid), (&file, pid));
        let said = list(&locks);
        assert!(said.contains(&format!("(process {pid}) holds")), "{said}");
        assert!(said.ends_with("-x.lock"), "{said}");
    }
}
