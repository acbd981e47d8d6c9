//! What others make the agent say in its log: a few times in full, the rest counted. journald drops a
//! service's lines when there are too many, and then the agent's own would be missing as well.

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    time::Duration,
};
use tokio::time::Instant;

/// Time from the first line of a flood to its summary.
const SUMMARY: Duration = Duration::from_secs(60);

/// Lines of one kind about one user that are written in full, until the next summary.
const IN_FULL: u64 = 3;

/// Kinds and users that are told apart, until the next summary.
const MAX_KINDS: usize = 64;

/// A lease that nobody stands behind any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Orphaned;

impl Display for Orphaned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("times a lease that said \"busy\" lost its holder; the robot stays busy")
    }
}

/// What was not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Turned {
    /// A connection, for want of a place or of credentials.
    Away,
    /// A connection that was there, for somebody else.
    Out,
    /// A call that the caller may not make.
    Down,
    /// A request, since there were too many.
    Off,
}

impl Display for Turned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Away => "connections were turned away",
            Self::Out => "idle connections were closed to make room for others",
            Self::Down => "calls were refused: the caller may not make them",
            Self::Off => "requests were refused: there were too many",
        })
    }
}

/// What was counted since the last summary: of which kind, and about which user.
#[derive(Debug)]
pub(crate) struct Tally<K, U> {
    counts: BTreeMap<(K, Option<U>), u64>,
    next: Option<Instant>,
}

impl<K, U> Default for Tally<K, U> {
    fn default() -> Self {
        Self {
            counts: BTreeMap::new(),
            next: None,
        }
    }
}

impl<K: Ord + Copy + Display, U: Ord + Clone + Display> Tally<K, U> {
    /// Counts. Whether it is to be written in full now. `user`: `None` if nobody knows whose it was.
    pub(crate) fn count(&mut self, kind: K, user: Option<&U>, now: Instant) -> bool {
        self.next.get_or_insert(now + SUMMARY);
        let mut key = (kind, user.cloned());
        if self.counts.len() >= MAX_KINDS && !self.counts.contains_key(&key) {
            key.1 = None;
        }
        let count = self.counts.entry(key).or_default();
        *count += 1;
        *count <= IN_FULL
    }

    /// When there is something to sum up.
    pub(crate) const fn due(&self) -> Option<Instant> {
        self.next
    }

    /// What was counted and not written in full, in words; a new count begins.
    pub(crate) fn sum_up(&mut self) -> Vec<String> {
        self.next = None;
        std::mem::take(&mut self.counts)
            .into_iter()
            .filter(|(_, count)| *count > IN_FULL)
            .map(|((kind, user), count)| {
                let of = user.map_or_else(|| "others".to_owned(), |user| user.to_string());
                format!("{count} {kind} (of {of}, within {} s)", SUMMARY.as_secs())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(id: u32) -> String {
        format!("uid {id}")
    }

    #[test]
    fn a_flood_is_a_few_lines_and_a_number() {
        let now = Instant::now();
        let mut tally = Tally::<Turned, String>::default();
        assert_eq!(tally.due(), None);
        let mut lines = 0;
        for _ in 0..33_000 {
            lines += u64::from(tally.count(Turned::Down, Some(&uid(1000)), now));
        }
        assert_eq!(lines, IN_FULL);
        // What another does is seen all the same.
        assert!(tally.count(Turned::Down, Some(&uid(1001)), now));
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
    fn a_member_of_the_app_group_floods_no_log_with_leases_that_are_lost() {
        let now = Instant::now();
        let mut tally = Tally::default();
        let mut lost = |id| tally.count(Orphaned, Some(&uid(id)), now);
        let lines = (0..8_640_000).filter(|_| lost(400)).count();
        assert_eq!(u64::try_from(lines).ok(), Some(IN_FULL));
        assert!(lost(401));
        assert_eq!(
            tally.sum_up(),
            [
                "8640000 times a lease that said \"busy\" lost its holder; the robot stays busy (of uid \
              400, within 60 s)"
            ]
        );
    }

    #[test]
    fn many_users_are_a_few_lines_too() {
        let now = Instant::now();
        let mut tally = Tally::default();
        let lines = (0..100_000)
            .filter(|id| tally.count(Turned::Away, Some(&uid(*id)), now))
            .count();
        assert!(lines <= MAX_KINDS * 3 + 9, "{lines}");
        assert!(tally.sum_up().len() <= MAX_KINDS);
    }
}
