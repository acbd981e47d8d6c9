//! Files in staging that were imported, and so are not needed any more.

use crate::{
    blocking::blocking,
    error::Result,
    staging::{SMALL, Staging, StagingKey},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Removes large files at once, and small ones many at a time and late: ext4 looks for a new file's
/// inode beyond all those that were freed in the last seconds, which would make each file slower to
/// create than the one before, in the store too.
#[derive(Debug)]
pub(crate) struct Cleanup {
    staging: Arc<Staging>,
    /// Small files that are still to be removed, and their bytes.
    litter: Mutex<(Vec<StagingKey>, u64)>,
    /// Bytes of small files that may lie around.
    limit: u64,
}

impl Cleanup {
    pub(crate) fn new(staging: Arc<Staging>, limit: u64) -> Self {
        Self {
            staging,
            litter: Mutex::default(),
            limit,
        }
    }

    /// A file of so many bytes was imported.
    pub(crate) async fn imported(&self, key: StagingKey, size: u64) -> Result<()> {
        let keys = if size > SMALL {
            vec![key]
        } else {
            let mut litter = self.litter();
            litter.0.push(key);
            litter.1 += size;
            if litter.1 > self.limit {
                std::mem::take(&mut *litter).0
            } else {
                return Ok(());
            }
        };
        self.remove(keys).await
    }

    /// Everything was imported.
    pub(crate) async fn end(&self) -> Result<()> {
        let (keys, _) = std::mem::take(&mut *self.litter());
        self.remove(keys).await
    }

    fn litter(&self) -> MutexGuard<'_, (Vec<StagingKey>, u64)> {
        self.litter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn remove(&self, keys: Vec<StagingKey>) -> Result<()> {
        let staging = Arc::clone(&self.staging);
        blocking(move || keys.iter().try_for_each(|key| staging.forget_whole(key))).await
    }
}
