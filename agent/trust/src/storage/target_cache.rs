//! Targets that were read lately, so that they need not be fetched again.

use crate::files;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A small cache of targets, by digest. Whatever is in it is verified when it is read.
#[derive(Debug)]
pub(crate) struct TargetCache {
    dir: PathBuf,
}

/// Targets that are kept; the oldest go first.
const KEPT_TARGETS: usize = 8;

impl TargetCache {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self {
            dir: state_dir.join("targets"),
        }
    }

    pub(crate) fn read(&self, hash: &str, length: u64) -> Option<Vec<u8>> {
        files::read(&self.dir.join(hash), length).ok().flatten()
    }

    /// Keeps a target. A cache that cannot be written is not a reason to fail.
    pub(crate) fn keep(&self, hash: &str, bytes: &[u8]) {
        if let Err(error) = files::write(&self.dir.join(hash), bytes, 0o644) {
            tracing::warn!(%error, "a target could not be cached");
            return;
        }
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return;
        };
        let mut files: Vec<_> = entries
            .flatten()
            .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())))
            .collect();
        files.sort();
        let surplus = files.len().saturating_sub(KEPT_TARGETS);
        for (_, path) in files.into_iter().take(surplus) {
            if path.file_name().is_some_and(|name| name != hash) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// The targets of at most `max` bytes that were read lately and are kept in the state directory of a
/// [`Client`](crate::Client), oldest first. They were verified when they came; nothing is verified now, so
/// they tell what was offered once, and nothing else.
pub fn cached_targets(state_dir: &Path, max: u64) -> impl Iterator<Item = Vec<u8>> {
    let entries = fs::read_dir(TargetCache::new(state_dir).dir);
    let mut paths: Vec<_> = (entries.into_iter().flatten().flatten())
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    paths.sort();
    let read = move |(_, path): (_, PathBuf)| files::read(&path, max).ok().flatten();
    paths.into_iter().filter_map(read)
}
