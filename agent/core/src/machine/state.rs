//! Where an update stands. The journal holds it, so every word of it is a format on the disk.

use crate::{
    StorePath,
    health::{self, Failure},
    release::{Name, Target},
    switch::{Order, Outcome},
    time::{BootId, Instant},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A system that was proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Generation {
    /// Its toplevel.
    pub system: StorePath,
    /// The release that brought it; `None` if it was adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Name>,
    /// When it was confirmed. For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// What is going on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "name")]
pub enum State {
    /// Nothing; the confirmed system runs.
    Idle,
    /// A release is being brought into the store.
    Fetching {
        /// Which one.
        target: Target,
    },
    /// It is in the store and waits for permission.
    Ready {
        /// Which one.
        target: Target,
    },
    /// It runs, unproven; profile and boot loader still name the confirmed system.
    Trial {
        /// What is tried; `None` while a system that somebody switched to by hand is proven.
        target: Option<Target>,
        /// The system under trial.
        system: StorePath,
        /// The system that ran before: where a revert goes.
        previous: StorePath,
        /// The boot in which it began; once it was booted, that boot.
        boot: BootId,
        /// Whether it is tried live or by booting it.
        #[serde(default)]
        mode: Mode,
        /// How far it is.
        phase: Phase,
    },
    /// It is proven and becomes the profile's and the boot loader's: only forward from here.
    Committing {
        /// What becomes confirmed.
        goal: Generation,
        /// The release behind it, if a trial led here.
        target: Option<Target>,
        /// The system that ran before.
        previous: StorePath,
        /// What led here.
        origin: Origin,
        /// The switch that does it.
        order: Order,
        /// Tries so far, this one included.
        attempts: u32,
        /// Whether the robot has to be rebooted into it then: it has another kernel, say.
        #[serde(default)]
        reboot: bool,
    },
    /// Back to the system that ran before.
    Reverting {
        /// What failed; `None` if it was no release.
        target: Option<Target>,
        /// The system that is being left.
        failed: StorePath,
        /// The switch that does it; its system is where the robot goes.
        order: Order,
        /// Why.
        evidence: Evidence,
        /// Tries in this boot, this one included.
        attempts: u32,
        /// Reboots that were ordered to get there.
        reboots: u32,
        /// Whether only a reboot leads there: what is left was booted.
        #[serde(default)]
        reboot: bool,
    },
}

/// How a system is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// Activated beside the running kernel; the dead-man timer guards it.
    #[default]
    Live,
    /// Booted once; the boot loader's default stays what it was, and the boot's deadline and the
    /// watchdog guard it.
    Boot,
}

/// How far a trial is. Live: arming, switching, soaking. By booting: staging, staged, aiming,
/// booting, soaking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "name")]
pub enum Phase {
    /// The dead-man timer is being armed; nothing has changed yet.
    Arming,
    /// `switch-to-configuration test` runs.
    Switching {
        /// The order.
        order: Order,
    },
    /// The profile gets the system, and the boot loader an entry for it; its default stays.
    Staging {
        /// The order.
        order: Order,
    },
    /// It could be booted, and waits for permission. A reboot leads to the confirmed system.
    Staged,
    /// The deadline and the boot loader's one-shot are being set.
    Aiming,
    /// The next boot is the trial.
    Booting,
    /// It runs and has to stay healthy.
    Soaking {
        /// When the robot must have proven itself.
        deadline: Instant,
    },
}

/// What led to a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Origin {
    /// A trial that stayed healthy.
    Trial,
    /// A person asked to go back.
    Rollback {
        /// Why, in their words.
        why: String,
        /// Who.
        by: String,
    },
    /// Somebody switched by hand, and the policy is to keep that once it proved healthy.
    Adopt,
    /// The confirmed system is put back: drift with that policy, or a switch that somebody's power
    /// cut left half done.
    Restore {
        /// What was found.
        why: String,
    },
}

/// Why a system was left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// In one word.
    pub cause: Cause,
    /// In one sentence.
    pub message: String,
    /// The checks that failed, with the units' last lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
    /// The last lines of the switch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// What ended a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// The switch itself failed.
    Switch,
    /// Health checks failed again and again.
    Unhealthy,
    /// The robot did not prove itself in time.
    Deadline,
    /// It cannot be tried without a reboot.
    NeedsReboot,
    /// The dead-man timer reverted because the agent did not.
    DeadMan,
    /// The robot restarted in the middle, more than once.
    Interrupted,
    /// Its kernel panicked.
    Panic,
    /// The hardware watchdog reset the robot.
    Watchdog,
    /// The boot loader did not start it, more than once.
    OneShotLost,
    /// It must not be tried on this robot: it would take the agent away, say.
    Unfit,
    /// The trial's traces do not fit together.
    Unknown,
    /// A person rolled it back.
    Rollback,
    /// Profile or boot loader could not be written.
    Commit,
}

impl State {
    /// The name in the journal: `idle`, `fetching`, `ready`, `trial`, `committing`, `reverting`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Fetching { .. } => "fetching",
            Self::Ready { .. } => "ready",
            Self::Trial { .. } => "trial",
            Self::Committing { .. } => "committing",
            Self::Reverting { .. } => "reverting",
        }
    }

    /// The switch that is or was carried out in this state.
    #[must_use]
    pub const fn order(&self) -> Option<&Order> {
        match self {
            Self::Trial {
                phase: Phase::Switching { order } | Phase::Staging { order },
                ..
            }
            | Self::Committing { order, .. }
            | Self::Reverting { order, .. } => Some(order),
            _ => None,
        }
    }

    /// The release that it is about.
    #[must_use]
    pub const fn target(&self) -> Option<&Target> {
        match self {
            Self::Fetching { target } | Self::Ready { target } => Some(target),
            Self::Trial { target, .. }
            | Self::Committing { target, .. }
            | Self::Reverting { target, .. } => target.as_ref(),
            Self::Idle => None,
        }
    }
}

impl Phase {
    /// The name in the journal: `arming`, `switching`, `soaking`, ….
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Arming => "arming",
            Self::Switching { .. } => "switching",
            Self::Staging { .. } => "staging",
            Self::Staged => "staged",
            Self::Aiming => "aiming",
            Self::Booting => "booting",
            Self::Soaking { .. } => "soaking",
        }
    }
}

impl Cause {
    /// Whether it says anything about the release. What does not may be tried again.
    #[must_use]
    pub const fn is_verdict(self) -> bool {
        !matches!(self, Self::Interrupted | Self::OneShotLost)
    }
}

impl Evidence {
    /// Evidence from a switch that failed.
    #[must_use]
    pub fn of_switch(outcome: &Outcome, log: Vec<String>, failures: Vec<Failure>) -> Self {
        Self {
            cause: match outcome {
                Outcome::NeedsReboot => Cause::NeedsReboot,
                _ => Cause::Switch,
            },
            message: outcome.to_string(),
            failures,
            log,
        }
    }

    /// Evidence without further material.
    #[must_use]
    pub const fn plain(cause: Cause, message: String) -> Self {
        Self {
            cause,
            message,
            failures: Vec::new(),
            log: Vec::new(),
        }
    }

    /// Whether all that was wrong is that the repository was not reached: that may be its own fault.
    #[must_use]
    pub fn blames_the_repository(&self) -> bool {
        matches!(self.cause, Cause::Unhealthy | Cause::Deadline)
            && !self.failures.is_empty()
            && self
                .failures
                .iter()
                .all(|failure| failure.check == health::REPOSITORY)
    }
}
