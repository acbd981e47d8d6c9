//! What callers make the agent say in its log: a few times in full, the rest counted. journald drops a
//! service's lines when there are too many, and then the agent's own would be missing as well.

use super::{limits::SUMMARY, users::User};
use std::{collections::BTreeMap, fmt};
use tokio::time::Instant;

/// Lines of one kind about one user that are written in full, until the next summary.
const IN_FULL: u64 = 3;

/// Kinds and users that are told apart, until the next summary.
const MAX_KINDS: usize = 64;

/// What was not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turned {
    /// A connection, for want of a place or of credentials.
    Away,
    /// A connection that was there, for somebody else.
    Out,
    /// A call that the caller may not make.
    Down,
    /// A request, since there were too many.
    Off,
}

impl fmt::Display for Turned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Away => "connections were turned away",
            Self::Out => "idle connections were closed to make room for others",
            Self::Down => "calls were refused: the caller may not make them",
            Self::Off => "requests were refused: there were too many",
        })
    }
}

/// What was counted since the last summary.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: BTreeMap<(Turned, Option<User>), u64>,
    next: Option<Instant>,
}

impl Tally {
    /// Counts. Whether it is to be written in full now. `user`: `None` if nobody knows whose it was.
    pub(super) fn count(&mut self, turned: Turned, user: Option<&User>, now: Instant) -> bool {
        self.next.get_or_insert(now + SUMMARY);
        let mut key = (turned, user.cloned());
        if self.counts.len() >= MAX_KINDS && !self.counts.contains_key(&key) {
            key.1 = None;
        }
        let count = self.counts.entry(key).or_default();
        *count += 1;
        *count <= IN_FULL
    }

    /// When there is something to sum up.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.next
    }

    /// What was counted and not written in full, in words; a new count begins.
    pub(super) fn sum_up(&mut self) -> Vec<String> {
        self.next = None;
        std::mem::take(&mut self.counts)
            .into_iter()
            .filter(|(_, count)| *count > IN_FULL)
            .map(|((turned, user), count)| {
                let of = user.map_or_else(|| "others".to_owned(), |user| user.to_string());
                format!("{count} {turned} (of {of}, within {} s)", SUMMARY.as_secs())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_few_lines_and_a_number() {
        let now = Instant::now();
        let mut tally = Tally::default();
        assert_eq!(tally.due(), None);
        let mut lines = 0;
        for _ in 0..33_000 {
            lines += u64::from(tally.count(Turned::Down, Some(&User::Uid(1000)), now));
        }
        assert_eq!(lines, IN_FULL);
        // What another does is seen all the same.
        assert!(tally.count(Turned::Down, Some(&User::Uid(1001)), now));
        assert!(tally.count(Turned::Away, None, now));
        assert_eq!(tally.due(), Some(now + SUMMARY));
        assert_eq!(
            tally.sum_up(),
            ["33000 calls were refused: the caller may not make them (of uid 1000, within 60 s)"]
        );
        assert_eq!(tally.due(), None);
        assert!(tally.sum_up().is_empty());
    }

    #[test]
    fn many_users_are_a_few_lines_too() {
        let now = Instant::now();
        let mut tally = Tally::default();
        let lines = (0..100_000)
            .filter(|uid| tally.count(Turned::Away, Some(&User::Uid(*uid)), now))
            .count();
        assert!(lines <= MAX_KINDS * 3 + 9, "{lines}");
        assert!(tally.sum_up().len() <= MAX_KINDS);
    }
}
