//! What follows where the journal cannot be written: nothing happens that is not written.
//!
//! - What somebody asked for is tried once. If it cannot be written it is answered as failed, and
//!   nothing comes of it later.
//! - What happened by itself (a switch ended, a check was good) cannot be answered. It is dropped,
//!   and once the journal can be written again the agent looks at the robot as after a restart:
//!   what was true when the disk filled up may be false by then, as that the robot is free.

use std::time::Duration;
use surefoot_core::time::Instant;

/// How long a journal that cannot be written is left alone before the next try.
const AGAIN: Duration = Duration::from_secs(1);

/// How long a look at the robot may take, or may have led to nothing, before the next one.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// That the journal cannot be written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    why: String,
    /// Whether something happened that was not written.
    missed: bool,
    next: Instant,
}

/// What could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Something that is asked or found again: a request, a time that has come.
    Nothing,
    /// Something that happened by itself.
    Event,
    /// What a look at the robot led to.
    Look,
}

impl Trouble {
    /// The trouble after another failure. Says whether people have to be told: the reason is new.
    pub(crate) fn after(
        before: Option<Self>,
        why: String,
        lost: Lost,
        now: Instant,
    ) -> (Self, bool) {
        let news = before.as_ref().is_none_or(|before| before.why != why);
        let missed = lost != Lost::Nothing || before.is_some_and(|before| before.missed);
        let wait = if lost == Lost::Look {
            LOOK_AGAIN
        } else {
            AGAIN
        };
        let next = now + wait;
        (Self { why, missed, next }, news)
    }

    /// Why the journal cannot be written.
    pub(crate) fn why(&self) -> &str {
        &self.why
    }

    /// Whether the agent has to look at the robot before it decides anything by itself again.
    pub(crate) const fn missed(&self) -> bool {
        self.missed
    }

    /// When the journal is to be written again.
    pub(crate) const fn next(&self) -> Instant {
        self.next
    }

    /// The robot is being looked at.
    pub(crate) fn looking(&mut self, now: Instant) {
        self.next = now + LOOK_AGAIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_once_and_what_was_missed_stays_missed() {
        let now = Instant(0);
        let after = |before, why: &str, lost| Trouble::after(before, why.to_owned(), lost, now);
        let (first, news) = after(None, "full", Lost::Nothing);
        assert!(news && !first.missed());
        let (second, news) = after(Some(first), "full", Lost::Event);
        assert!(!news && second.missed());
        let (third, news) = after(Some(second), "read-only", Lost::Nothing);
        assert!(news && third.missed());
        assert_eq!(third.next(), now + AGAIN);
        // A look that led to nothing is not taken each second.
        let (fourth, news) = after(Some(third), "read-only", Lost::Look);
        assert!(!news && fourth.next() == now + LOOK_AGAIN);
    }
}
