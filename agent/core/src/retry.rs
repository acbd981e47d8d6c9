//! Every delay of the agent comes from here.

use std::time::Duration;

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
