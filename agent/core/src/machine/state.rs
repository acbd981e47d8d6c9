//! Where an update stands. The journal holds it, so every word of it is a format on the disk.

use super::{
    context::{MAX_FALLS, MAX_REBOOTS},
    install::{Install, is_zero},
};
use crate::{
    StorePath,
    gate::Stage,
    health::{self, Check, Failure, JOURNAL_LINES},
    release::{Name, Target},
    switch::{Action, Order, Outcome},
    time::{BootId, Instant},
    word::Word,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
    Fetching(Fetching),
    /// It is in the store and waits for permission.
    Ready(Ready),
    /// It runs, unproven; profile and boot loader still name the confirmed system.
    Trial(Trial),
    /// It is proven and becomes the profile's and the boot loader's: only forward from here.
    Committing(Committing),
    /// Back to the system that ran before.
    Reverting(Reverting),
    /// One that only another version of the agent knows, or that has a word in it which only that
    /// knows. Nothing is assumed of it but that something may have been begun: the robot goes back.
    #[serde(untagged)]
    Unknown(Unknown),
}

/// A state as it was read, and what of it is said as in the states that are known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct Unknown {
    read: Map<String, Value>,
    target: Option<Target>,
    order: Option<Order>,
}

impl From<Map<String, Value>> for Unknown {
    fn from(read: Map<String, Value>) -> Self {
        let target = read.get("target").and_then(|v| Target::deserialize(v).ok());
        let in_phase = || read.get("phase")?.get("order");
        let first = || read.get("first");
        let order = first().or_else(|| read.get("order")).or_else(in_phase);
        let order = order.and_then(|v| Order::deserialize(v).ok());
        Self {
            read,
            target,
            order,
        }
    }
}

impl From<Unknown> for Map<String, Value> {
    fn from(unknown: Unknown) -> Self {
        unknown.read
    }
}

/// A release on its way into the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fetching {
    /// Which one.
    pub target: Target,
}

/// A release in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    /// Which one.
    pub target: Target,
}

/// A system that has to prove itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// What is tried; `None` while a system that somebody switched to by hand is proven.
    pub target: Option<Target>,
    /// The system under trial.
    pub system: StorePath,
    /// The system that ran before: where a revert goes.
    pub previous: StorePath,
    /// The boot in which it began; once it was booted, that boot.
    pub boot: BootId,
    /// Whether it is tried live or by booting it.
    #[serde(default)]
    pub mode: Mode,
    /// Whether the system before reached the repository when it was asked last: only then it says
    /// something about this one if it does not.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub reached: bool,
    /// What was found at the deadline, where all that was missing was the repository. That blames nobody,
    /// so the robot goes back once nobody minds, and until then the system may still prove itself. What
    /// fails meanwhile takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<Evidence>,
    /// How far it is.
    pub phase: Phase,
}

const fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_yes(yes: &bool) -> bool {
    *yes
}

/// A proven system on its way to being what the robot starts with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Committing {
    /// What becomes confirmed.
    pub goal: Generation,
    /// The release behind it, if a trial led here.
    pub target: Option<Target>,
    /// The system that ran before.
    pub previous: StorePath,
    /// What led here.
    pub origin: Origin,
    /// The switch that does it.
    pub order: Order,
    /// Tries so far, this one included.
    pub attempts: u32,
    /// Whether the robot has to be rebooted into it then: it has another kernel, say.
    #[serde(default)]
    pub reboot: bool,
    /// That it is activated beside the running kernel before profile and loader are touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Live>,
    /// The switch that activates it, as long as that is not done: `order` has not begun then. An agent that
    /// does not know this does all of `order`, which is not less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Order>,
    /// That profile and loader were being written, and how often the robot went down meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install: Option<Install>,
}

/// That a way leads to a system by an activation beside the running kernel, which needs neither Nix nor the loader,
/// and how often the robot went down on it. Decided at its beginning: whatever is tried besides, each round begins
/// with that again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Live {
    /// The boot in which it was tried last.
    pub boot: BootId,
    /// How often the robot went down meanwhile, and came up on another system.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub falls: u32,
    /// That only the boot loader leads there: what ran before was booted, and failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_the_loader: bool,
}

/// The way back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reverting {
    /// What failed; `None` if it was not a release.
    pub target: Option<Target>,
    /// The system that is being left.
    pub failed: StorePath,
    /// The switch that does it; its system is where the robot goes.
    pub order: Order,
    /// Why.
    pub evidence: Evidence,
    /// Tries in this boot, this one included.
    pub attempts: u32,
    /// Reboots that were ordered to get there.
    pub reboots: u32,
    /// Whether only a reboot leads there: what is left was booted, or activating was in vain.
    #[serde(default)]
    pub reboot: bool,
    /// That it began as an activation, which does not lead by a boot alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Live>,
    /// Whether a commit was left, which may have had profile and loader name something else: they are put in
    /// order once the system runs, and not before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub entries: bool,
    /// That profile and loader were being written, and how often the robot went down meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install: Option<Install>,
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

/// Failures that are remembered with a blocked release, with the last lines of each.
pub const MAX_FAILURES: usize = 8;

/// Texts of the journal are cut after this many bytes: messages, reasons.
pub const MAX_MESSAGE: usize = 2_000;

/// Lines of a log are cut after this many bytes.
const MAX_LINE: usize = 500;

/// Cuts a text, and says so in it.
pub(crate) fn shorten(text: &mut String, most: usize) {
    if text.len() > most {
        let end = (0..=most).rfind(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
}

fn last_lines(lines: &mut Vec<String>) {
    lines.drain(..lines.len().saturating_sub(JOURNAL_LINES));
    for line in lines {
        shorten(line, MAX_LINE);
    }
}

/// Why a system was left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// In one word. One that only a newer agent knows says something about the release, as far as
    /// this agent can tell: that stays blocked.
    pub cause: Word<Cause>,
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
    /// The robot restarted in the middle, or could not go on: nobody's fault.
    Interrupted,
    /// Its kernel panicked.
    Panic,
    /// The hardware watchdog reset the robot.
    Watchdog,
    /// The boot loader did not start it.
    OneShotLost,
    /// It must not be tried on this robot: it would take the agent away, say.
    Unfit,
    /// The trial's traces do not fit together.
    Unknown,
    /// A person rolled it back.
    Rollback,
    /// Profile or boot loader could not be written.
    Commit,
    /// It waited for its reboot, and was called back or replaced.
    Withdrawn,
    /// Something else than the agent ended its switch or took its guard away, every time, and never ended the
    /// switch of the system before.
    Killed,
    /// Its switch could not be started, every time, and that of the system before could.
    NotStarted,
    /// A part of its own, which the system before does not have, kept it from being committed.
    InItsOwnWay,
}

impl State {
    /// The name in the journal: `idle`, `fetching`, `ready`, `trial`, `committing`, `reverting`;
    /// `unknown` for any other.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Fetching(_) => "fetching",
            Self::Ready(_) => "ready",
            Self::Trial(_) => "trial",
            Self::Committing(_) => "committing",
            Self::Reverting(_) => "reverting",
            Self::Unknown(_) => "unknown",
        }
    }

    /// The switch that is or was carried out in this state.
    #[must_use]
    pub const fn order(&self) -> Option<&Order> {
        match self {
            Self::Idle | Self::Fetching(_) | Self::Ready(_) => None,
            Self::Unknown(unknown) => unknown.order.as_ref(),
            Self::Trial(trial) => trial.phase.order(),
            Self::Committing(committing) => Some(committing.order()),
            Self::Reverting(reverting) => Some(&reverting.order),
        }
    }

    /// The release that it is about.
    #[must_use]
    pub const fn target(&self) -> Option<&Target> {
        match self {
            Self::Idle => None,
            Self::Fetching(Fetching { target }) | Self::Ready(Ready { target }) => Some(target),
            Self::Unknown(unknown) => unknown.target(),
            Self::Trial(trial) => trial.target.as_ref(),
            Self::Committing(committing) => committing.target.as_ref(),
            Self::Reverting(reverting) => reverting.target.as_ref(),
        }
    }

    /// The system that is being brought in, tried, committed or left.
    #[must_use]
    pub const fn next(&self) -> Option<&StorePath> {
        match self {
            Self::Idle => None,
            Self::Fetching(Fetching { target }) | Self::Ready(Ready { target }) => {
                Some(&target.system)
            }
            Self::Unknown(unknown) => match &unknown.target {
                Some(target) => Some(&target.system),
                None => None,
            },
            Self::Trial(trial) => Some(&trial.system),
            Self::Committing(committing) => Some(&committing.goal.system),
            Self::Reverting(reverting) => Some(&reverting.failed),
        }
    }

    /// The system that ran before: where a revert goes.
    #[must_use]
    pub const fn previous(&self) -> Option<&StorePath> {
        match self {
            Self::Idle | Self::Fetching(_) | Self::Ready(_) | Self::Unknown(_) => None,
            Self::Trial(trial) => Some(&trial.previous),
            Self::Committing(committing) => Some(&committing.previous),
            Self::Reverting(reverting) => Some(&reverting.order.system),
        }
    }

    /// The step that waits for a moment at which the robot may be touched, if one does.
    #[must_use]
    pub const fn waits_for(&self) -> Option<Stage> {
        match self {
            Self::Ready(_)
            | Self::Trial(Trial {
                mode: Mode::Live,
                late: Some(_),
                ..
            }) => Some(Stage::Activate),
            Self::Trial(
                Trial {
                    phase: Phase::Staged,
                    ..
                }
                | Trial {
                    mode: Mode::Boot,
                    late: Some(_),
                    ..
                },
            ) => Some(Stage::Reboot),
            _ => None,
        }
    }

    /// Whether something else may have run in this state than before it, and the robot goes back if it
    /// goes to rest.
    #[must_use]
    pub fn may_have_changed_what_ran(&self) -> bool {
        match self {
            Self::Trial(Trial { phase, .. }) => matches!(
                phase,
                Phase::Switching { .. } | Phase::Booting | Phase::Soaking { .. }
            ),
            // What was only staged has not run.
            Self::Reverting(Reverting {
                order,
                evidence,
                live,
                ..
            }) => {
                live.is_some() || order.action != Action::Boot || evidence.cause != Cause::Withdrawn
            }
            _ => false,
        }
    }

    /// Whether a way back has led to its system, and all that is left is to have profile and loader name it.
    #[must_use]
    pub const fn only_misses_entries(&self) -> bool {
        match self {
            Self::Committing(committing) => committing.only_misses_entries(),
            Self::Reverting(reverting) => reverting.only_misses_entries(),
            _ => false,
        }
    }

    /// That profile and loader are written for a way back.
    pub(super) const fn install(&self) -> Option<&Install> {
        match self {
            Self::Committing(committing) => committing.install.as_ref(),
            Self::Reverting(reverting) => reverting.install.as_ref(),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub(super) const fn install_mut(&mut self) -> Option<&mut Install> {
        match self {
            Self::Committing(committing) => committing.install.as_mut(),
            Self::Reverting(reverting) => reverting.install.as_mut(),
            _ => None,
        }
    }

    /// Where a way back leads: one that a person asked for, or out of a trial.
    pub(super) fn way_back(&self) -> Option<&StorePath> {
        match self {
            Self::Committing(committing) => {
                let back = matches!(committing.origin, Origin::Rollback { .. });
                back.then_some(&committing.goal.system)
            }
            Self::Reverting(reverting) => Some(&reverting.order.system),
            _ => None,
        }
    }

    /// Whether no guard belongs to it: one that is armed is none of this update's.
    #[must_use]
    pub const fn has_no_guard(&self) -> bool {
        matches!(
            self,
            Self::Idle
                | Self::Fetching(_)
                | Self::Ready(_)
                | Self::Trial(Trial { target: None, .. })
        )
    }

    /// Whether what runs changes now, or is about to.
    #[must_use]
    pub const fn is_underway(&self) -> bool {
        match self {
            Self::Idle | Self::Fetching(_) | Self::Ready(_) => false,
            // What somebody switched to by hand is only looked at.
            Self::Trial(Trial { target: None, .. }) => false,
            // It waits for a moment to go back, and the robot works meanwhile.
            Self::Trial(Trial { late: Some(_), .. }) => false,
            Self::Trial(Trial { phase, .. }) => {
                !matches!(phase, Phase::Staging { .. } | Phase::Staged | Phase::Aiming)
            }
            Self::Committing(committing) => !committing.only_misses_entries(),
            Self::Reverting(reverting) => !reverting.only_misses_entries(),
            Self::Unknown(_) => true,
        }
    }
}

/// What a state is called that nobody was told of and that cannot be passed over: [`crate::untold`].
pub(crate) const UNTOLD: &str = "untold";

impl Unknown {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.read.get("name").and_then(Value::as_str).unwrap_or("")
    }

    /// The release that it is about.
    #[must_use]
    pub const fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// Why nothing is assumed of it, in words.
    #[must_use]
    pub fn why_the_robot_goes_back(&self) -> String {
        match self.name() {
            UNTOLD => "whoever asked for something may not have been told, and what was under way before that \
                       cannot be read"
                .to_owned(),
            name => format!(
                "another version of the agent wrote state '{name}', which this one does not know"
            ),
        }
    }
}

impl Trial {
    /// Whether the new system was booted, or may have been by now: then only a reboot leads back.
    #[must_use]
    pub fn may_be_booted(&self) -> bool {
        self.mode == Mode::Boot
            && matches!(
                self.phase,
                Phase::Aiming | Phase::Booting | Phase::Soaking { .. }
            )
    }

    /// Whether something failed while it waited to be left: then it proves nothing any more.
    #[must_use]
    pub fn failed_late(&self) -> bool {
        let late = self.late.as_ref();
        late.is_some_and(|found| found.is_verdict() && !found.blames_the_repository())
    }

    /// What it becomes once it is proven, `since` now.
    #[must_use]
    pub fn goal(&self, since: Option<Timestamp>) -> Generation {
        Generation {
            system: self.system.clone(),
            release: self.target.as_ref().map(|target| target.release.clone()),
            since,
        }
    }

    /// Why it is committed once it is proven.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        match self.target {
            Some(_) => Origin::Trial,
            None => Origin::Adopt,
        }
    }

    /// What commits it.
    #[must_use]
    pub const fn commit_action(&self) -> Action {
        match self.mode {
            Mode::Live => Action::Switch,
            // It runs already.
            Mode::Boot => Action::Boot,
        }
    }
}

impl Committing {
    /// The switch that is or was carried out.
    #[must_use]
    pub const fn order(&self) -> &Order {
        match &self.first {
            Some(first) => first,
            None => &self.order,
        }
    }

    /// Whether neither activations nor reboots have led to the system, and all of them are used up.
    #[must_use]
    pub fn never_arrives(&self) -> bool {
        (self.live.as_ref()).is_some_and(|live| live.falls >= MAX_FALLS + MAX_REBOOTS)
    }

    /// Whether the system was activated, and all that is left is to have profile and loader name it. Nothing
    /// that runs is touched for that.
    #[must_use]
    pub const fn only_misses_entries(&self) -> bool {
        self.live.is_some()
            && self.first.is_none()
            && matches!(self.order.action, Action::Boot)
            && !self.reboot
    }
}

impl Live {
    /// From now on.
    #[must_use]
    pub const fn since(boot: BootId) -> Self {
        Self {
            boot,
            falls: 0,
            by_the_loader: false,
        }
    }

    /// By the boot loader alone: the activations are used up from the beginning.
    #[must_use]
    pub const fn by_the_loader(boot: BootId) -> Self {
        Self {
            boot,
            falls: MAX_FALLS,
            by_the_loader: true,
        }
    }

    /// The robot went down on the way, and came up on another system in this boot.
    pub(crate) fn fell(&mut self, boot: &BootId) {
        self.falls = self.falls.saturating_add(1);
        self.boot.clone_from(boot);
    }
}

impl Reverting {
    /// Whether the system before runs, and all that is left is to have profile and loader name it. Nothing
    /// that runs is touched for that.
    #[must_use]
    pub const fn only_misses_entries(&self) -> bool {
        matches!(self.order.action, Action::Boot) && !self.reboot
    }

    /// Whether a commit was left that may have had profile and loader name something else. An older agent
    /// says that by ordering both halves at once.
    #[must_use]
    pub fn has_entries(&self) -> bool {
        self.entries || self.order.action == Action::Switch
    }

    /// Whether it began as an activation.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live.is_some() || self.order.action != Action::Boot
    }

    /// Another try, by this order.
    #[must_use]
    pub fn again(self, order: Order) -> Self {
        Self {
            order,
            attempts: self.attempts.saturating_add(1),
            ..self
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

    /// The switch that is carried out in it.
    #[must_use]
    pub const fn order(&self) -> Option<&Order> {
        match self {
            Self::Switching { order } | Self::Staging { order } => Some(order),
            _ => None,
        }
    }
}

impl Cause {
    /// Whether it says anything about the release. What does not may be tried again.
    #[must_use]
    pub const fn is_verdict(self) -> bool {
        !matches!(
            self,
            Self::Interrupted | Self::OneShotLost | Self::Withdrawn
        )
    }
}

impl Evidence {
    /// With no more than is remembered: a system of which everything fails must not make the journal
    /// larger than is ever read.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        shorten(&mut self.message, MAX_MESSAGE);
        self.failures.truncate(MAX_FAILURES);
        for failure in &mut self.failures {
            shorten(&mut failure.message, MAX_MESSAGE);
            last_lines(&mut failure.journal);
        }
        last_lines(&mut self.log);
        self
    }

    /// The sentence alone: what is remembered of releases that failed long ago.
    pub fn forget_material(&mut self) {
        self.failures.clear();
        self.log.clear();
    }

    /// Whether it says anything about the release. What does not may be tried again.
    #[must_use]
    pub fn is_verdict(&self) -> bool {
        self.cause.known().is_none_or(Cause::is_verdict)
    }

    /// Evidence from a switch that failed.
    #[must_use]
    pub fn of_switch(outcome: &Outcome, log: Vec<String>, failures: Vec<Failure>) -> Self {
        Self {
            cause: Word::Known(match outcome {
                Outcome::NeedsReboot => Cause::NeedsReboot,
                Outcome::NotStarted => Cause::NotStarted,
                cut_off if cut_off.was_cut_off() => Cause::Killed,
                _ => Cause::Switch,
            }),
            message: outcome.to_string(),
            failures,
            log,
        }
    }

    /// Evidence without further material.
    #[must_use]
    pub const fn plain(cause: Cause, message: String) -> Self {
        Self {
            cause: Word::Known(cause),
            message,
            failures: Vec::new(),
            log: Vec::new(),
        }
    }

    /// Whether it counts only if it comes again every time, and never with the system before: it may be the
    /// robot's own fault.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        matches!(self.cause.known(), Some(Cause::Killed | Cause::NotStarted))
    }

    /// Whether it says that another system ran, which somebody had switched to.
    #[must_use]
    pub fn names_another_system(&self) -> bool {
        health::names_another_system(&self.failures)
    }

    /// Whether the repository was not reached, whatever else was wrong.
    #[must_use]
    pub fn misses_the_repository(&self) -> bool {
        (self.failures.iter()).any(|failure| failure.check == Check::ManifestServer)
    }

    /// Whether all that was wrong is that the repository was not reached: that may be its own fault.
    #[must_use]
    pub fn blames_the_repository(&self) -> bool {
        self.blames_only(|check| *check == Check::ManifestServer)
    }

    /// Whether all that was wrong is that the Nix daemon did not answer: that may be its own fault.
    #[must_use]
    pub fn blames_the_nix_daemon(&self) -> bool {
        self.blames_only(|check| *check == Check::NixDaemon)
    }

    /// Whether nothing was wrong but what the system before is asked about as well.
    #[must_use]
    pub fn blames_its_surroundings(&self) -> bool {
        self.blames_only(Check::is_of_surroundings)
    }

    fn blames_only(&self, check: impl Fn(&Check) -> bool) -> bool {
        matches!(self.cause.known(), Some(Cause::Unhealthy | Cause::Deadline))
            && !self.failures.is_empty()
            && self.failures.iter().all(|failure| check(&failure.check))
    }
}
