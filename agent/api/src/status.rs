//! What the agent says of the robot's updates.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};
use surefoot_base::units::short_duration;
use surefoot_core::{
    StorePath,
    gate::{self, Closed, Stage},
    health, hold, journal, keep, lease,
    machine::state::{self, Cause},
    release::Name,
    time::Instant,
    word::Word,
};

/// What the agent is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Nothing to do, or waiting.
    #[default]
    Idle,
    /// Bringing the store paths that are missing.
    Fetching,
    /// Everything is here; the trial has not started.
    Ready,
    /// The new system runs and has to prove healthy.
    Trial,
    /// It has, and becomes the one that the robot starts with.
    Committing,
    /// It has not; going back to the confirmed system.
    Reverting,
    /// The journal has a state that only another version of the agent knows; the robot goes back.
    Unknown,
}

impl From<&state::State> for State {
    fn from(state: &state::State) -> Self {
        match state {
            state::State::Idle => Self::Idle,
            state::State::Fetching(_) => Self::Fetching,
            state::State::Ready(_) => Self::Ready,
            state::State::Trial(_) => Self::Trial,
            state::State::Committing(_) => Self::Committing,
            state::State::Reverting(_) => Self::Reverting,
            state::State::Unknown(_) => Self::Unknown,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Fetching => "fetching",
            Self::Ready => "ready",
            Self::Trial => "trial",
            Self::Committing => "committing",
            Self::Reverting => "reverting",
            Self::Unknown => "unknown",
        })
    }
}

/// A system, and when it became what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct System {
    /// Its store path.
    pub system: StorePath,
    /// The release that it came with, if it came with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Name>,
    /// Since when. For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

impl From<&state::Generation> for System {
    fn from(generation: &state::Generation) -> Self {
        Self {
            system: generation.system.clone(),
            release: generation.release.clone(),
            since: generation.since,
        }
    }
}

/// How far a fetch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Store paths that are done.
    pub paths: u64,
    /// Store paths that were missing.
    pub paths_total: u64,
    /// Bytes that were moved.
    pub bytes: u64,
    /// Bytes to move in all.
    pub bytes_total: u64,
    /// Bytes a second, lately.
    pub rate: u64,
    /// Store paths of the closure that were there already.
    #[serde(default)]
    pub already_present: u64,
    /// Bytes that an earlier try had brought.
    #[serde(default)]
    pub resumed_bytes: u64,
    /// Bytes that were moved, now or in an earlier try, and thrown away.
    #[serde(default)]
    pub wasted_bytes: u64,
    /// Bytes of what was there already that were read again, before anything is moved.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub verified_bytes: u64,
    /// Bytes to read so in all; 0 if nothing is read now.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub verify_bytes: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it on so")]
const fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

/// What fetches have moved within a day, which begins with its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Bytes that were moved.
    pub bytes: u64,
    /// Bytes that were thrown away: what a cache served was wrong, say.
    pub wasted_bytes: u64,
    /// Bytes that may be moved, if there is a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// Until the day ends.
    pub seconds_left: u64,
}

/// Room on the file system of the Nix store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Room {
    /// Bytes that are free.
    pub free_bytes: u64,
    /// Bytes of them that no fetch takes.
    pub reserved_bytes: u64,
}

/// What the agent waits for, and nothing comes of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stall {
    /// What, in words: "the fetch".
    pub what: String,
    /// How long nothing has come of it.
    pub seconds: u64,
    /// Whom it may wait for itself: who holds which lock of the Nix store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, seconds, why } = self;
        let time = short_duration(Duration::from_secs(*seconds));
        write!(f, "nothing has come of {what} for {time}")?;
        match why {
            Some(why) => write!(f, ": {why}"),
            None => Ok(()),
        }
    }
}

/// A release that is not tried again until something about it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockedRelease {
    /// The release.
    pub release: Name,
    /// Its system.
    pub system: StorePath,
    /// Why, in one word.
    pub cause: Word<Cause>,
    /// Why, in one sentence.
    pub why: String,
    /// The checks that failed.
    #[serde(default)]
    pub failures: Vec<Failure>,
    /// The last lines of the switch.
    #[serde(default)]
    pub log: Vec<String>,
    /// The file on the robot with the whole log of the switch. Root may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_file: Option<String>,
    /// When. For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Timestamp>,
}

impl From<&journal::Blocked> for BlockedRelease {
    fn from(blocked: &journal::Blocked) -> Self {
        Self {
            release: blocked.release.clone(),
            system: blocked.system.clone(),
            cause: blocked.evidence.cause.clone(),
            why: blocked.evidence.message.clone(),
            failures: (blocked.evidence.failures.iter().map(Into::into)).collect(),
            log: blocked.evidence.log.clone(),
            log_file: None,
            when: blocked.since,
        }
    }
}

/// A check of the health that did not pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Which one.
    pub check: String,
    /// What was wrong.
    pub message: String,
    /// The last lines of the unit's journal, oldest first.
    #[serde(default)]
    pub journal: Vec<String>,
}

impl From<&health::Failure> for Failure {
    fn from(failure: &health::Failure) -> Self {
        Self {
            check: failure.check.to_string(),
            message: failure.message.clone(),
            journal: failure.journal.clone(),
        }
    }
}

/// What a look at the health found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// What counts.
    #[serde(default)]
    pub failures: Vec<Failure>,
    /// What may still come right.
    #[serde(default)]
    pub pending: Vec<Failure>,
    /// What failed before the trial, too: it does not count.
    #[serde(default)]
    pub excused: Vec<Failure>,
    /// Units that somebody had stopped before the trial and that run now.
    #[serde(default)]
    pub started: Vec<String>,
}

impl Health {
    /// Everything that was found.
    pub fn all(&mut self) -> impl Iterator<Item = &mut Failure> {
        let counted = self.failures.iter_mut().chain(&mut self.pending);
        counted.chain(&mut self.excused)
    }
}

impl From<&health::Report> for Health {
    fn from(report: &health::Report) -> Self {
        let all = |found: &[health::Failure]| found.iter().map(Into::into).collect();
        Self {
            failures: all(&report.failures),
            pending: all(&report.pending),
            excused: all(&report.excused),
            started: report.started.clone(),
        }
    }
}

/// How far the soak of a trial is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Soak {
    /// How long the system on trial has been healthy without a break.
    pub healthy_seconds: u64,
    /// How long it has to be.
    pub needed_seconds: u64,
}

/// Somebody's word that nothing shall be switched now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HoldInfo {
    /// Who said so.
    pub owner: String,
    /// Why.
    pub why: String,
    /// Since when. For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Until it ends by itself; `None` if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
}

impl HoldInfo {
    /// A hold of the journal, as it is now.
    #[must_use]
    pub fn new(hold: &hold::Hold, now: Instant) -> Self {
        Self {
            owner: hold.owner.clone(),
            why: hold.why.clone(),
            since: hold.since,
            seconds_left: hold.ends().map(|end| end.since(now).as_secs()),
        }
    }
}

/// A system that somebody wants to keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptInfo {
    /// Which one.
    pub system: StorePath,
    /// The release that it came with, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Name>,
    /// Who wants that.
    pub by: String,
    /// Since when. For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

impl From<&keep::Kept> for KeptInfo {
    fn from(kept: &keep::Kept) -> Self {
        Self {
            system: kept.system.clone(),
            release: kept.release.clone(),
            by: kept.by.clone(),
            since: kept.since,
        }
    }
}

/// What the robot's software says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseInfo {
    /// What it speaks of.
    pub name: Name,
    /// Who said so.
    pub owner: String,
    /// Whether the robot must not be touched.
    pub busy: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Until it is not believed any more; `None` while a connection holds it, and where it is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
    /// Why nobody stands behind a busy lease any more. It stays busy until its owner says or ends it
    /// again, or a technician ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// Since when, in seconds from then to now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_seconds: Option<u64>,
}

impl LeaseInfo {
    /// A lease as it is now.
    #[must_use]
    pub fn new(lease: &lease::Lease, now: Instant) -> Self {
        let orphan = lease.orphan();
        let info = Self {
            name: lease.name.clone(),
            owner: lease.owner.name.clone(),
            busy: lease.busy,
            why: lease.why.clone(),
            seconds_left: lease.until().map(|until| until.since(now).as_secs()),
            lost: orphan.map(|(loss, _)| loss.to_string()),
            lost_seconds: orphan.map(|(_, since)| now.since(since).as_secs()),
        };
        info.aged(0)
    }

    /// The lease as it is so many seconds later, if nothing but time has passed.
    fn aged(mut self, by: u64) -> Self {
        self.lost_seconds = self.lost_seconds.map(|seconds| seconds + by);
        match self.seconds_left {
            // Time makes no "busy" a "free".
            Some(left) if left <= by && self.busy => {
                self.seconds_left = None;
                self.lost = Some(lease::Loss::Silent.to_string());
                self.lost_seconds = Some(by - left);
            }
            left => self.seconds_left = left.map(|left| left.saturating_sub(by)),
        }
        self
    }
}

/// A gate that keeps the robot from a step of its update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// Which step.
    pub stage: Word<Stage>,
    /// Which gate.
    pub gate: String,
    /// Why.
    pub why: String,
}

impl Gate {
    /// A gate that is closed for a stage.
    #[must_use]
    pub fn new(stage: Stage, closed: Closed) -> Self {
        let Closed { gate, why } = closed;
        Self {
            stage: stage.into(),
            gate,
            why,
        }
    }
}

/// What a check of the repository found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CheckResult {
    /// Nothing new.
    UpToDate,
    /// A release that the robot does not run.
    Found,
    /// The repository could not be read or was not believed.
    Failed,
}

/// The last check of the repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// When. For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Timestamp>,
    /// What it found.
    pub result: Word<CheckResult>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What the robot's clock is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClockState {
    /// Something keeps it.
    Trusted,
    /// Nothing keeps it: expired files may go unnoticed.
    Unsynced,
    /// It reads long before what was signed: judged as unsynced.
    Stepped,
}

/// How fresh the agent's knowledge of the repository is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Knowledge {
    /// When the newest of the files that are believed was signed, if its signer says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Timestamp>,
    /// When the first of them is not believed any more.
    pub expires: Timestamp,
    /// What the robot's clock was worth when that was judged.
    pub clock: Word<ClockState>,
}

/// Everything about the robot's updates.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusInfo {
    /// The agent's version.
    pub version: String,
    /// The robot's own id, if it has one: by it a release that goes out in steps comes to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The robot's model.
    pub model: String,
    /// The robot's labels, `KEY=VALUE`.
    pub labels: Vec<String>,
    /// The channel that it follows.
    pub channel: String,
    /// The repository's URL.
    pub repository: String,
    /// What the agent is doing.
    pub state: Word<State>,
    /// What it is doing and why, in one sentence.
    pub doing: String,
    /// Why the agent cannot decide anything now, if it cannot: its journal cannot be written, say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// What is wrong with the configuration on the disk, for which it is not in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// Why no room is kept on the disk for a way back, although it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_reserve: Option<String>,
    /// Why what the agent remembered was lost, if it was. It ends when a release is confirmed, or somebody asks
    /// for an update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// What somebody asked for who may have been told that it happens, and nothing came of it; in one sentence,
    /// until somebody asks again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unheard: Option<String>,
    /// Why a newer release is not taken yet, in one sentence: it goes out in steps, and the robot's turn
    /// comes later, say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<String>,
    /// The repository is being asked right now.
    pub checking: bool,
    /// What runs now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<System>,
    /// What was started last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub booted: Option<System>,
    /// The last system that was proven healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<System>,
    /// Systems that were confirmed before and are kept, newest first.
    pub fallbacks: Vec<System>,
    /// Systems that people want to keep.
    pub kept: Vec<KeptInfo>,
    /// What the robot is on its way to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<System>,
    /// How far the fetch is, while there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// What fetches have moved within a day; nothing if they have moved nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// Room in the store; nothing if that cannot be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<Room>,
    /// What the agent waits for, and nothing comes of.
    pub stalls: Vec<Stall>,
    /// What the last look at the health found, on trial or after a way back, compared with what was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// How far the soak of the trial is; nothing outside one, and while a check fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak: Option<Soak>,
    /// Paths of the store that are not what they should be, and what was found there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
    /// What a way back left worse than it was, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worse: Option<String>,
    /// Trials of a release that leave a doubt, and what they failed in, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
    /// What somebody else has the robot start at its next boot, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed: Option<String>,
    /// What was given up.
    pub blocked: Vec<BlockedRelease>,
    /// Who keeps the robot from switching.
    pub holds: Vec<HoldInfo>,
    /// What the robot's software says of itself.
    pub leases: Vec<LeaseInfo>,
    /// The gates that keep the robot from its next step.
    pub gates: Vec<Gate>,
    /// The last check of the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_check: Option<Check>,
    /// How fresh the knowledge of the repository is; nothing before the first check that was good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knowledge: Option<Knowledge>,
    /// Until the repository is asked again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_check_seconds: Option<u64>,
    /// What somebody changed by hand, in one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<String>,
    /// Who may see the evidence that was left out for this reader; nothing if none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence_withheld: Option<String>,
}

impl StatusInfo {
    /// The status without what services and commands of the robot printed: lines of their journals, the
    /// output of a switch, the words of gates. They may be secret; `readers` may see them.
    #[must_use]
    pub fn without_evidence(mut self, readers: String) -> Self {
        let mut withheld = false;
        let mut clear = |lines: &mut Vec<String>| {
            withheld |= !lines.is_empty();
            lines.clear();
        };
        for blocked in &mut self.blocked {
            clear(&mut blocked.log);
            for failure in &mut blocked.failures {
                clear(&mut failure.journal);
            }
        }
        for failure in self.health.iter_mut().flat_map(Health::all) {
            clear(&mut failure.journal);
        }
        for gate in (self.gates.iter_mut()).filter(|gate| gate::is_command(&gate.gate)) {
            withheld |= !gate.why.is_empty();
            gate.why.clear();
        }
        self.evidence_withheld = withheld.then_some(readers);
        self
    }

    /// The status as it is a while later, if nothing but time has passed.
    #[must_use]
    pub fn aged(&self, by: Duration) -> Self {
        let later = |seconds: Option<u64>| seconds.map(|s| s.saturating_sub(by.as_secs()));
        let mut aged = self.clone();
        aged.next_check_seconds = later(self.next_check_seconds);
        if let Some(soak) = &mut aged.soak {
            soak.healthy_seconds += by.as_secs();
        }
        aged.traffic = self.traffic.and_then(|mut traffic| {
            traffic.seconds_left = later(Some(traffic.seconds_left))?;
            (traffic.seconds_left > 0).then_some(traffic)
        });
        for stall in &mut aged.stalls {
            stall.seconds += by.as_secs();
        }
        for hold in &mut aged.holds {
            hold.seconds_left = later(hold.seconds_left);
        }
        let leases = aged.leases.into_iter();
        aged.leases = leases.map(|lease| lease.aged(by.as_secs())).collect();
        aged.leases.retain(|lease| lease.seconds_left != Some(0));
        aged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_lease_is_shown_until_somebody_ends_it() {
        let lease = |busy, seconds_left| LeaseInfo {
            name: "gripper".parse().unwrap(),
            owner: "ros".into(),
            busy,
            why: None,
            seconds_left,
            lost: None,
            lost_seconds: None,
        };
        let status = StatusInfo {
            leases: vec![
                lease(true, Some(10)),
                lease(false, Some(10)),
                lease(true, None),
            ],
            ..StatusInfo::default()
        };
        let left = |by| {
            let leases = status.aged(Duration::from_secs(by)).leases.into_iter();
            let seen = leases.map(|lease| (lease.busy, lease.seconds_left, lease.lost_seconds));
            seen.collect::<Vec<_>>()
        };
        assert_eq!(
            left(9),
            [
                (true, Some(1), None),
                (false, Some(1), None),
                (true, None, None)
            ]
        );
        assert_eq!(left(12), [(true, None, Some(2)), (true, None, None)]);
        let lost = status.aged(Duration::from_secs(12));
        let lost = lost.aged(Duration::from_secs(5)).leases;
        assert_eq!(
            lost[0].lost.as_deref(),
            Some("it was not said again in time")
        );
        assert_eq!(lost[0].lost_seconds, Some(7));
    }

    #[test]
    fn an_older_or_newer_agent_can_be_read() {
        let status: StatusInfo =
            serde_json::from_str(r#"{"state":"trial","weather":"fine"}"#).unwrap();
        assert_eq!(status.state, State::Trial);
        assert_eq!(status.blocked, []);
        // A word that only a newer agent knows is shown, and goes on as it came.
        let newer = r#"{"state":"rolling","lastCheck":{"result":"postponed"}}"#;
        let status: StatusInfo = serde_json::from_str(newer).unwrap();
        assert_eq!(status.state.to_string(), "rolling");
        let again = serde_json::to_value(&status).unwrap();
        assert_eq!(again["state"], "rolling");
        assert_eq!(again["lastCheck"]["result"], "postponed");
    }

    #[test]
    fn what_services_and_commands_printed_is_left_out() {
        let gate = |gate: &str, why: &str| Gate {
            stage: Stage::Activate.into(),
            gate: gate.into(),
            why: why.into(),
        };
        let full = StatusInfo {
            gates: vec![gate("command dock", "secret gate"), gate("battery", "3 %")],
            blocked: vec![BlockedRelease {
                release: "2".parse().unwrap(),
                system: StorePath::from_base_name("7rjj86a9d9vvbjg8c7i4r1f5vpm3k2d1-x").unwrap(),
                cause: Cause::Unhealthy.into(),
                why: "unit arm.service: failed".into(),
                failures: vec![Failure {
                    check: "unit arm.service".into(),
                    message: "failed".into(),
                    journal: vec!["secret journal".into()],
                }],
                log: vec!["secret switch".into()],
                log_file: None,
                when: None,
            }],
            health: Some(Health {
                excused: vec![Failure {
                    check: "unit backup.service".into(),
                    message: "failed".into(),
                    journal: vec!["secret journal".into()],
                }],
                ..Health::default()
            }),
            ..StatusInfo::default()
        };
        let seen = full.without_evidence("root".into());
        let text = serde_json::to_string(&seen).unwrap();
        assert!(!text.contains("secret"), "{text}");
        assert!(
            text.contains("unit arm.service: failed") && text.contains("3 %"),
            "{text}"
        );
        assert_eq!(seen.evidence_withheld.as_deref(), Some("root"));
        // Where there is nothing to leave out, nothing is said of it.
        let nothing = StatusInfo::default().without_evidence("root".into());
        assert_eq!(nothing, StatusInfo::default());
    }
}
