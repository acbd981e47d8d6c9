//! What a fetch may take: bytes of staging, and bytes of memory for decompressors, all of it together.

use crate::nar;
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use surefoot_core::closure::PathInfo;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// StagingBudget in staging, in KiB.
///
/// Half of it is given in the order of the index, references before referrers: so what holds it can
/// always be imported, and gives it back. The other half is for files that are fetched ahead of
/// their turn.
#[derive(Debug)]
pub(crate) struct StagingBudget {
    in_order: Semaphore,
    ahead: Semaphore,
    /// Paths, by their place in the index, that were fetched ahead.
    early: Mutex<HashSet<usize>>,
    /// Of each half.
    pub(super) limit: u32,
}

impl StagingBudget {
    /// StagingBudget for so many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let limit = kib(bytes / 2);
        Self {
            in_order: Semaphore::new(limit as usize),
            ahead: Semaphore::new(limit as usize),
            early: Mutex::default(),
            limit,
        }
    }

    /// Waits for room for a path's file, whose turn it is.
    pub(crate) async fn take(&self, info: &PathInfo) {
        // It is never closed, so there is no error.
        if let Ok(permit) = self.in_order.acquire_many(self.share(info)).await {
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
            &self.in_order
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

/// Memory for decompressors, in KiB. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct MemoryBudget {
    free: Arc<Semaphore>,
    limit: u32,
}

impl MemoryBudget {
    /// So many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let limit = kib(bytes);
        Self {
            free: Arc::new(Semaphore::new(limit as usize)),
            limit,
        }
    }

    /// Waits until a file, by its beginning, can be unpacked: who came first goes first. One that
    /// needs more than there is gets all of it, and is unpacked while no other is. Blocks.
    pub(crate) fn take(&self, info: &PathInfo, beginning: &[u8]) -> Option<OwnedSemaphorePermit> {
        self.take_bytes(info, nar::memory(info, beginning))
    }

    /// The same for a path of which it is known how much it needs, bytes.
    pub(crate) fn take_bytes(&self, info: &PathInfo, needed: u64) -> Option<OwnedSemaphorePermit> {
        let needed = kib(needed);
        if needed > self.limit {
            tracing::info!(
                path = %info.path, needed_kib = needed, limit_kib = self.limit,
                "unpacking needs more memory than fetch.memory: one at a time; compress it with a smaller window"
            );
        }
        let free = Arc::clone(&self.free);
        // It is never closed, so there is no error.
        Handle::current()
            .block_on(free.acquire_many_owned(needed.min(self.limit)))
            .ok()
    }
}

/// At least one, and no more than a semaphore has on a 32-bit machine: 256 GiB.
fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024))
        .unwrap_or(u32::MAX)
        .clamp(1, u32::MAX >> 4)
}
