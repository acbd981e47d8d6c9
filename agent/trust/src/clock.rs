//! What time it may be.
//!
//! Robots have no clock battery. A clock that nobody set may read 1970 or 2038, and one that was
//! set may be set wrong. Expiry is judged by the time that can be known: never earlier than what
//! trusted metadata says about when it was signed, and never by an unsynced clock alone.

use jiff::Timestamp as Time;
use std::time::Duration;

/// How much a synced clock may be behind the signer's before it counts as [`Clock::Stepped`].
const TOLERANCE: Duration = Duration::from_secs(86_400);

/// What this machine's clock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Its reading.
    pub reading: Time,
    /// Whether something set it that can be trusted, such as NTP since the last boot.
    pub synced: bool,
}

impl From<Time> for Now {
    /// A clock that can be trusted.
    fn from(reading: Time) -> Self {
        Self {
            reading,
            synced: true,
        }
    }
}

/// What to think of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Clock {
    /// Synced, and not contradicted by what was signed.
    Trusted,
    /// Not synced: "now" is the latest time that is known to have passed. Expired metadata may go
    /// unnoticed; older metadata is still refused.
    Unsynced,
    /// Synced, but it reads more than a day before a time at which trusted metadata was signed.
    /// Treated as unsynced.
    Stepped,
}

/// The time to judge expiry by.
///
/// `seen` is the last reading of a trusted clock; `issued` the latest time at which something in
/// the trusted set was signed. A trusted clock overrules `seen`, so a wrong but trusted clock does
/// no lasting harm; `issued` falls when the keys that signed it are replaced, so a stolen key
/// neither.
#[must_use]
pub fn judge(now: Now, seen: Option<Time>, issued: Option<Time>) -> (Time, Clock) {
    let known = seen.max(issued);
    if !now.synced {
        return (known.unwrap_or(now.reading), Clock::Unsynced);
    }
    match issued {
        Some(issued)
            if now
                .reading
                .checked_add(TOLERANCE)
                .is_ok_and(|latest| latest < issued) =>
        {
            (issued, Clock::Stepped)
        }
        _ => (
            issued.map_or(now.reading, |i| i.max(now.reading)),
            Clock::Trusted,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Option<Time> {
        Some(format!("{text}-01-01T00:00:00Z").parse().unwrap())
    }

    fn judged(
        reading: &str,
        synced: bool,
        seen: Option<Time>,
        issued: Option<Time>,
    ) -> (i16, Clock) {
        let now = Now {
            reading: time(reading).unwrap(),
            synced,
        };
        let (time, clock) = judge(now, seen, issued);
        let zoned = time.to_zoned(jiff::tz::TimeZone::UTC);
        (zoned.year(), clock)
    }

    #[test]
    fn an_unsynced_clock_says_nothing() {
        for reading in ["1970", "2026", "2038"] {
            assert_eq!(
                judged(reading, false, time("2026"), time("2025")),
                (2026, Clock::Unsynced)
            );
            assert_eq!(
                judged(reading, false, None, time("2027")),
                (2027, Clock::Unsynced)
            );
        }
        assert_eq!(judged("1970", false, None, None), (1970, Clock::Unsynced));
    }

    #[test]
    fn a_trusted_clock_counts_unless_signed_time_contradicts() {
        assert_eq!(
            judged("2027", true, time("2026"), time("2026")),
            (2027, Clock::Trusted)
        );
        // It was wrong once, and is right now.
        assert_eq!(
            judged("2027", true, time("2038"), time("2026")),
            (2027, Clock::Trusted)
        );
        assert_eq!(
            judged("2025", true, time("2026"), time("2026")),
            (2026, Clock::Stepped)
        );
        // The signer's clock is a little ahead.
        let signed: Time = "2026-01-01T10:00:00Z".parse().unwrap();
        assert_eq!(
            judged("2026", true, None, Some(signed)),
            (2026, Clock::Trusted)
        );
    }
}
