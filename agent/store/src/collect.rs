//! Room in the store: what nothing keeps goes, and no more of it than a fetch needs.
//!
//! Source: Nix `src/libstore/gc.cc` (`collectGarbage`).

use crate::{
    blocking::blocking,
    error::{Error, Result},
    nix_daemon::{Connection, ValidPath},
    progress::{Dead, Progress, Status},
    request::FetchRequest,
    verify,
};
use nix::unistd::syncfs;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};
use surefoot_base::{space, units::short_bytes};
use surefoot_core::StorePath;

/// Bytes that one order to the Nix daemon frees at most: it answers at the end only, and has to do so
/// within its patience.
const SLICE: u64 = 256 << 20;
/// Paths whose sizes are asked for.
const MAX_ASKED: usize = 100_000;
/// Files with several names that are told apart: each costs memory.
const MAX_SHARED: usize = 200_000;

/// What could be removed. Nothing is.
///
/// # Errors
/// The Nix daemon's.
pub async fn look(daemon: &mut Connection) -> Result<Dead> {
    let paths = daemon.dead_paths().await?;
    Ok(Dead {
        paths: paths.len() as u64,
        bytes: size(&paths, daemon).await?,
    })
}

/// What these take, bytes.
async fn size(paths: &[StorePath], daemon: &mut Connection) -> Result<u64> {
    let mut bytes = 0;
    for path in paths.iter().take(MAX_ASKED) {
        // What is not valid was left half-way, and nobody knows its size.
        let info = daemon.path_info(path).await?;
        bytes += info.map_or(0, |info| info.nar_size);
    }
    Ok(bytes)
}

/// How many of these roots have to go, the first of them first, until what nothing keeps takes so many
/// bytes; `None` if it would not without all of them. A root is a link with what it leads to, and is only
/// looked at. What is `needed` does not count: a fetch is about to keep it. What nothing keeps counts as
/// [`make_room`] counts it, what the roots keep by the sizes of their paths.
///
/// # Errors
/// The Nix daemon's.
pub async fn enough(
    daemon: &mut Connection,
    store: &Path,
    bytes: u64,
    roots: &[(String, StorePath)],
    needed: &HashSet<StorePath>,
) -> Result<Option<usize>> {
    let mut dead = daemon.dead_paths().await?;
    dead.retain(|path| !needed.contains(path));
    let store = store.to_owned();
    let dead = blocking(move || Ok(freeable(&store, &dead, bytes))).await?;
    let all = daemon.roots().await?;
    let others = all.into_iter().filter(|root| !roots.contains(root));
    let others: Vec<StorePath> = others.map(|(_, path)| path).collect();
    let others = verify::closure(others, daemon).await?;
    let theirs = verify::closure(roots.iter().map(|(_, path)| path.clone()), daemon).await?;
    let own = |path: &StorePath| !others.contains_key(path) && !needed.contains(path);
    let frees = frees(roots.iter().map(|(_, path)| path), &theirs, own);
    Ok(first_enough(bytes, dead, &frees))
}

/// The bytes that each of these frees once it and those before it have gone, of what is `theirs` alone.
fn frees<'a>(
    roots: impl Iterator<Item = &'a StorePath>,
    known: &BTreeMap<StorePath, ValidPath>,
    theirs: impl Fn(&StorePath) -> bool,
) -> Vec<u64> {
    let mut last: BTreeMap<&StorePath, usize> = BTreeMap::new();
    let mut count = 0;
    for (at, root) in roots.enumerate() {
        count = at + 1;
        let mut next = vec![root];
        while let Some(path) = next.pop() {
            let Some((path, info)) = known.get_key_value(path).filter(|(path, _)| theirs(path))
            else {
                // Nor is anything that it refers to.
                continue;
            };
            if last.insert(path, at) != Some(at) {
                next.extend(&info.references);
            }
        }
    }
    let mut frees = vec![0; count];
    for (path, at) in last {
        frees[at] += known.get(path).map_or(0, |info| info.nar_size);
    }
    frees
}

/// How many have to go.
fn first_enough(bytes: u64, dead: u64, frees: &[u64]) -> Option<usize> {
    let mut free = dead;
    let mut freed = frees.iter();
    let mut count = 0;
    while free < bytes {
        free += freed.next()?;
        count += 1;
    }
    Some(count)
}

/// Removes what nothing keeps until so many bytes more are free, and says beforehand what could go. If all of
/// it would not be enough, none goes. What holds temporary roots, as each fetch does, stays.
///
/// What counts is what the file system says, and not the sizes of paths or what the daemon believes to have
/// freed: a file that several paths share (`nix-store --optimise`) goes with the last of them.
///
/// # Errors
/// The Nix daemon's, or what the store's file system says.
pub async fn make_room(
    request: &FetchRequest,
    bytes: u64,
    progress: &dyn Progress,
) -> Result<Dead> {
    let mut daemon = Connection::open(&request.daemon_socket, request.daemon_patience).await?;
    let dead = daemon.dead_paths().await?;
    let (count, store) = (dead.len(), request.store_dir.clone());
    let freeable = blocking(move || Ok(freeable(&store, &dead, bytes))).await?;
    let missing = format!("{} are missing in the store", short_bytes(bytes));
    if freeable < bytes {
        tracing::warn!(
            "{missing}, and {count} paths that nothing keeps take {}: that is not enough, and none is removed",
            short_bytes(freeable)
        );
        return Ok(Dead::default());
    }
    tracing::info!(
        "{missing}, and {count} paths that nothing keeps take no less: as many of them as are needed are removed"
    );
    let before = free(request).await?;
    let mut gone = Dead::default();
    while gone.bytes < bytes {
        let (paths, _) = daemon.delete_dead((bytes - gone.bytes).min(SLICE)).await?;
        if paths == 0 {
            break;
        }
        gone.paths += paths;
        gone.bytes = free(request).await?.saturating_sub(before);
        progress.update(&Status {
            freed: gone.bytes,
            ..Status::default()
        });
    }
    tracing::info!(
        "{} paths were removed, {} bytes freed",
        gone.paths,
        gone.bytes
    );
    progress.collected(gone);
    Ok(gone)
}

/// What is free on the store's file system, once it has written what it knows: some free blocks no sooner.
async fn free(request: &FetchRequest) -> Result<u64> {
    let store = request.store_dir.clone();
    let looked = blocking(move || {
        let looked = || -> io::Result<u64> {
            syncfs(File::open(&store)?)?;
            Ok(space::free(&store)?)
        };
        looked().map_err(Error::io("look at", &store))
    });
    looked.await
}

/// The bytes on the disk that only these paths of a store take; no more is looked at than it takes to know
/// that they are `enough`. A file goes with its last name. Where the store is optimised that is the one
/// that the collector takes away by itself.
fn freeable(store: &Path, paths: &[StorePath], enough: u64) -> u64 {
    let links = fs::read_dir(store.join(".links"));
    let last = u64::from(links.is_ok_and(|mut links| links.next().is_some()));
    let (mut bytes, mut shared) = (0, HashMap::new());
    let mut left: Vec<PathBuf> = (paths.iter().rev())
        .map(|path| store.join(path.base_name()))
        .collect();
    while let Some(path) = left.pop() {
        if bytes >= enough {
            break;
        }
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        let size = meta.blocks() * 512;
        if meta.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path()));
            bytes += size;
        } else if meta.nlink() == 1 {
            bytes += size;
        } else if shared.len() < MAX_SHARED || shared.contains_key(&meta.ino()) {
            let names = shared.entry(meta.ino()).or_insert_with(|| meta.nlink());
            *names = names.saturating_sub(1);
            if *names == last {
                bytes += size;
            }
        }
    }
    bytes
}

/// The bytes that a fetch lacks on the file system of the store, if that is why it was refused.
#[must_use]
pub fn lacking(error: &Error, store_dir: &Path) -> Option<u64> {
    let Error::NoSpace { dir, needed, free } = error else {
        return None;
    };
    let same = dir.metadata().ok()?.dev() == store_dir.metadata().ok()?.dev();
    same.then(|| needed.saturating_sub(*free))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use surefoot_core::Sha256;

    fn path(c: char) -> StorePath {
        StorePath::from_base_name(&format!("{}-x", c.to_string().repeat(32))).unwrap()
    }

    #[test]
    fn what_only_those_that_go_keep_is_freed_with_the_last_of_them() {
        let info = |size, references: &str| ValidPath {
            nar_hash: Sha256([0; 32]),
            nar_size: size,
            references: references.chars().map(path).collect(),
            deriver: None,
            signatures: Vec::new(),
            ca: None,
        };
        // Two systems with a part of each, one that both have, and one that something else keeps.
        let known = BTreeMap::from([
            (path('a'), info(1, "acdf")),
            (path('b'), info(2, "bdfg")),
            (path('c'), info(4, "")),
            (path('d'), info(8, "f")),
            (path('f'), info(16, "")),
            (path('g'), info(32, "")),
        ]);
        let theirs = |found: &StorePath| *found != path('f');
        let roots = [path('a'), path('b')];
        assert_eq!(frees(roots.iter(), &known, theirs), [5, 42]);
        let roots = [path('a'), path('b'), path('a')];
        assert_eq!(frees(roots.iter(), &known, theirs), [0, 34, 13]);
        for (bytes, count) in [(3, Some(0)), (4, Some(1)), (9, Some(2)), (51, None)] {
            assert_eq!(first_enough(bytes, 3, &[5, 42]), count, "{bytes}");
        }
    }

    const SIZE: usize = 1 << 16;

    /// A store with a file of [`SIZE`] in each of these paths.
    fn store(names: &[&str]) -> (tempfile::TempDir, Vec<StorePath>) {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<StorePath> = names
            .iter()
            .map(|name| {
                let base = format!("7rjj86a9d9vvbjg8c7i4r1f5vpm3k2d1-{name}");
                let path = StorePath::from_base_name(&base).unwrap();
                let there = dir.path().join(path.base_name());
                fs::create_dir_all(there.join("bin")).unwrap();
                fs::write(there.join("bin/file"), vec![7; SIZE]).unwrap();
                path
            })
            .collect();
        (dir, paths)
    }

    /// Counted in whole files: directories and the rest of a block are not.
    fn files(store: &Path, paths: &[StorePath]) -> u64 {
        freeable(store, paths, u64::MAX) / SIZE as u64
    }

    #[test]
    fn a_file_counts_with_the_last_of_its_names() {
        let (dir, paths) = store(&["a", "b", "c"]);
        let file = |path: &StorePath| dir.path().join(path.base_name()).join("bin/file");
        assert_eq!(files(dir.path(), &paths), 3);
        // Enough is enough.
        let some = freeable(dir.path(), &paths, 1);
        assert!(some > 0 && some < 2 * SIZE as u64, "{some}");
        // Two share a file: it goes with both.
        fs::remove_file(file(&paths[1])).unwrap();
        fs::hard_link(file(&paths[0]), file(&paths[1])).unwrap();
        assert_eq!(files(dir.path(), &paths), 2);
        assert_eq!(files(dir.path(), &paths[..1]), 0);
        assert_eq!(files(dir.path(), &paths[..2]), 1);
        // An optimised store has one more name for each, which goes by itself.
        let links = dir.path().join(".links");
        fs::create_dir(&links).unwrap();
        fs::hard_link(file(&paths[0]), links.join("1")).unwrap();
        assert_eq!(files(dir.path(), &paths[..1]), 0);
        assert_eq!(files(dir.path(), &paths[..2]), 1);
        // What a link leads to is not counted, and what is gone neither.
        fs::remove_file(file(&paths[2])).unwrap();
        symlink(file(&paths[0]), file(&paths[2])).unwrap();
        assert_eq!(files(dir.path(), &paths[2..]), 0);
        fs::remove_dir_all(dir.path().join(paths[2].base_name())).unwrap();
        assert_eq!(freeable(dir.path(), &paths[2..], u64::MAX), 0);
    }
}
