//! The bound on what may lie in staging at a time.

use surefoot_core::closure::PathInfo;
use tokio::sync::Semaphore;

/// Room in staging, in KiB.
///
/// It is given in the order of the index, references before referrers: so what holds it can always
/// be imported, and gives it back.
#[derive(Debug)]
pub(crate) struct Room {
    free: Semaphore,
    limit: u32,
}

impl Room {
    /// Room for so many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let limit = kib(bytes);
        Self {
            free: Semaphore::new(limit as usize),
            limit,
        }
    }

    /// Waits for room for a path's file.
    pub(crate) async fn take(&self, info: &PathInfo) {
        // It is never closed, so there is no error.
        if let Ok(permit) = self.free.acquire_many(self.share(info)).await {
            permit.forget();
        }
    }

    /// The file is gone from staging.
    pub(crate) fn give(&self, info: &PathInfo) {
        self.free.add_permits(self.share(info) as usize);
    }

    /// A file that is larger than all of the room gets all of it.
    fn share(&self, info: &PathInfo) -> u32 {
        kib(info.download.size(info.nar_size)).min(self.limit)
    }
}

fn kib(bytes: u64) -> u32 {
    // 256 GiB of staging are enough; a semaphore has no more permits on a 32-bit machine.
    u32::try_from(bytes.div_ceil(1024))
        .unwrap_or(u32::MAX)
        .clamp(1, u32::MAX >> 4)
}
