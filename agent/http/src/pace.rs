//! How fast bytes may come, shared by all downloads of a fetch, and how slowly they may.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// How many bytes a second may come. Clones share the value: whoever keeps one can change it while
/// a fetch runs, when a time window begins or the link becomes a metered one.
#[derive(Debug, Clone, Default)]
pub struct Bandwidth(Arc<AtomicU64>);

impl Bandwidth {
    /// So many bytes a second; 0: as many as come.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes_per_second)))
    }

    /// Changes it, from the next bytes on; 0: as many as come.
    pub fn set(&self, bytes_per_second: u64) {
        self.0.store(bytes_per_second, Relaxed);
    }

    /// Bytes a second; 0: as many as come.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The slowest that a server may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeastPace {
    /// Each span of this length must bring [`Self::min_bytes`] or the end.
    pub window: Duration,
    /// Bytes in each window.
    pub min_bytes: u64,
}

impl Default for LeastPace {
    /// 3 000 bytes in 30 s.
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
            min_bytes: 3_000,
        }
    }
}

/// What was not used for so long is lost: a pause is not made up for by a burst.
const BURST: Duration = Duration::from_millis(200);

/// Spends the bandwidth: one for each fetch.
#[derive(Debug)]
pub struct Limiter {
    bandwidth: Bandwidth,
    /// When all bytes that came so far have been paid for.
    paid: Mutex<Option<Instant>>,
}

impl Limiter {
    /// Nothing is spent yet.
    #[must_use]
    pub fn new(bandwidth: Bandwidth) -> Self {
        Self {
            bandwidth,
            paid: Mutex::new(None),
        }
    }

    /// Waits until bytes that have just come may have come. Meanwhile nothing more is read, and TCP
    /// slows the server down.
    pub async fn spend(&self, bytes: u64) {
        let rate = self.bandwidth.get();
        if rate == 0 {
            return;
        }
        let until = {
            let now = Instant::now();
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
            let earliest = now.checked_sub(BURST).unwrap_or(now);
            let from = paid.unwrap_or(now).max(earliest);
            // Bytes at a time are few, and the rate is 1 at least.
            let until = from + Duration::from_secs_f64(bytes as f64 / rate as f64);
            *paid = Some(until);
            until
        };
        sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_come_as_fast_as_allowed() {
        let bandwidth = Bandwidth::new(1000);
        let limiter = Limiter::new(bandwidth.clone());
        let start = Instant::now();
        // Two downloads, at the same time.
        let half = || async {
            for _ in 0..50 {
                limiter.spend(100).await;
            }
        };
        tokio::join!(half(), half());
        let took = start.elapsed();
        assert!((9.7..10.1).contains(&took.as_secs_f64()), "{took:?}");

        // A pause buys no more than a short burst.
        tokio::time::sleep(Duration::from_secs(100)).await;
        let start = Instant::now();
        limiter.spend(1000).await;
        assert!(start.elapsed() > Duration::from_millis(700));

        // A window begins.
        bandwidth.set(100_000);
        let start = Instant::now();
        limiter.spend(100_000).await;
        assert!(start.elapsed() < Duration::from_millis(1100));
        bandwidth.set(0);
        let start = Instant::now();
        limiter.spend(1 << 40).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
