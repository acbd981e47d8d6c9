//! The bound on what may lie in staging at a time.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};
use surefoot_core::closure::PathInfo;
use tokio::sync::Semaphore;

/// Room in staging, in KiB.
///
/// Half of it is given in the order of the index, references before referrers: so what holds it can
/// always be imported, and gives it back. The other half is for files that are fetched ahead of
/// their turn.
#[derive(Debug)]
pub(crate) struct Room {
    in_turn: Semaphore,
    ahead: Semaphore,
    /// Paths, by their place in the index, that were fetched ahead.
    early: Mutex<HashSet<usize>>,
    /// Of each half.
    limit: u32,
}

impl Room {
    /// Room for so many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let limit = kib(bytes / 2);
        Self {
            in_turn: Semaphore::new(limit as usize),
            ahead: Semaphore::new(limit as usize),
            early: Mutex::default(),
            limit,
        }
    }

    /// Waits for room for a path's file, whose turn it is.
    pub(crate) async fn take(&self, info: &PathInfo) {
        // It is never closed, so there is no error.
        if let Ok(permit) = self.in_turn.acquire_many(self.share(info)).await {
            permit.forget();
        }
    }

    /// Takes room for a path's file before its turn, if there is some.
    pub(crate) fn take_ahead(&self, at: usize, info: &PathInfo) -> bool {
        let Ok(permit) = self.ahead.try_acquire_many(self.share(info)) else {
            return false;
        };
        permit.forget();
        self.early().insert(at)
    }

    /// The file is gone from staging.
    pub(crate) fn give(&self, at: usize, info: &PathInfo) {
        let from = if self.early().remove(&at) {
            &self.ahead
        } else {
            &self.in_turn
        };
        from.add_permits(self.share(info) as usize);
    }

    fn early(&self) -> MutexGuard<'_, HashSet<usize>> {
        self.early.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file that is larger than all of the room gets all of it.
    fn share(&self, info: &PathInfo) -> u32 {
        kib(info.download.size(info.nar_size)).min(self.limit)
    }
}

/// At least one, and no more than a semaphore has on a 32-bit machine: 256 GiB.
pub(crate) fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024))
        .unwrap_or(u32::MAX)
        .clamp(1, u32::MAX >> 4)
}
