//! How often a day the robot is disturbed by trying the same thing again.
//!
//! What keeps a release from being tried to the end may be the robot's fault: the power goes, the boot
//! loader loses what it was told, the switcher is cut off. That is held against no release, so the
//! release comes again; but each time services stop, or the robot reboots. Those times are counted for
//! the robot, whatever systems they were about, and after some of them it stands still until the day is
//! over, a system is to be tried that was not begun with in that day, or a person asks.
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

/// Disturbances that are counted at most: as many as a configuration may allow.
pub const MAX_DISTURBANCES: usize = 20;

/// Disturbances and systems that are remembered.
const MAX_REMEMBERED: usize = 2 * MAX_DISTURBANCES;

/// What disturbed the robot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// It was switched to again, beside the running kernel.
    Switch,
    /// It was booted again.
    Boot,
    /// Boot entries were written for it, and it could not be made the next boot.
    Staged,
    /// It proved healthy, and was activated again to become what the robot starts with.
    Commit,
    /// The confirmed system was put back, since somebody else had switched or a switch was cut off.
    Restore,
    /// What somebody else had switched to was made what the robot starts with.
    Adopt,
    /// It was rebooted to go back.
    WayBack,
    /// It was rebooted once more, since the way back had left it worse than it was.
    Worse,
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
    /// Whether a system was begun with for the first time: that is not counted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub first: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_false(first: &bool) -> bool {
    !*first
}

/// A system that was begun with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Begun {
    /// The system, under whatever name.
    pub system: StorePath,
    /// How long before [`Disturbances::seen`] another one came.
    #[serde(with = "millis")]
    pub ago: Duration,
}

/// Those of the robot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Disturbances {
    /// The system that was begun with last, under whatever name.
    pub system: StorePath,
    /// Those that were begun with before it, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Begun>,
    /// The boot in which they were looked at last.
    pub boot: BootId,
    /// When that was.
    pub seen: Instant,
    /// What was begun, oldest first.
    #[serde(default)]
    pub again: Vec<Disturbance>,
}

impl Disturbances {
    /// It is begun with a system, and was with none in this day.
    #[must_use]
    pub const fn first(system: StorePath, boot: BootId, now: Instant) -> Self {
        Self {
            system,
            before: Vec::new(),
            boot,
            seen: now,
            again: Vec::new(),
        }
    }

    /// The robot is disturbed by this system, which is counted unless it is the first time.
    pub fn begin(&mut self, system: &StorePath, what: What, boot: &BootId, now: Instant) {
        self.look(boot, now);
        let first = !self.knows(system);
        if self.system != *system {
            self.before.retain(|begun| begun.system != *system);
            self.before.push(Begun {
                system: std::mem::replace(&mut self.system, system.clone()),
                ago: Duration::ZERO,
            });
            let surplus = self.before.len().saturating_sub(MAX_REMEMBERED);
            self.before.drain(..surplus);
        }
        self.again.push(Disturbance {
            what: what.into(),
            ago: Duration::ZERO,
            first,
        });
        if self.again.len() > MAX_REMEMBERED {
            let oldest = self.again.iter().position(|it| it.first).unwrap_or(0);
            self.again.remove(oldest);
        }
    }

    /// What was begun last did not disturb the robot after all. Gives whether anything is left.
    #[must_use]
    pub fn take_back(&mut self) -> bool {
        match (self.again.pop(), self.before.last()) {
            (Some(Disturbance { first: false, .. }), _) => true,
            (Some(_), Some(_)) => {
                if let Some(begun) = self.before.pop() {
                    self.system = begun.system;
                }
                true
            }
            _ => false,
        }
    }

    /// Writes down how long ago they were, and forgets those of which that is a day.
    pub fn look(&mut self, boot: &BootId, now: Instant) {
        let passed = if self.boot == *boot {
            now.since(self.seen)
        } else {
            // Nobody knows how long the boot before went on.
            now.since(Instant::default())
        };
        let begun = self.before.iter_mut().map(|begun| &mut begun.ago);
        for ago in begun.chain(self.again.iter_mut().map(|it| &mut it.ago)) {
            *ago = ago.saturating_add(passed);
        }
        self.again.retain(|disturbance| disturbance.ago < DAY);
        self.before.retain(|begun| begun.ago < DAY);
        self.boot = boot.clone();
        self.seen = now;
    }

    /// Whether a look has anything to write down.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.again.is_empty() && self.before.is_empty()
    }

    /// Whether it was begun with this system.
    #[must_use]
    pub fn knows(&self, system: &StorePath) -> bool {
        self.system == *system || self.before.iter().any(|begun| begun.system == *system)
    }

    /// How often the robot was disturbed again within a day.
    #[must_use]
    pub fn today(&self, boot: &BootId, now: Instant) -> usize {
        let mut today = self.clone();
        today.look(boot, now);
        today.counted().count()
    }

    fn counted(&self) -> impl Iterator<Item = &Disturbance> {
        self.again.iter().filter(|disturbance| !disturbance.first)
    }

    /// Until when the robot has to be left alone with this system, if it was begun with already and the
    /// robot was disturbed as often as it may be in a day.
    #[must_use]
    pub fn used_up(
        &self,
        system: &StorePath,
        most: usize,
        boot: &BootId,
        now: Instant,
    ) -> Option<Instant> {
        let mut today = self.clone();
        today.look(boot, now);
        if !today.knows(system) {
            return None;
        }
        let oldest = today.counted().count().checked_sub(most)?;
        let oldest = today.counted().nth(oldest)?;
        Some(now + (DAY - oldest.ago))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::testing::{at, boot};

    fn system(name: char) -> StorePath {
        StorePath::from_base_name(&format!("{}-nixos-system-{name}", "1".repeat(32))).unwrap()
    }

    fn begun() -> Disturbances {
        Disturbances::first(system('b'), boot(1), at(1))
    }

    /// By the system that was begun with.
    fn count(counted: &mut Disturbances, what: What, n: u8, now: Instant) {
        counted.begin(&system('b'), what, &boot(n), now);
    }

    fn used_up(counted: &Disturbances, most: usize, n: u8, now: Instant) -> Option<Instant> {
        counted.used_up(&system('b'), most, &boot(n), now)
    }

    #[test]
    fn a_day_of_running_excuses_what_disturbed_the_robot() {
        let mut counted = begun();
        assert_eq!(used_up(&counted, 1, 1, at(2)), None);
        count(&mut counted, What::Switch, 1, at(2));
        count(&mut counted, What::Boot, 1, at(5));
        assert_eq!(counted.today(&boot(1), at(6)), 2);
        assert_eq!(used_up(&counted, 3, 1, at(6)), None);
        assert_eq!(used_up(&counted, 2, 1, at(6)), Some(at(26)));
        assert_eq!(used_up(&counted, 1, 1, at(6)), Some(at(29)));
        assert_eq!(used_up(&counted, 2, 1, at(26)), None);
        assert_eq!(used_up(&counted, 1, 1, at(26)), Some(at(29)));
        assert_eq!(counted.today(&boot(1), at(26)), 1);
    }

    #[test]
    fn a_day_goes_on_in_the_next_boot_and_never_ends_early() {
        let mut counted = begun();
        count(&mut counted, What::Boot, 1, at(2));
        // Of the first boot, nobody knows more than what was written down.
        assert_eq!(used_up(&counted, 1, 2, at(1)), Some(at(24)));
        counted.look(&boot(1), at(12));
        assert_eq!(used_up(&counted, 1, 2, at(1)), Some(at(14)));
        counted.look(&boot(2), at(1));
        counted.look(&boot(3), at(1));
        assert_eq!(used_up(&counted, 1, 3, at(2)), Some(at(13)));
    }

    #[test]
    fn systems_that_take_turns_are_counted_together_and_a_new_one_is_not() {
        let mut counted = begun();
        let by = |counted: &mut Disturbances, name| {
            counted.begin(&system(name), What::Switch, &boot(1), at(2));
        };
        for name in ['c', 'b', 'c'] {
            by(&mut counted, name);
        }
        assert_eq!(counted.today(&boot(1), at(2)), 2);
        for known in ['b', 'c'] {
            let until = counted.used_up(&system(known), 2, &boot(1), at(2));
            assert_eq!(until, Some(at(26)));
        }
        assert_eq!(counted.used_up(&system('d'), 2, &boot(1), at(2)), None);
        by(&mut counted, 'd');
        assert_eq!(counted.today(&boot(1), at(2)), 2);
        by(&mut counted, 'd');
        assert_eq!(counted.today(&boot(1), at(2)), 3);
        // A day later none of those before is known.
        counted.look(&boot(1), at(27));
        assert!(counted.is_idle());
        assert_eq!(
            (counted.knows(&system('c')), counted.knows(&system('d'))),
            (false, true)
        );
    }

    #[test]
    fn what_changed_nothing_is_taken_back() {
        let mut counted = begun();
        let mut before = counted.clone();
        before.look(&boot(1), at(2));
        counted.begin(&system('c'), What::Switch, &boot(1), at(2));
        assert!(counted.take_back());
        assert_eq!(counted, before);
        count(&mut counted, What::Switch, 1, at(2));
        assert!(counted.take_back());
        assert_eq!(counted, before);
        assert!(!counted.take_back());
    }

    #[test]
    fn no_more_are_remembered_than_a_configuration_allows() {
        let mut counted = begun();
        for n in 0..100 {
            count(&mut counted, What::Commit, 1, at(2));
            let name = char::from(b'c' + n % 20);
            counted.begin(&system(name), What::Commit, &boot(1), at(2));
        }
        assert_eq!(counted.again.len(), MAX_REMEMBERED);
        assert!(counted.before.len() <= MAX_REMEMBERED);
        assert!(used_up(&counted, MAX_DISTURBANCES, 1, at(3)).is_some());
    }

    #[test]
    fn what_an_older_agent_wrote_is_counted() {
        let text = r#"{"system":"/nix/store/11111111111111111111111111111111-nixos-system-b",
            "boot":"boot-1","seen":0,"again":[{"what":"switch","ago":0}]}"#;
        let counted: Disturbances = serde_json::from_str(text).unwrap();
        assert_eq!(counted.today(&boot(1), at(1)), 1);
        let written = serde_json::to_string(&counted).unwrap();
        assert!(
            !written.contains("first") && !written.contains("before"),
            "{written}"
        );
    }
}
