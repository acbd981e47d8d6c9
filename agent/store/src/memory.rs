//! The bound on the memory of decompressors, all of a fetch together.

use crate::{nar, room::kib};
use std::sync::Arc;
use surefoot_core::closure::PathInfo;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// Memory for decompressors, in KiB. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    free: Arc<Semaphore>,
    limit: u32,
}

impl Memory {
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
        let needed = kib(nar::memory(info, beginning));
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
