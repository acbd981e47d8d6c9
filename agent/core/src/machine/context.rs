//! What decisions depend on besides the journal and the event: the time, the boot, chance, and the
//! configuration.

use crate::{
    StorePath,
    lease::Required,
    release::Target,
    time::{BootId, Instant},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Reboots that a revert may cause before it gives up and says so: no boot loop outlives this.
pub const MAX_REBOOTS: u32 = 3;

/// How often a robot may go down on its way to a system and come up elsewhere before that is not activated any
/// more, and the boot loader is to start it: activating it may be what takes the robot down.
pub const MAX_FALLS: u32 = 3;

/// What the dead-man timer allows on top of the switch and the health deadline, so that it never
/// fires into an agent that is just deciding.
pub const DEAD_MAN_MARGIN: Duration = Duration::from_secs(30);

/// How old the repository's last answer may be when something is about to be disturbed: a release may
/// have been called back meanwhile.
pub(super) const RECENT: Duration = Duration::from_secs(120);

/// How long a system that was gone back to has to run before the robot going down is not its activation's doing.
pub(super) const RUNS_WELL: Duration = Duration::from_secs(3600);

/// How long the robot has to run before profile and loader are written again, over which it went down.
pub(super) const AFTER_FALLS: Duration = Duration::from_secs(86_400);

/// How often it is written down how much of that is left.
pub(super) const REST_STEP: Duration = Duration::from_secs(600);

/// How long something else has to be seen running than what a way back led to before somebody switched to it.
pub(super) const STRAYS: Duration = Duration::from_secs(120);

/// How long a look at what the boot loader starts is waited for; then nobody can tell.
pub(super) const LOOK_PATIENCE: Duration = Duration::from_secs(60);

/// How long a reboot that was ordered may take to happen before it is ordered again.
pub const REBOOT_PATIENCE: Duration = Duration::from_secs(300);

/// What the configuration says about decisions.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Time between two polls.
    pub poll_interval: Duration,
    /// How far polls spread around the interval, 0 to 1.
    pub jitter: f64,
    /// How long what is known of a release that is given out in steps counts: for how long time goes on
    /// from when the repository was signed, and how old its last answer may be when a trial begins.
    pub rollout_fresh: Duration,
    /// First delay after a failure.
    pub backoff_base: Duration,
    /// Longest delay after failures.
    pub backoff_max: Duration,
    /// Longest delay after fetches that failed.
    pub fetch_backoff_max: Duration,
    /// Bytes that fetches may move within a day; 0 for as many as come.
    pub daily_limit: u64,
    /// How long a trial must stay healthy without a break.
    pub soak: Duration,
    /// Within which time after the switch it must have done so.
    pub health_deadline: Duration,
    /// Time between two looks at the health.
    pub health_interval: Duration,
    /// Unhealthy looks in a row that end a trial early, 1 or more.
    pub max_failures: u32,
    /// How long one switch may take.
    pub switch_timeout: Duration,
    /// Time from the start of a boot on trial within which it must have proven itself.
    pub boot_deadline: Duration,
    /// Trials of one release that may leave a doubt, 1 or more: that do not reach the repository, which
    /// the system before then reaches again, or whose switch something else than the agent ends.
    pub trial_attempts: u32,
    /// Times that the robot may be disturbed within a day by what is tried again, 1 or more.
    pub disturbances: usize,
    /// Whether a robot that a way back left worse than it was is rebooted, once.
    pub reboot_if_worse: bool,
    /// Tries of a commit, 1 or more.
    pub commit_attempts: u32,
    /// Tries of a revert before a reboot, 1 or more.
    pub revert_attempts: u32,
    /// Delay between tries of a commit or a revert.
    pub retry_delay: Duration,
    /// Leases that must say that the robot is free.
    pub leases: Vec<Required>,
    /// Time between two looks at gates that said no.
    pub gate_interval: Duration,
    /// What happens when somebody switched by hand.
    pub drift: DriftPolicy,
    /// What is waited for where the robot's memory was lost.
    pub after_loss: AfterLoss,
    /// Earlier systems that are kept for a rollback.
    pub keep: usize,
    /// Whether generations that the agent made may leave the profile.
    pub prune: bool,
    /// How many of them stay, 1 or more.
    pub generations: usize,
}

/// What happens when another system runs than the confirmed one, and it was not the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriftPolicy {
    /// Say so, and wait with updates until it is settled: nothing by surprise.
    #[default]
    Report,
    /// Confirm it once it stayed healthy for the soak time.
    Adopt,
    /// Switch back to the confirmed system.
    Restore,
}

/// What the robot waits for before it tries a release again, where its memory was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AfterLoss {
    /// A release that was not there before the loss: it cannot have failed here. Gates and leases are
    /// asked as ever.
    #[default]
    NextRelease,
    /// A technician who asks for an update.
    Technician,
}

/// What a decision may depend on besides the journal and the event.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Now.
    pub now: Instant,
    /// How much of that the robot was suspended in this boot. The guards outside the agent do not count it.
    pub slept: Duration,
    /// This boot.
    pub boot: &'a BootId,
    /// The wall clock, for people; `None` if it is known to be wrong.
    pub wall: Option<Timestamp>,
    /// A fresh random number.
    pub random: u64,
    /// The kept systems that only a boot leads to from what was booted. Needed where a person goes
    /// back to one.
    pub by_boot: &'a [StorePath],
    /// What was on its way before a rollback that is decided as from rest: whoever leaves it gives it up.
    pub put_aside: Option<&'a Target>,
    /// The configuration.
    pub policy: &'a Policy,
}
