//! How far the start of a robot is: until it is over nobody knows what runs there.

use std::time::Duration;

/// A start that has taken so long is taken for one that never ends.
pub const ENDLESS: Duration = Duration::from_secs(600);

/// After this time a robot whose start is over counts as started, however long its soak is.
pub const STARTED: Duration = Duration::from_secs(900);

/// Nothing is waited for any longer than this: a start that is not over by then never ends.
pub const STARTED_AT_LAST: Duration = Duration::from_secs(1800);

/// Whether a robot has only just started, so that nobody knows yet what runs on it: `up` is how long it has
/// been up, `soak` how long something must run to be expected to run on.
#[must_use]
pub fn has_just_started(up: Duration, start: Start, soak: Duration) -> bool {
    match start {
        Start::Reached(ago) => up < STARTED_AT_LAST && ago < soak.min(STARTED),
        Start::Waits => up < STARTED_AT_LAST,
    }
}

/// How far the start of a robot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// All that was to be started is, since this time.
    Reached(Duration),
    /// It waits for something.
    Waits,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_on_a_robot_is_known_once_it_has_run_for_a_soak_or_its_start_never_ends() {
        let s = Duration::from_secs;
        let reached = |ago| Start::Reached(s(ago));
        for (up, start, soak, just) in [
            (20, Start::Waits, 60, true),
            (60, reached(59), 60, true),
            (60, reached(60), 60, false),
            (1000, reached(0), 60, true),
            (1000, reached(60), 60, false),
            // It may still end, and what waits for it has not run yet.
            (1799, Start::Waits, 60, true),
            (1800, Start::Waits, 60, false),
            (900, reached(10), 36_000, true),
            (910, reached(900), 36_000, false),
            (1800, reached(10), 36_000, false),
        ] {
            let found = has_just_started(s(up), start, s(soak));
            assert_eq!(found, just, "{up} {start:?} {soak}");
        }
    }
}
