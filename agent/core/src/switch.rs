//! What `switch-to-configuration` means by its exit codes.
//!
//! Source: nixpkgs `pkgs/by-name/sw/switch-to-configuration-ng/src/main.rs`.

use crate::{StorePath, time::millis};
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// What to ask of the switcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Activate; profile and boot loader stay as they are: `nixos-rebuild test`.
    Test,
    /// Set the profile, install the boot loader, then activate: `nixos-rebuild switch`.
    Switch,
    /// Set the profile and install the boot loader with the system as its default; nothing is
    /// activated: `nixos-rebuild boot`.
    Boot,
    /// Set the profile, so that the system gets a boot entry, but have [`Order::default`] install
    /// the boot loader, so that it stays the default. Nothing is activated.
    Stage,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Test => "test",
            Self::Switch => "switch",
            Self::Boot => "boot",
            Self::Stage => "stage",
        })
    }
}

/// What a switch is for: part of its unit's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Activates a system that has to prove itself.
    Trial,
    /// Gives a system a boot entry, for a trial by booting.
    Stage,
    /// Makes a system the one that the robot starts with.
    Commit,
    /// Goes back.
    Revert,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Trial, Self::Stage, Self::Commit, Self::Revert];

    /// What the names of its units begin with: `surefoot-trial-`.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Trial => "surefoot-trial-",
            Self::Stage => "surefoot-stage-",
            Self::Commit => "surefoot-commit-",
            Self::Revert => "surefoot-revert-",
        }
    }
}

/// One switch to carry out, in a transient unit of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Name of the transient unit, `surefoot-….service`: unique, so that a restarted agent finds
    /// its own switch again.
    pub unit: String,
    /// The system to switch to.
    pub system: StorePath,
    /// How deep.
    pub action: Action,
    /// The system that stays the boot loader's default: for [`Action::Stage`], and only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<StorePath>,
    /// A system that was tried in vain: its generations leave the profile, and so its entries the
    /// boot menu. Only for a way back by [`Action::Switch`] or [`Action::Boot`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove: Option<StorePath>,
    /// After this time systemd ends it (`RuntimeMaxSec=`).
    #[serde(with = "millis")]
    pub timeout: Duration,
    /// Skips pre-switch checks and switch inhibitors (`NIXOS_NO_CHECK=1`): only for a way back.
    pub no_check: bool,
}

/// How a switch ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind", content = "code")]
pub enum Outcome {
    /// Exit 0.
    Done,
    /// Exit 4: the new system is live, but a unit failed, maybe one that failed before. Health
    /// decides.
    UnitsFailed,
    /// Exit 2: the `activate` script failed; the switch went on all the same.
    ActivationFailed,
    /// Exit 1: a pre-switch check, a switch inhibitor, the boot loader or the switcher itself
    /// failed.
    Refused,
    /// Exit 11 (`EAGAIN`): another switch holds the lock, or the unit of somebody's `nixos-rebuild` is
    /// still there; nothing was done. See [`Outcome::as_seen`].
    Locked,
    /// Exit 100: the new system's init cannot be reached without a reboot; nothing was activated.
    NeedsReboot,
    /// Any other exit code.
    Failed(i32),
    /// Ended by this signal, which the agent did not send: by the kernel for want of memory, by a
    /// shutdown, by somebody.
    Killed(i32),
    /// Ran longer than its order allowed.
    TimedOut,
    /// The unit is gone and nobody saw how it ended: a power cut, or somebody's `reset-failed`.
    Lost,
    /// It could not be started at all: systemd does not know its unit, and does not begin it later.
    NotStarted,
}

impl Outcome {
    /// Reads the exit code of a toplevel's own `bin/switch-to-configuration`.
    #[must_use]
    pub const fn of_switcher(code: i32) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::Refused,
            2 => Self::ActivationFailed,
            4 => Self::UnitsFailed,
            11 => Self::Locked,
            100 => Self::NeedsReboot,
            other => Self::Failed(other),
        }
    }

    /// What the answer is worth. The switcher ends with whatever `errno` was left where it gives up, and 11
    /// (`EAGAIN`) may stand there at any time: where it cannot ask logind, say, which is in the middle of a
    /// switch. So "nothing was done" is not believed where the robot ran another system before (`before`;
    /// `None`: not known) and runs this one now.
    #[must_use]
    pub fn as_seen(
        self,
        system: &StorePath,
        before: Option<&StorePath>,
        now: Option<&StorePath>,
    ) -> Self {
        let went_on = before.is_some_and(|before| before != system) && now == Some(system);
        match self {
            Self::Locked if went_on => Self::Failed(11),
            other => other,
        }
    }

    /// Whether the new system is live now.
    #[must_use]
    pub const fn activated(&self) -> bool {
        matches!(self, Self::Done | Self::UnitsFailed)
    }

    /// Whether somebody else ended it, or made systemd forget it: that says nothing about the system that
    /// it was to switch to, until it happens every time.
    #[must_use]
    pub const fn was_cut_off(&self) -> bool {
        matches!(self, Self::Killed(_) | Self::Lost)
    }

    /// Whether nothing that runs was touched: the switcher gave up before it activated anything.
    #[must_use]
    pub const fn touched_nothing(&self) -> bool {
        matches!(self, Self::Refused | Self::Locked | Self::NotStarted)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("switched"),
            Self::UnitsFailed => f.write_str("switched, but a unit failed (exit 4)"),
            Self::ActivationFailed => f.write_str("the activation script failed (exit 2)"),
            Self::Refused => {
                f.write_str("a pre-switch check, an inhibitor or the boot loader refused (exit 1)")
            }
            Self::Locked => f.write_str(
                "another switch is running, or the unit of somebody's nixos-rebuild is still there",
            ),
            Self::NeedsReboot => f.write_str("the new init needs a reboot (exit 100)"),
            Self::Failed(code) => write!(f, "the switch failed (exit {code})"),
            Self::Killed(signal) => write!(f, "the switch was killed by signal {signal}"),
            Self::TimedOut => f.write_str("the switch took too long"),
            Self::Lost => f.write_str("the switch vanished without an answer"),
            Self::NotStarted => f.write_str("the switch could not be started"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_not_believed_where_the_system_was_activated() {
        let path = |letter: &str| format!("/nix/store/{}-s", letter.repeat(32));
        let [a, b] = ["a", "b"].map(|letter| path(letter).parse::<StorePath>().unwrap());
        let seen = |before, now| Outcome::Locked.as_seen(&b, before, now);
        assert_eq!(seen(Some(&a), Some(&b)), Outcome::Failed(11));
        assert_eq!(seen(Some(&a), Some(&a)), Outcome::Locked);
        // It ran before, or nobody knows.
        assert_eq!(seen(Some(&b), Some(&b)), Outcome::Locked);
        assert_eq!(seen(None, Some(&b)), Outcome::Locked);
        assert_eq!(seen(Some(&a), None), Outcome::Locked);
        let other = Outcome::Refused.as_seen(&b, Some(&a), Some(&b));
        assert_eq!(other, Outcome::Refused);
    }
}
