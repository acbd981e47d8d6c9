//! Gates: what keeps the robot from a step of an update for now.
//!
//! Holds and leases are known here at every moment. The others (time windows, the battery, commands, and
//! what of the robot itself is in the way) are asked by the daemon, each time before a step.

use jiff::civil::{DateTime, Time, Weekday};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A step of an update that gates are asked before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// The repository is asked.
    Check,
    /// Store paths are brought. Gates are asked again and again while that goes on.
    Download,
    /// What runs is changed, or made ready to be changed by a reboot.
    Activate,
    /// The robot reboots into a trial.
    Reboot,
}

impl Stage {
    /// All of them, in the order of an update.
    pub const ALL: [Self; 4] = [Self::Check, Self::Download, Self::Activate, Self::Reboot];
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Check => "check",
            Self::Download => "download",
            Self::Activate => "activate",
            Self::Reboot => "reboot",
        })
    }
}

/// A gate that says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Closed {
    /// Which one: `lease gripper`, `window`, `battery`, `command docked`.
    pub gate: String,
    /// Why, in a few words.
    pub why: String,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.gate, self.why)
    }
}

/// Whether a gate is a command of the configuration, by its name. Then the reason is what the command
/// printed, and not for everybody.
#[must_use]
pub fn is_command(gate: &str) -> bool {
    gate.starts_with("command ")
}

/// The gate that says no while somebody else switches.
pub const SWITCHER: &str = "switcher";

/// The gate that says no while the boot loader's files cannot be written.
pub const LOADER: &str = "boot loader";

/// The gate that says no while a disk that every switch writes to is full or read-only.
pub const DISK: &str = "disk";

/// The gate that says no while nobody can tell how those three are.
pub const ROBOT: &str = "robot";

/// Whether a gate, by its name, says that nothing can be installed now, and not that the robot must not
/// be touched: it keeps a release from being begun, and never the robot from going back.
#[must_use]
pub fn is_obstacle(gate: &str) -> bool {
    [SWITCHER, LOADER, DISK, ROBOT].contains(&gate)
}

/// All of them in one line.
#[must_use]
pub fn summary(closed: &[Closed]) -> String {
    let texts: Vec<String> = closed.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

/// Whether a moment lies in a window of each of these days (of all, if there are none), from a time
/// of day up to another one. A window that ends before it begins goes on into the next day; one that
/// ends when it begins lasts a whole day.
#[must_use]
pub fn in_window(days: &[Weekday], from: Time, to: Time, now: DateTime) -> bool {
    let on = |day: Weekday| days.is_empty() || days.contains(&day);
    let (today, time) = (now.weekday(), now.time());
    if from < to {
        on(today) && from <= time && time < to
    } else {
        (on(today) && from <= time) || (on(today.previous()) && time < to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::{date, time};
    use proptest::prelude::*;

    #[test]
    fn a_window_may_go_over_midnight_and_belongs_to_the_day_it_begins_on() {
        use Weekday::{Friday, Monday};
        // The 23rd of November 2026 is a Monday.
        let at = |day, hour| date(2026, 11, day).at(hour, 0, 0, 0);
        let (ten, four) = (time(22, 0, 0, 0), time(4, 0, 0, 0));
        for (days, from, to, now, open) in [
            (&[][..], four, ten, at(23, 4), true),
            (&[], four, ten, at(23, 22), false),
            (&[], ten, four, at(23, 3), true),
            (&[], ten, four, at(23, 4), false),
            (&[Monday], ten, four, at(23, 23), true),
            (&[Monday], ten, four, at(23, 3), false),
            (&[Monday], ten, four, at(24, 3), true),
            (&[Friday], four, ten, at(23, 12), false),
            (&[Monday], four, four, at(24, 3), true),
            (&[Monday], four, four, at(24, 4), false),
        ] {
            assert_eq!(in_window(days, from, to, now), open, "{days:?} {now}");
        }
    }

    proptest! {
        #[test]
        fn a_window_and_the_rest_of_the_day_are_the_day(
            from in 0i8..24, to in 0i8..24, hour in 0i8..24, minute in 0i8..60,
        ) {
            prop_assume!(from != to);
            let now = date(2026, 11, 23).at(hour, minute, 0, 0);
            let (from, to) = (time(from, 0, 0, 0), time(to, 0, 0, 0));
            prop_assert!(in_window(&[], from, to, now) != in_window(&[], to, from, now));
        }
    }
}
