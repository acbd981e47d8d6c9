//! One step in the making, and what all steps share: changing the state, numbering orders, blocking
//! releases, telling what happened.

use super::{context::Context, effect::Effect, memory::Memory};
use crate::{
    StorePath,
    disturbance::{Disturbances, What},
    events::{self, Occurrence},
    journal::{self, Blocked, Journal, MAX_BLOCKED, MAX_HISTORY, MAX_IN_FULL, Record},
    machine::state::{Evidence, MAX_MESSAGE, Phase, State, shorten},
    release::{Name, Target},
    switch::{Action, Order, Purpose},
    time::Instant,
};

/// One step in the making. The files beside this one add the steps: `on_…` answers an event,
/// `tick_…` a time that has come, each in the file of the state that it works in.
pub(super) struct Decision<'a> {
    pub(super) journal: Journal,
    pub(super) memory: Memory,
    pub(super) effects: Vec<Effect>,
    pub(super) occurrences: Vec<Occurrence>,
    /// A hold or a lease that held the robot back has ended in this step.
    pub(super) freed: bool,
    pub(super) cx: &'a Context<'a>,
}

/// What a tick is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    /// The present state is to try again.
    pub(super) retry: bool,
    /// The repository is to be asked.
    pub(super) poll: bool,
}

/// How long the reason of a way back may grow by people who ask for it again, bytes.
const MAX_ASKED: usize = 2_000;

/// Adds what somebody says to a reason that goes into the history, which nobody may fill by asking.
pub(super) fn add_words(why: &mut String, asked: &str) {
    if why.len() + asked.len() < MAX_ASKED {
        *why = format!("{why}; {asked}");
    }
}

impl Decision<'_> {
    /// What is due now; drops what has ended.
    pub(super) fn due(&mut self) -> Due {
        let now = self.cx.now;
        self.expire();
        Due {
            retry: self.memory.retry.take_if(|at| *at <= now).is_some(),
            poll: self.memory.next_poll.is_some_and(|at| at <= now),
        }
    }

    /// Goes to another state, or begins the same one anew. No problem of the one before goes along,
    /// except into rest.
    pub(super) fn go(&mut self, state: State) {
        if state == State::Idle && self.journal.state.may_have_changed_what_ran() {
            self.begin_aftermath();
            self.leave_nothing_behind();
        }
        self.memory.enter(&state);
        if matches!(state, State::Idle | State::Fetching(_) | State::Ready(_)) {
            self.journal.baseline = None;
            if let State::Trial(trial) = &self.journal.state
                && (trial.phase == Phase::Arming || state != State::Idle)
            {
                // Nothing was tried: what somebody installed meanwhile was installed during no trial.
                self.journal.named_before = None;
            }
        }
        self.journal.state = state;
    }

    /// Says what is wrong with the present state.
    pub(super) fn report(&mut self, problem: String) {
        self.memory.problem = Some(problem);
    }

    /// Comes to rest because of a problem.
    pub(super) fn rest_with(&mut self, problem: String) {
        self.go(State::Idle);
        self.report(problem);
    }

    /// Stays where it is because of a problem, and tries again at this time.
    pub(super) fn wait_with(&mut self, problem: String, until: Instant) {
        self.report(problem);
        self.memory.retry = Some(until);
    }

    /// The robot is about to be disturbed by this system: counted, unless it is the first time.
    pub(super) fn disturb(&mut self, system: &StorePath, what: What) {
        let (boot, now) = (self.cx.boot, self.cx.now);
        match &mut self.journal.disturbances {
            Some(before) => before.begin(system, what, boot, now),
            none => *none = Some(Disturbances::first(system.clone(), boot.clone(), now)),
        }
    }

    /// What was counted last did not disturb the robot after all.
    pub(super) fn was_undisturbed(&mut self) {
        (self.journal.disturbances).take_if(|counted| !counted.take_back());
    }

    /// Why the robot is left alone with this system for now, if so.
    pub(super) fn stands_still(&self, system: &StorePath) -> Option<String> {
        let (boot, now, most) = (self.cx.boot, self.cx.now, self.cx.policy.disturbances);
        let counted = self.journal.disturbances.as_ref()?;
        let until = counted.used_up(system, most, boot, now)?;
        Some(format!(
            "the robot was disturbed {most} times within a day by what was begun again, and nothing says \
             that this was a release's fault; it stands still for {} min, or until there is a newer \
             release or somebody asks for `surefoot update`",
            until.since(now).as_secs().div_ceil(60)
        ))
    }

    pub(super) fn order(
        &mut self,
        purpose: Purpose,
        system: StorePath,
        action: Action,
        no_check: bool,
    ) -> Order {
        self.journal.units += 1;
        Order {
            unit: format!("{}{}.service", purpose.prefix(), self.journal.units),
            system,
            action,
            default: None,
            remove: None,
            timeout: self.cx.policy.switch_timeout,
            no_check,
        }
    }

    pub(super) fn blocked(
        &self,
        release: &Name,
        system: &StorePath,
        evidence: Evidence,
    ) -> Blocked {
        Blocked {
            release: release.clone(),
            system: system.clone(),
            evidence: evidence.shortened(),
            since: self.cx.wall,
        }
    }

    pub(super) fn block(&mut self, target: &Target, evidence: Evidence) {
        self.push_blocked(self.blocked(&target.release, &target.system, evidence));
    }

    pub(super) fn push_blocked(&mut self, entry: Blocked) {
        self.happened(events::Kind::Blocked {
            release: entry.release.clone(),
            system: entry.system.clone(),
            cause: entry.evidence.cause.clone(),
        });
        let blocked = &mut self.journal.blocked;
        blocked.retain(|b| b.release != entry.release || b.system != entry.system);
        blocked.push(entry);
        let surplus = blocked.len().saturating_sub(MAX_BLOCKED);
        blocked.drain(..surplus);
        let old = blocked.len().saturating_sub(MAX_IN_FULL);
        for entry in &mut blocked[..old] {
            entry.evidence.forget_material();
        }
    }

    /// Something is worth telling. The history is what it keeps of this.
    pub(super) fn happened(&mut self, kind: events::Kind) {
        if let events::Kind::Milestone(record) = &kind {
            let history = &mut self.journal.history;
            history.push(record.clone());
            let surplus = history.len().saturating_sub(MAX_HISTORY);
            history.drain(..surplus);
        }
        self.memory.seq += 1;
        self.occurrences.push(Occurrence {
            seq: self.memory.seq,
            kind,
        });
    }

    /// A trial ended: with this, or it was confirmed.
    pub(super) fn trial_ended(
        &mut self,
        outcome: journal::What,
        system: StorePath,
        release: Option<Name>,
        evidence: Option<Evidence>,
    ) {
        let why = evidence.as_ref().map(|evidence| evidence.message.clone());
        self.record(outcome, system.clone(), release.clone(), why, None);
        self.happened(events::Kind::TrialEnded {
            system,
            release,
            outcome,
            evidence: evidence.map(Evidence::shortened),
        });
    }

    /// A milestone in the life of a system.
    pub(super) fn record(
        &mut self,
        what: journal::What,
        system: StorePath,
        release: Option<Name>,
        why: Option<String>,
        by: Option<String>,
    ) {
        let short = |text: Option<String>| {
            text.map(|mut text| {
                shorten(&mut text, MAX_MESSAGE);
                text
            })
        };
        let (why, by) = (short(why), short(by));
        self.happened(events::Kind::Milestone(Record {
            what: what.into(),
            system,
            release,
            why,
            by,
            at: self.cx.wall,
        }));
    }
}
