//! How long a cache that failed is left alone.

use crate::error::Error;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use surefoot_core::retry::backoff;
use tokio::time::Instant;

/// Whether one cache is being left alone, by all downloads of a fetch.
#[derive(Debug, Default)]
pub(crate) struct Backoff(Mutex<Failures>);

#[derive(Debug, Clone, Copy, Default)]
struct Failures {
    /// How many there were in a row.
    count: u32,
    /// Until when the cache is left alone.
    resting: Option<Instant>,
}

/// How failing caches are left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Tries of one download in a row, over all caches, without a single byte gained, before it
    /// fails.
    pub tries: u32,
    /// How long a cache is left alone after its first failure; doubled after each, and spread.
    pub base: Duration,
    /// The longest time that a cache is left alone on this side's own account.
    pub max: Duration,
    /// A cache that asks for a longer pause (`Retry-After`) counts as failed for good.
    pub patience: Duration,
}

impl Default for Retry {
    /// Eight tries, 250 ms at first, 30 s at most, patience for two minutes.
    fn default() -> Self {
        Self {
            tries: 8,
            base: Duration::from_millis(250),
            max: Duration::from_secs(30),
            patience: Duration::from_secs(120),
        }
    }
}

impl Backoff {
    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When it may be asked again.
    pub(crate) fn rests_until(&self) -> Option<Instant> {
        self.failures()
            .resting
            .filter(|until| *until > Instant::now())
    }

    /// It served something.
    pub(crate) fn succeeded(&self) {
        *self.failures() = Failures::default();
    }

    /// It failed: all downloads leave it alone for a while. Those that fail while it rests had
    /// begun before, and do not prolong it.
    pub(crate) fn failed(&self, error: &Error, retry: &Retry) {
        let asked = match error {
            Error::Status { retry_after, .. } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let now = Instant::now();
        let mut failures = self.failures();
        let mut until = failures.resting.unwrap_or(now);
        if until <= now {
            failures.count = failures.count.saturating_add(1);
            until = now + backoff(failures.count, retry.base, retry.max, fastrand::u64(..));
        }
        // Years would not fit into an instant on every system.
        let asked = now + asked.min(Duration::from_secs(86_400));
        failures.resting = Some(until.max(asked));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(retry_after: Option<u64>) -> Error {
        Error::Status {
            url: "http://cache".into(),
            status: 503,
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_cache_rests_longer_each_time() {
        let backoff = Backoff::default();
        let retry = Retry::default();
        let mut last = Duration::ZERO;
        for failures in 1..12 {
            assert_eq!(backoff.rests_until(), None);
            // Twelve downloads fail at once: that is one failure.
            for _ in 0..12 {
                backoff.failed(&status(None), &retry);
            }
            let rest = backoff.rests_until().unwrap() - Instant::now();
            let full = (retry.base * (1 << (failures - 1))).min(retry.max);
            assert!(rest <= full && rest >= full / 2, "{failures}: {rest:?}");
            assert!(rest >= last / 2);
            last = rest;
            tokio::time::sleep(rest).await;
        }
        backoff.succeeded();
        backoff.failed(&status(Some(7)), &retry);
        assert_eq!(
            backoff.rests_until().unwrap() - Instant::now(),
            Duration::from_secs(7)
        );
        backoff.failed(&status(Some(u64::MAX)), &retry);
        assert!(backoff.rests_until().unwrap() - Instant::now() <= Duration::from_secs(86_400));
    }
}
