//! What the control socket says: the machine's state in words and numbers.

use crate::{
    config::Config,
    robot::{clock, identity, nixos},
    state::logs,
};
use jiff::Timestamp;
use std::{collections::BTreeMap, path::Path, time::Duration};
use surefoot_api::{
    BlockedRelease, Check, CheckResult, Gate, HoldInfo, Knowledge, LeaseInfo, Progress, Room, Soak,
    StatusInfo, System, Traffic, Word,
};
use surefoot_base::space;
use surefoot_core::{
    StorePath,
    gate::{self, Closed, Stage},
    journal::Journal,
    machine::{
        Machine, Policy,
        state::{Phase, State},
    },
    release::Name,
    store_path::STORE_DIR,
    time::Instant,
    untold::Untold,
};
use surefoot_store::progress;

/// The last look at the repository.
#[derive(Debug, Clone)]
pub(crate) struct LastCheck {
    at: Timestamp,
    result: Result<Offer, String>,
}

/// What the repository has for this robot.
#[derive(Debug, Clone)]
pub(crate) enum Offer {
    /// Nothing, or not yet.
    Nothing,
    /// What it runs.
    Same,
    /// Something else.
    News,
    /// What failed here before.
    Blocked(Name),
    /// What asks for more than this agent knows.
    Left,
}

impl LastCheck {
    /// What was found, or why nothing could be.
    pub(crate) fn new(result: Result<Offer, String>) -> Self {
        Self {
            at: Timestamp::now(),
            result,
        }
    }
}

/// Turns the fetcher's counters into progress with a rate.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    progress: Option<Progress>,
    seen: progress::Status,
    last: Option<(Instant, u64)>,
    /// Bytes that were moved, and those thrown away, up to the last count.
    counted: (u64, u64),
}

impl Meter {
    /// Whether anything has moved since this was asked last.
    pub(crate) fn moved(&mut self, status: &progress::Status) -> bool {
        std::mem::replace(&mut self.seen, *status) != *status
    }

    /// Takes a reading; `false` if the last one was a moment ago and nothing ended since.
    pub(crate) fn take(&mut self, status: &progress::Status, now: Instant) -> bool {
        let whole = status.paths_done == status.paths;
        if let Some((at, _)) = self.last
            && now.since(at) < Duration::from_millis(500)
            && !whole
        {
            return false;
        }
        let rate = self.last.map_or(0, |(at, bytes)| {
            let millis = u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
            status.wire_bytes.saturating_sub(bytes) * 1000 / millis.max(1)
        });
        self.last = Some((now, status.wire_bytes));
        self.progress = Some(Progress {
            paths: status.paths_done,
            paths_total: status.paths,
            bytes: status.downloaded,
            bytes_total: status.download_bytes,
            rate,
            already_present: status.already_present,
            resumed_bytes: status.resumed,
            wasted_bytes: status.wasted,
            verified_bytes: status.verified,
            verify_bytes: status.verify_bytes,
        });
        true
    }

    /// Bytes that were moved, and those thrown away, since the last count.
    pub(crate) const fn count(&mut self, status: &progress::Status) -> (u64, u64) {
        let (bytes, wasted) = self.counted;
        self.counted = (status.wire_bytes, status.wasted);
        (
            status.wire_bytes.saturating_sub(bytes),
            status.wasted.saturating_sub(wasted),
        )
    }

    /// The last reading.
    pub(crate) const fn progress(&self) -> Option<Progress> {
        self.progress
    }
}

/// Everything that can be said.
pub(crate) fn of(
    machine: &Machine,
    config: &Config,
    policy: &Policy,
    last_check: Option<&LastCheck>,
    progress: Option<Progress>,
    knowledge: Option<Knowledge>,
    fault: Option<&str>,
) -> StatusInfo {
    let (journal, now) = (machine.journal(), clock::since_boot());
    let closed = machine.closed(policy, now);
    StatusInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        id: identity::of(config).id.map(|id| id.to_string()),
        model: config.model.to_string(),
        labels: (config.labels.iter())
            .map(|label| label.0.to_string())
            .collect(),
        channel: config.channel.to_string(),
        repository: config.repository.to_string(),
        state: surefoot_api::State::from(&journal.state).into(),
        doing: match fault {
            Some(fault) => format!("nothing is decided: {fault}"),
            None => doing(machine, config, last_check, &closed),
        },
        fault: fault.map(ToOwned::to_owned),
        configuration: None,
        no_reserve: None,
        lost: journal.lost.as_ref().map(|loss| loss.why.clone()),
        unheard: journal.unheard.as_ref().map(Untold::message),
        turn: machine.turn().map(ToOwned::to_owned),
        checking: machine.polling(),
        running: nixos::system(nixos::CURRENT).map(|path| known(journal, path)),
        booted: nixos::system(nixos::BOOTED).map(|path| known(journal, path)),
        confirmed: journal.confirmed.as_ref().map(Into::into),
        fallbacks: journal.fallbacks.iter().map(Into::into).collect(),
        kept: journal.kept.iter().map(Into::into).collect(),
        target: target(journal),
        progress: progress.filter(|_| matches!(journal.state, State::Fetching(_))),
        traffic: traffic(machine, policy, now),
        health: machine.health().map(Into::into),
        soak: machine.healthy_for(now).map(|healthy| Soak {
            healthy_seconds: healthy.as_secs(),
            needed_seconds: policy.soak.as_secs(),
        }),
        worse: worse(journal),
        doubt: doubt(journal, policy),
        changed: machine.changed().map(ToOwned::to_owned),
        blocked: (journal.blocked.iter())
            .map(|blocked| BlockedRelease {
                log_file: logs::of(&config.state_dir, &blocked.system)
                    .map(|path| path.display().to_string()),
                ..blocked.into()
            })
            .collect(),
        holds: journal
            .holds
            .iter()
            .map(|hold| HoldInfo::new(hold, now))
            .collect(),
        leases: (machine.leases().iter())
            .filter(|lease| lease.busy || lease.until().is_none_or(|until| now < until))
            .map(|lease| LeaseInfo::new(lease, now))
            .collect(),
        gates: (closed.into_iter())
            .flat_map(|(stage, closed)| closed.into_iter().map(move |gate| Gate::new(stage, gate)))
            .collect(),
        last_check: last_check.map(|check| Check {
            when: Some(check.at),
            result: Word::Known(match &check.result {
                Ok(Offer::News | Offer::Blocked(_) | Offer::Left) => CheckResult::Found,
                Ok(Offer::Same | Offer::Nothing) => CheckResult::UpToDate,
                Err(_) => CheckResult::Failed,
            }),
            error: check.result.as_ref().err().cloned(),
        }),
        knowledge,
        next_check_seconds: machine.next_poll().map(|at| at.since(now).as_secs()),
        evidence_withheld: None,
        room: space::free(Path::new(STORE_DIR)).ok().map(|free| Room {
            free_bytes: free,
            reserved_bytes: config.fetch.reserve.0,
        }),
        stalls: Vec::new(),
        damaged: Vec::new(),
        drift: machine
            .drift()
            .map(|system| format!("{system} runs, and it was not the agent that switched to it")),
    }
}

/// What a way back left worse than it was.
fn worse(journal: &Journal) -> Option<String> {
    let aftermath = journal.aftermath.as_ref()?;
    let found = aftermath.worse.iter();
    let found: Vec<String> = found
        .map(|failure| format!("{}: {}", failure.check, failure.message))
        .collect();
    (!found.is_empty()).then(|| {
        format!(
            "the way back from {} left the robot worse than it was before that trial{}: {}",
            aftermath.failed,
            if aftermath.rebooted {
                ", and a reboot did not help"
            } else {
                ""
            },
            found.join("; ")
        )
    })
}

/// The trials of a release that leave a doubt.
fn doubt(journal: &Journal, policy: &Policy) -> Option<String> {
    let attempts = journal.attempts.as_ref()?;
    let checks = attempts.checks.iter();
    let checks: Vec<String> = checks
        .map(|(check, trials)| format!("'{check}' in {trials} of its trials"))
        .collect();
    (!checks.is_empty()).then(|| {
        format!(
            "release {} failed in {}, and the system before does not; {} of one kind block it",
            attempts.release,
            checks.join(", "),
            policy.trial_attempts
        )
    })
}

/// What fetches have moved within a day.
fn traffic(machine: &Machine, policy: &Policy, now: Instant) -> Option<Traffic> {
    let traffic = machine.traffic(now);
    let ends = traffic.ends()?;
    Some(Traffic {
        bytes: traffic.bytes(),
        wasted_bytes: traffic.wasted(),
        limit_bytes: (policy.daily_limit > 0).then_some(policy.daily_limit),
        seconds_left: ends.since(now).as_secs(),
    })
}

/// A running system, with what the journal knows of it.
fn known(journal: &Journal, path: StorePath) -> System {
    let mut generations = journal.confirmed.iter().chain(&journal.fallbacks);
    if let Some(generation) = generations.find(|generation| generation.system == path) {
        return generation.into();
    }
    let release = journal
        .state
        .target()
        .filter(|target| target.system == path)
        .map(|target| target.release.clone());
    System {
        system: path,
        release,
        since: None,
    }
}

/// Where the robot is on its way to.
fn target(journal: &Journal) -> Option<System> {
    match &journal.state {
        State::Committing(committing) => Some((&committing.goal).into()),
        State::Reverting(reverting) => Some(known(journal, reverting.order.system.clone())),
        state => state.next().map(|system| known(journal, system.clone())),
    }
}

/// What the step that is waited for waits for, in a few words.
fn state_waits(stage: Option<Stage>, waits: impl Fn(Stage) -> Option<String>) -> String {
    let closed = stage.and_then(waits);
    closed.map_or_else(String::new, |why| format!(" ({why})"))
}

/// Gates in one line, for everybody: what a command printed is shown beside, to those who may see it.
fn waits_for(closed: &[Closed]) -> String {
    let texts: Vec<String> = (closed.iter())
        .map(|closed| match gate::is_command(&closed.gate) {
            true => closed.gate.clone(),
            false => closed.to_string(),
        })
        .collect();
    texts.join(", ")
}

/// One sentence for people and for `systemctl status`, which shows it to everybody: it has nothing in
/// it that a service or a command of the configuration printed.
fn doing(
    machine: &Machine,
    config: &Config,
    last_check: Option<&LastCheck>,
    closed: &BTreeMap<Stage, Vec<Closed>>,
) -> String {
    let journal = machine.journal();
    let name = |release: Option<String>| {
        release.map_or_else(|| "a system".to_owned(), |r| format!("release {r}"))
    };
    let release = name(journal.state.target().map(|t| t.release.to_string()));
    let problem = machine
        .problem()
        .map(|problem| format!("; {problem}"))
        .unwrap_or_default();
    let waits = |stage| closed.get(&stage).map(|closed| waits_for(closed));
    match &journal.state {
        State::Idle if machine.drift().is_some() => {
            "somebody switched by hand; updates wait until that is settled".to_owned()
        }
        State::Idle => match (waits(Stage::Check), machine.problem().or(machine.turn())) {
            (Some(why), _) => format!("waiting to check: {why}"),
            (None, Some(why)) => format!("waiting: {why}"),
            (None, None) => match last_check.map(|check| &check.result) {
                Some(Ok(Offer::Nothing)) => format!(
                    "channel {} has nothing for model {}; waiting for a release",
                    config.channel, config.model
                ),
                Some(Ok(Offer::Blocked(release))) => {
                    format!("release {release} did not work here; waiting for another one")
                }
                _ => "up to date".to_owned(),
            },
        },
        State::Fetching(_) => match waits(Stage::Download) {
            Some(why) => format!("{release} waits to be fetched: {why}"),
            None => format!("fetching {release}{problem}"),
        },
        State::Ready(_) => match journal.holds.first() {
            Some(hold) => format!(
                "{release} waits: {} holds it back ({})",
                hold.owner, hold.why
            ),
            None => match waits(Stage::Activate) {
                Some(why) => format!("{release} waits: {why}"),
                None => format!("{release} is here{problem}"),
            },
        },
        State::Trial(trial) => match trial.phase {
            Phase::Arming | Phase::Staging { .. } | Phase::Aiming => {
                format!("about to try {release}")
            }
            Phase::Staged => match journal.holds.first() {
                Some(hold) => format!(
                    "{release} waits for a reboot: {} holds it back ({})",
                    hold.owner, hold.why
                ),
                None => match waits(Stage::Reboot) {
                    Some(why) => format!("{release} waits for a reboot: {why}"),
                    None => format!("{release} waits for a reboot"),
                },
            },
            Phase::Booting => format!("rebooting to try {release}"),
            Phase::Switching { .. } => format!("switching to {release} on trial"),
            Phase::Soaking { .. } if trial.late.is_some() => {
                let waits = state_waits(journal.state.waits_for(), waits);
                format!("{release} waits to be left{waits}{problem}")
            }
            Phase::Soaking { .. } => match machine.health() {
                Some(report) if !report.healthy() => {
                    format!("{release} is on trial and unhealthy: {}", report.summary())
                }
                _ => format!("{release} is on trial and has to stay healthy"),
            },
        },
        State::Committing(committing) if committing.only_misses_entries() => {
            format!(
                "having profile and boot loader name {}{problem}",
                committing.goal.system
            )
        }
        State::Committing(committing) => {
            let release = name(committing.goal.release.as_ref().map(ToString::to_string));
            format!("making {release} the one that the robot starts with{problem}")
        }
        State::Unknown(unknown) => machine.problem().map_or_else(
            || {
                let why = unknown.why_the_robot_goes_back();
                format!("{why}; its switch still runs")
            },
            ToOwned::to_owned,
        ),
        State::Reverting(reverting) if reverting.only_misses_entries() => format!(
            "having profile and boot loader name {} after: {}{problem}",
            reverting.order.system, reverting.evidence.message
        ),
        State::Reverting(reverting) => format!(
            "going back to {}: {}{problem}",
            reverting.order.system, reverting.evidence.message
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use surefoot_core::{
        journal::{Journal, Loss},
        lease::Leases,
    };

    #[test]
    fn a_lost_memory_is_shown_whatever_else_is_to_be_said() {
        let journal = Journal {
            lost: Some(Loss::because("both slots are damaged")),
            ..Journal::default()
        };
        let machine = Machine::new(journal, Leases::default());
        let config = config::tests::good(&[config::tests::MINIMAL]);
        let policy = Policy::from(&config);
        for fault in [None, Some("the disk is full")] {
            let status = of(&machine, &config, &policy, None, None, None, fault);
            assert!(status.lost.unwrap().contains("both slots are damaged"));
        }
    }
}
