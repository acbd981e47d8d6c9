//! Whose turn it is in the loop. What clients ask may be ready always, and what is due by time has a turn
//! of its own among that.

use std::time::Duration;
use surefoot_core::time::Instant;

/// The turns of the loop.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Time has a turn at least this often.
    pulse: Duration,
    /// When time had its last turn.
    last: Instant,
    /// Whether the others have had one since.
    others: bool,
}

/// What is done next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// What is due by time.
    Time,
    /// Whatever else is ready, or comes within this time.
    Others(Duration),
}

impl Turns {
    pub(crate) const fn new(pulse: Duration, now: Instant) -> Self {
        Self {
            pulse,
            last: now,
            others: false,
        }
    }

    /// What comes next, if the agent has something to do at the time `wake`.
    pub(crate) fn next(&mut self, wake: Option<Instant>, now: Instant) -> Turn {
        let regular = self.last + self.pulse;
        let due = wake.map_or(regular, |wake| wake.min(regular));
        if due <= now && self.others {
            self.last = now;
            self.others = false;
            return Turn::Time;
        }
        self.others = true;
        Turn::Others(due.since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PULSE: Duration = Duration::from_secs(10);

    #[test]
    fn time_has_every_second_turn_while_it_is_due_and_none_before() {
        let mut turns = Turns::new(PULSE, Instant(0));
        let second = Duration::from_secs(1);
        // Others are always ready, and each takes no time.
        for _ in 0..100 {
            assert_eq!(
                turns.next(Some(Instant(1000)), Instant(0)),
                Turn::Others(second)
            );
        }
        assert_eq!(turns.next(Some(Instant(1000)), Instant(1000)), Turn::Time);
        // What is due stays so: the others have their turn all the same.
        let late = Turn::Others(Duration::ZERO);
        assert_eq!(turns.next(Some(Instant(1000)), Instant(1001)), late);
        assert_eq!(turns.next(Some(Instant(1000)), Instant(1001)), Turn::Time);
    }

    #[test]
    fn time_has_a_turn_with_each_pulse_where_nothing_is_due() {
        let mut turns = Turns::new(PULSE, Instant(500));
        assert_eq!(turns.next(None, Instant(500)), Turn::Others(PULSE));
        let rest = Turn::Others(Duration::from_millis(1));
        assert_eq!(turns.next(Some(Instant(90_000)), Instant(10_499)), rest);
        assert_eq!(turns.next(None, Instant(10_500)), Turn::Time);
        assert_eq!(turns.next(None, Instant(10_500)), Turn::Others(PULSE));
    }
}
