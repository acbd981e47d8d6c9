//! How often a day the robot is disturbed by trying the same thing again.
//!
//! What keeps a release from being tried to the end may be the robot's fault: the power goes, the boot
//! loader loses what it was told, the switcher is cut off. That is held against no release, so the
//! release comes again; but each time services stop, or the robot reboots. Those times are counted, and
//! after some of them the robot stands still until the day is over, another system is to be tried, or a
//! person asks.
//!
//! A day is a day of running, counted on the monotonic clock from boot to boot: a clock that jumps must
//! not excuse anything. What of a boot nobody wrote down before it ended is not counted, so a day may
//! last longer than that, never shorter.

use crate::{
    StorePath,
    time::{BootId, Instant, millis},
    traffic::DAY,
    word::Word,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Disturbances that are remembered, newest last: as many as a configuration may allow.
pub const MAX_DISTURBANCES: usize = 20;

/// What disturbed the robot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// It was switched to again, beside the running kernel.
    Switch,
    /// It was booted again.
    Boot,
    /// It proved healthy, and was activated again to become what the robot starts with.
    Commit,
}

/// Once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Disturbance {
    /// What it was.
    pub what: Word<What>,
    /// How long before [`Disturbances::seen`].
    #[serde(with = "millis")]
    pub ago: Duration,
}

/// Those of one system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Disturbances {
    /// The system that was begun with, under whatever name.
    pub system: StorePath,
    /// The boot in which they were looked at last.
    pub boot: BootId,
    /// When that was.
    pub seen: Instant,
    /// What was begun again, oldest first, at most [`MAX_DISTURBANCES`].
    #[serde(default)]
    pub again: Vec<Disturbance>,
}

impl Disturbances {
    /// It is begun with a system, for the first time.
    #[must_use]
    pub const fn first(system: StorePath, boot: BootId, now: Instant) -> Self {
        Self {
            system,
            boot,
            seen: now,
            again: Vec::new(),
        }
    }

    /// The robot is disturbed again.
    pub fn count(&mut self, what: What, boot: &BootId, now: Instant) {
        self.look(boot, now);
        self.again.push(Disturbance {
            what: what.into(),
            ago: Duration::ZERO,
        });
        let surplus = self.again.len().saturating_sub(MAX_DISTURBANCES);
        self.again.drain(..surplus);
    }

    /// Writes down how long ago they were, and forgets those of which that is a day.
    pub fn look(&mut self, boot: &BootId, now: Instant) {
        let passed = if self.boot == *boot {
            now.since(self.seen)
        } else {
            // Nobody knows how long the boot before went on.
            now.since(Instant::default())
        };
        for disturbance in &mut self.again {
            disturbance.ago = disturbance.ago.saturating_add(passed);
        }
        self.again.retain(|disturbance| disturbance.ago < DAY);
        self.boot = boot.clone();
        self.seen = now;
    }

    /// Until when the robot has to be left alone, if it was disturbed as often as it may be in a day.
    #[must_use]
    pub fn used_up(&self, most: usize, boot: &BootId, now: Instant) -> Option<Instant> {
        let mut today = self.clone();
        today.look(boot, now);
        let oldest = today.again.len().checked_sub(most)?;
        let oldest = today.again.get(oldest)?;
        Some(now + (DAY - oldest.ago))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(n: u8) -> BootId {
        BootId(format!("boot-{n}"))
    }

    const fn at(hours: u64) -> Instant {
        Instant(hours * 3_600_000)
    }

    fn begun() -> Disturbances {
        let system = "11111111111111111111111111111111-nixos-system-b";
        let system = StorePath::from_base_name(system).unwrap();
        Disturbances::first(system, boot(1), at(1))
    }

    #[test]
    fn a_day_of_running_excuses_what_disturbed_the_robot() {
        let mut counted = begun();
        assert_eq!(counted.used_up(1, &boot(1), at(2)), None);
        counted.count(What::Switch, &boot(1), at(2));
        counted.count(What::Boot, &boot(1), at(5));
        assert_eq!(counted.used_up(3, &boot(1), at(6)), None);
        assert_eq!(counted.used_up(2, &boot(1), at(6)), Some(at(26)));
        assert_eq!(counted.used_up(1, &boot(1), at(6)), Some(at(29)));
        assert_eq!(counted.used_up(2, &boot(1), at(26)), None);
        assert_eq!(counted.used_up(1, &boot(1), at(26)), Some(at(29)));
    }

    #[test]
    fn a_day_goes_on_in_the_next_boot_and_never_ends_early() {
        let mut counted = begun();
        counted.count(What::Boot, &boot(1), at(2));
        // Of the first boot, nobody knows more than what was written down.
        assert_eq!(counted.used_up(1, &boot(2), at(1)), Some(at(24)));
        counted.look(&boot(1), at(12));
        assert_eq!(counted.used_up(1, &boot(2), at(1)), Some(at(14)));
        counted.look(&boot(2), at(1));
        counted.look(&boot(3), at(1));
        assert_eq!(counted.used_up(1, &boot(3), at(2)), Some(at(13)));
    }

    #[test]
    fn no_more_are_remembered_than_a_configuration_allows() {
        let mut counted = begun();
        for _ in 0..100 {
            counted.count(What::Commit, &boot(1), at(2));
        }
        assert_eq!(counted.again.len(), MAX_DISTURBANCES);
        assert!(counted.used_up(MAX_DISTURBANCES, &boot(1), at(3)).is_some());
    }
}
