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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{
        Queue,
        Turn::{Ahead, Now},
        tests::index,
    };
    use futures_util::FutureExt;
    use proptest::prelude::*;

    proptest! {
        /// Downloads and imports in any order: what lies in staging keeps to the limit, but for files
        /// that are larger than a half of it, and all files get their turn.
        #[test]
        fn no_more_lies_in_staging_than_may(
            sizes in proptest::collection::vec(1u64..4 << 20, 1..30),
            limit in 2u64..8 << 20,
            choices in proptest::collection::vec(1..5, 1..50),
        ) {
            let index = index(&sizes);
            let every: Vec<usize> = (0..sizes.len()).collect();
            let (room, mut queue) = (Room::new(limit), Queue::new(&index, &every, 8));
            let (mut staged, mut imported) = (Vec::new(), 0);
            let mut waiting = None;
            let mut choices = choices.into_iter().cycle();
            while imported < sizes.len() {
                for _ in 0..choices.next().unwrap() {
                    match waiting.take().or_else(|| queue.next(&index, &room)) {
                        Some(Ahead(at)) => staged.push(at),
                        Some(Now(at)) if room.take(&index.paths[at]).now_or_never().is_some() => {
                            staged.push(at);
                        }
                        other => waiting = other,
                    }
                }
                let half = u64::from(room.limit) * 1024;
                let mut all: Vec<u64> = staged.iter().map(|&at| sizes[at]).collect();
                // One in its turn and one ahead of it may each be larger than its half.
                all.sort_unstable();
                let over = all.iter().rev().take(2).filter(|&&size| size > half).count();
                all.truncate(all.len() - over);
                let fit: u64 = all.iter().sum();
                prop_assert!(fit <= half * (2 - over as u64), "{all:?} in {limit}");
                // Nothing that came can wait for what did not: references come first.
                if let Some(first) = (0..staged.len()).min_by_key(|&place| staged[place]) {
                    let at = staged.swap_remove(first);
                    queue.done(at);
                    room.give(at, &index.paths[at]);
                    imported += 1;
                }
            }
        }
    }
}
