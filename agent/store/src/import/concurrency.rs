//! How many paths are imported side by side, and who may give the Nix daemon the end of one.
//!
//! When the daemon has the end of a path it registers it, in a transaction; where two of its
//! processes do so at once, one of them sleeps for up to 100 ms (Nix `src/libstore/sqlite.cc`,
//! `handleSQLiteBusy`): so that goes one after another. But with `fsync-store-paths` it first waits for the
//! disk, several times longer than all else takes, and such waits go well side by side. It does not
//! say which it is; how long the first small paths take does.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Paths that are imported at once, over as many connections: while one registers, the others unpack.
const IMPORTERS: usize = 3;

/// Paths that are imported at once when the daemon waits for the disk.
pub(crate) const MAX_IMPORTERS: usize = 8;

/// How many small paths tell which it is, and what counts as small, bytes of NAR.
const SAMPLES: usize = 8;
const SMALL: u64 = 64 << 10;

/// A small path's end takes one or two milliseconds, with waiting for a disk ten and more.
const SLOW: Duration = Duration::from_millis(8);

/// Leave to go on. The semaphores are never closed, so there always is one.
pub(crate) type Permit<'a> = Option<SemaphorePermit<'a>>;

/// Says how many may import, and how many may give an end, at a time.
#[derive(Debug)]
pub(crate) struct Concurrency {
    importers: Semaphore,
    registrations: Semaphore,
    samples: Mutex<Vec<Duration>>,
}

impl Concurrency {
    pub(crate) fn new() -> Self {
        Self {
            importers: Semaphore::new(IMPORTERS),
            registrations: Semaphore::new(1),
            samples: Mutex::default(),
        }
    }

    /// Waits until another path may be imported; held until it is, or until there is none.
    pub(crate) async fn importer(&self) -> Permit<'_> {
        self.importers.acquire().await.ok()
    }

    /// Waits until the end of a path may be given; held until the daemon has answered.
    pub(crate) async fn registration(&self) -> Permit<'_> {
        self.registrations.acquire().await.ok()
    }

    /// The daemon took this long to answer to the end of a path of this size.
    pub(crate) fn registered(&self, nar_size: u64, time: Duration) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if nar_size > SMALL || samples.len() == SAMPLES {
            return;
        }
        samples.push(time);
        if samples.len() == SAMPLES && waits_for_the_disk(&mut samples) {
            self.importers.add_permits(MAX_IMPORTERS - IMPORTERS);
            self.registrations.add_permits(MAX_IMPORTERS - 1);
        }
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

    fn free(concurrency: &Concurrency) -> (usize, usize) {
        (
            concurrency.importers.available_permits(),
            concurrency.registrations.available_permits(),
        )
    }

    #[test]
    fn only_a_daemon_that_waits_for_the_disk_gets_many_at_once() {
        let fast = Duration::from_millis(2);
        for (time, expected) in [
            (fast, (IMPORTERS, 1)),
            (SLOW, (MAX_IMPORTERS, MAX_IMPORTERS)),
        ] {
            let concurrency = Concurrency::new();
            // Big paths take their time anyway, and a few small ones say nothing.
            for _ in 0..SAMPLES {
                concurrency.registered(SMALL + 1, SLOW);
            }
            concurrency.registered(SMALL, SLOW);
            concurrency.registered(0, fast);
            assert_eq!(free(&concurrency), (IMPORTERS, 1));
            for _ in 0..2 * SAMPLES {
                concurrency.registered(100, time);
            }
            assert_eq!(free(&concurrency), expected);
        }
    }
}
