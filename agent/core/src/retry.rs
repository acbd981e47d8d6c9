//! Every delay of the agent comes from here.

use crate::time::Instant;
use std::time::Duration;

/// The longest pause that a server can ask for: nobody who serves files needs more, and a robot must
/// not be silenced for ever.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(86_400);

/// A network that has just changed is left alone for anything between these: it has to settle, and
/// not all robots of a hall come back at once.
const SETTLING: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// A network that changes again and again makes the robot ask this often at most.
const EARLY_MAX: Duration = Duration::from_secs(300);

/// How a server that failed is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Patience {
    /// Failures in a row.
    failures: u32,
    /// How often the network has cut a delay short since the last success.
    early: u32,
    /// No change of the network makes it earlier than this.
    not_before: Instant,
}

impl Patience {
    /// It failed, and asks for a pause, if it does. When to try again: as [`backoff`] says, but not
    /// within the pause, which is spread by a quarter of its length.
    pub fn failed(
        &mut self,
        now: Instant,
        (base, max): (Duration, Duration),
        pause: Option<Duration>,
        random: u64,
    ) -> Instant {
        self.failures = self.failures.saturating_add(1);
        let pause = pause.unwrap_or_default().min(LONGEST_PAUSE);
        let asked = now + pause.mul_f64(1.0 + unit(random) / 4.0);
        let early = self.early.saturating_add(1);
        self.not_before = asked.max(now + backoff(early, base, max.min(EARLY_MAX), random));
        asked.max(now + backoff(self.failures, base, max, random))
    }

    /// It served what was asked for.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// The network has changed. When to try again what was due at `next`: soon, if failures have
    /// put it off.
    pub fn network_changed(&mut self, now: Instant, next: Instant, random: u64) -> Instant {
        let [least, most] = SETTLING;
        let settled = now + least + (most - least).mul_f64(unit(random));
        let soon = settled.max(self.not_before);
        if self.failures == 0 || soon >= next {
            return next;
        }
        self.early = self.early.saturating_add(1);
        soon
    }
}

/// When to look again after a success: the interval, spread by `jitter` (a fraction, 0 to 1) to
/// both sides, so that a fleet that was switched on together does not stay together.
///
/// `random` is uniform over all `u64`.
#[must_use]
pub fn interval(interval: Duration, jitter: f64, random: u64) -> Duration {
    let spread = (unit(random) * 2.0 - 1.0) * jitter.clamp(0.0, 1.0);
    interval.mul_f64((1.0 + spread).max(0.0))
}

/// When to try again after `failures` failures in a row (1 or more): `base` doubled each time, at
/// most `max`, then anything between half of it and all of it.
#[must_use]
pub fn backoff(failures: u32, base: Duration, max: Duration, random: u64) -> Duration {
    let doubled = base.saturating_mul(1_u32 << failures.saturating_sub(1).min(20));
    doubled.min(max).mul_f64(0.5 + unit(random) / 2.0)
}

/// A number in `0.0..1.0` from all bits that an `f64` can hold.
#[allow(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
fn unit(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn delays_keep_their_bounds(
            base in 0_u64..100_000, max in 0_u64..10_000_000, failures: u32, jitter: f64, random: u64
        ) {
            let (base, max) = (Duration::from_millis(base), Duration::from_millis(max));
            prop_assert!(backoff(failures, base, max, random) <= max);
            prop_assert!(interval(base, jitter, random) <= base * 2);
        }
    }

    const BOUNDS: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(3600));

    #[test]
    fn a_network_that_comes_back_ends_the_wait() {
        let mut patience = Patience::default();
        let mut now = Instant::default();
        // All night without a network.
        for _ in 0..20 {
            now = patience.failed(now, BOUNDS, None, u64::MAX);
        }
        let next = patience.failed(now, BOUNDS, None, u64::MAX);
        assert!(next.since(now) >= Duration::from_secs(3599));
        let morning = now + Duration::from_secs(600);
        let [soonest, latest] = [0, u64::MAX].map(|random| {
            let mut patience = patience;
            let at = patience.network_changed(morning, next, random);
            at.since(morning).as_secs_f64().round() as u64
        });
        assert_eq!((soonest, latest), (1, 10));

        patience.succeeded();
        assert_eq!(
            patience.network_changed(morning, next, 0),
            next,
            "nothing failed"
        );
    }

    #[test]
    fn a_network_that_comes_and_goes_is_not_asked_over_for_ever() {
        let mut patience = Patience::default();
        let (mut now, mut polls) = (Instant::default(), 0);
        let day = Instant::default() + Duration::from_secs(86_400);
        let mut next = patience.failed(now, BOUNDS, None, u64::MAX);
        while now < day {
            now = now + Duration::from_secs(2);
            next = patience.network_changed(now, next, 0);
            if now >= next {
                polls += 1;
                next = patience.failed(now, BOUNDS, None, u64::MAX);
            }
        }
        assert!(polls <= 300, "{polls}");
    }

    #[test]
    fn a_pause_that_is_asked_for_is_kept() {
        let ask = |pause, random| {
            let mut patience = Patience::default();
            let start = Instant::default();
            let next = patience.failed(start, BOUNDS, Some(pause), random);
            let sooner = patience.network_changed(start, next, random);
            assert!(sooner.since(start) >= pause.min(LONGEST_PAUSE));
            next.since(start).as_secs_f64().round() as u64
        };
        assert_eq!(ask(Duration::from_secs(1000), 0), 1000);
        assert_eq!(ask(Duration::from_secs(1000), u64::MAX), 1250);
        assert_eq!(
            ask(Duration::from_secs(1), 0),
            15,
            "its own delay is longer"
        );
        assert_eq!(ask(Duration::MAX, 0), 86_400);
    }

    #[test]
    fn failures_double_the_delay() {
        let (base, max) = (Duration::from_secs(30), Duration::from_secs(3600));
        let delays: Vec<_> = [1, 2, 3, 8, 9]
            .map(|n| backoff(n, base, max, u64::MAX).as_secs_f64().round() as u64)
            .into();
        assert_eq!(delays, [30, 60, 120, 3600, 3600]);
        assert_eq!(backoff(1, base, max, 0), Duration::from_secs(15));
    }
}
