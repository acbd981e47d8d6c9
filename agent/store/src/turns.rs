//! How many paths are imported side by side, and who may give the Nix daemon the end of one.
//!
//! When the daemon has the end of a path it registers it, in a transaction; where two of its
//! processes do so at once, one of them sleeps for up to 100 ms (Nix `src/libstore/sqlite.cc`,
//! `handleSQLiteBusy`): so that goes by turns. But with `fsync-store-paths` it first waits for the
//! disk, several times longer than all else takes, and such waits go well side by side. It does not
//! say which it is; how long the first small paths take does.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Importers that work at once, with as many connections: while one registers, the others unpack.
const FEW: usize = 3;

/// Importers that work at once when the daemon waits for the disk.
pub(crate) const MANY: usize = 8;

/// How many small paths tell which it is, and what counts as small, bytes of NAR.
const SAMPLES: usize = 8;
const SMALL: u64 = 64 << 10;

/// A small path's end takes one or two milliseconds, with waiting for a disk ten and more.
const SLOW: Duration = Duration::from_millis(8);

/// Hands out turns.
#[derive(Debug)]
pub(crate) struct Turns {
    importers: Semaphore,
    ends: Semaphore,
    samples: Mutex<Vec<Duration>>,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self {
            importers: Semaphore::new(FEW),
            ends: Semaphore::new(1),
            samples: Mutex::default(),
        }
    }

    /// A turn to import a path.
    pub(crate) async fn import(&self) -> SemaphorePermit<'_> {
        acquire(&self.importers).await
    }

    /// A turn to give the end of a path, held until the daemon has answered.
    pub(crate) async fn end(&self) -> SemaphorePermit<'_> {
        acquire(&self.ends).await
    }

    /// The daemon took this long to answer to the end of a path of this size.
    pub(crate) fn took(&self, nar_size: u64, time: Duration) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if nar_size > SMALL || samples.len() == SAMPLES {
            return;
        }
        samples.push(time);
        if samples.len() == SAMPLES && waits_for_the_disk(&mut samples) {
            self.importers.add_permits(MANY - FEW);
            self.ends.add_permits(MANY - 1);
        }
    }
}

async fn acquire(semaphore: &Semaphore) -> SemaphorePermit<'_> {
    match semaphore.acquire().await {
        Ok(permit) => permit,
        Err(_) => unreachable!("it is never closed"),
    }
}

/// By the median: one that was slow for another reason says nothing.
fn waits_for_the_disk(times: &mut [Duration]) -> bool {
    times.sort_unstable();
    times[times.len() / 2] >= SLOW
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(turns: &Turns) -> (usize, usize) {
        (
            turns.importers.available_permits(),
            turns.ends.available_permits(),
        )
    }

    #[test]
    fn only_a_daemon_that_waits_for_the_disk_gets_many_at_once() {
        let fast = Duration::from_millis(2);
        for (time, expected) in [(fast, (FEW, 1)), (SLOW, (MANY, MANY))] {
            let turns = Turns::new();
            // Big paths take their time anyway, and a few small ones say nothing.
            for _ in 0..SAMPLES {
                turns.took(SMALL + 1, SLOW);
            }
            turns.took(SMALL, SLOW);
            turns.took(0, fast);
            assert_eq!(free(&turns), (FEW, 1));
            for _ in 0..2 * SAMPLES {
                turns.took(100, time);
            }
            assert_eq!(free(&turns), expected);
        }
    }
}
