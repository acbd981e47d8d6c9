//! Room in the store: what nothing keeps goes, and no more of it than a fetch needs.
//!
//! Source: Nix `src/libstore/gc.cc` (`collectGarbage`).

use crate::{
    error::{Error, Result},
    nix_daemon::{Connection, ValidPath},
    progress::{Dead, Progress, Status},
    request::FetchRequest,
    verify,
};
use std::{
    collections::{BTreeMap, HashSet},
    os::unix::fs::MetadataExt,
    path::Path,
};
use surefoot_base::units::short_bytes;
use surefoot_core::StorePath;

/// Bytes that one order to the Nix daemon frees at most: it answers at the end only, and has to do so
/// within its patience.
const SLICE: u64 = 256 << 20;
/// Paths whose sizes are asked for.
const MAX_ASKED: usize = 100_000;

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
/// looked at. What is `needed` does not count: a fetch is about to keep it.
///
/// # Errors
/// The Nix daemon's.
pub async fn enough(
    daemon: &mut Connection,
    bytes: u64,
    roots: &[(String, StorePath)],
    needed: &HashSet<StorePath>,
) -> Result<Option<usize>> {
    let mut dead = daemon.dead_paths().await?;
    dead.retain(|path| !needed.contains(path));
    let dead = size(&dead, daemon).await?;
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

/// Removes what nothing keeps until so many bytes are free, and says beforehand what could go. If all of it
/// would not be enough, none goes. What holds temporary roots, as each fetch does, stays.
///
/// # Errors
/// The Nix daemon's.
pub async fn make_room(
    request: &FetchRequest,
    bytes: u64,
    progress: &dyn Progress,
) -> Result<Dead> {
    let mut daemon = Connection::open(&request.daemon_socket, request.daemon_patience).await?;
    let dead = look(&mut daemon).await?;
    let all = format!(
        "{} are missing in the store, and {} paths that nothing keeps take {}",
        short_bytes(bytes),
        dead.paths,
        short_bytes(dead.bytes)
    );
    if dead.bytes < bytes {
        tracing::warn!("{all}: that is not enough, and none is removed");
        return Ok(Dead::default());
    }
    tracing::info!("{all}: as many of them as are needed are removed");
    let mut gone = Dead::default();
    while gone.bytes < bytes {
        let (paths, freed) = daemon.delete_dead((bytes - gone.bytes).min(SLICE)).await?;
        if paths == 0 {
            break;
        }
        gone.paths += paths;
        gone.bytes += freed;
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
}
