//! Time as an argument.
//!
//! Deadlines inside one boot are counted on [`Instant`], which a wrong clock cannot move. Wall
//! time is only for people: it goes into histories, never into a decision about safety.

use serde::{Deserialize, Serialize};
use std::{ops::Add, time::Duration};

/// Milliseconds since this boot, suspend included (`CLOCK_BOOTTIME`, `clock_gettime(2)`).
///
/// Meaningless after a reboot: always stored beside a [`BootId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Instant(pub u64);

impl Instant {
    /// The time since an earlier instant; zero if that is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(rhs.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

/// The kernel's random name of one boot: `/proc/sys/kernel/random/boot_id` (`random(4)`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub String);

/// Durations in the journal and on the control socket: whole milliseconds.
pub mod millis {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    /// Writes milliseconds.
    ///
    /// # Errors
    /// Whatever the serializer answers.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    /// Reads milliseconds.
    ///
    /// # Errors
    /// Anything but an unsigned number.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// Boots and moments of tests.
#[cfg(test)]
pub(crate) mod testing {
    use super::{BootId, Instant};

    pub(crate) fn boot(n: u8) -> BootId {
        BootId(format!("boot-{n}"))
    }

    pub(crate) const fn at(hours: u64) -> Instant {
        Instant(hours * 3_600_000)
    }
}
