//! What fetches have moved within a day, and when there is none left for today.

use crate::time::Instant;
use std::time::Duration;

/// The length of a day: it begins with the first byte.
pub const DAY: Duration = Duration::from_secs(86_400);

/// Bytes of caches within a day, of all fetches. A restart of the agent forgets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    since: Option<Instant>,
    bytes: u64,
    wasted: u64,
    /// Of [`Self::bytes`], those before somebody who knows the robot said go.
    excused: u64,
}

impl Traffic {
    /// Bytes were moved, and some of all were thrown away.
    pub fn moved(&mut self, now: Instant, bytes: u64, wasted: u64) {
        *self = self.at(now);
        self.since = self.since.or(Some(now));
        self.bytes = self.bytes.saturating_add(bytes);
        self.wasted = self.wasted.saturating_add(wasted);
    }

    /// The day begins anew, as far as a limit is concerned.
    pub fn excuse(&mut self) {
        self.excused = self.bytes;
    }

    /// The same at another time: nothing, once the day is over.
    #[must_use]
    pub fn at(self, now: Instant) -> Self {
        if self.ends().is_some_and(|end| end <= now) {
            Self::default()
        } else {
            self
        }
    }

    /// Until when nothing more may come, under a limit of so many bytes a day (0: none); `None` if
    /// more may come now.
    #[must_use]
    pub fn used_up(self, now: Instant, limit: u64) -> Option<Instant> {
        let today = self.at(now);
        let counted = today.bytes - today.excused;
        today.ends().filter(|_| limit > 0 && counted >= limit)
    }

    /// Bytes that were moved.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.bytes
    }

    /// Bytes that were moved, now or earlier, and thrown away within the day.
    #[must_use]
    pub const fn wasted(self) -> u64 {
        self.wasted
    }

    /// When the day ends; `None` if nothing was moved.
    #[must_use]
    pub fn ends(self) -> Option<Instant> {
        self.since.map(|since| since + DAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_a_limit() {
        let at = |hours: u64| Instant(hours * 3_600_000);
        let mut traffic = Traffic::default();
        assert_eq!(traffic.used_up(at(5), 100), None);
        traffic.moved(at(5), 99, 7);
        assert_eq!(traffic.used_up(at(6), 100), None);
        traffic.moved(at(6), 1, 0);
        assert_eq!(traffic.used_up(at(6), 100), Some(at(29)));
        assert_eq!(traffic.used_up(at(6), 0), None, "no limit");
        assert_eq!(traffic.used_up(at(29), 100), None, "the next day");
        assert_eq!((traffic.bytes(), traffic.wasted()), (100, 7));
        traffic.excuse();
        assert_eq!(traffic.used_up(at(6), 100), None);
        traffic.moved(at(7), 100, 0);
        assert_eq!(traffic.used_up(at(7), 100), Some(at(29)));
        traffic.moved(at(30), 1, 1);
        assert_eq!((traffic.bytes(), traffic.wasted()), (1, 1));
        traffic.moved(at(30), u64::MAX, u64::MAX);
        assert_eq!(traffic.bytes(), u64::MAX);
    }
}
