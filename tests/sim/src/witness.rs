//! What was seen of a robot without believing its agent: who holds it, whether it is busy, how healthy
//! it was. The properties compare the agent's deeds with this.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use surefoot_core::{
    StorePath,
    gate::Stage,
    journal::{Journal, What},
    lease::{Holder, Required},
    machine::{
        Answer, Effect, Event, Request,
        state::{Origin, State},
    },
    release::Name,
    switch::{Outcome, Purpose},
    time::Instant,
    traffic::DAY,
};

/// A release and the system that it brings: with another system, it is another release.
pub(crate) type Brought = (Name, StorePath);

/// A hold that was granted.
#[derive(Debug, Clone)]
struct Hold {
    length: Option<Duration>,
    /// When it ends, in the boot of this number.
    until: Option<Instant>,
    boot: u64,
}

/// A lease that was granted.
#[derive(Debug, Clone)]
struct Said {
    busy: bool,
    /// Until when it counts, if it is a "free" of some time: a "busy" counts until somebody ends it.
    until: Option<Instant>,
    /// The connection without which it does not count, if it is a "free".
    by: Option<Holder>,
}

/// What did not do well at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Before {
    pub(crate) job_failed: bool,
    pub(crate) service_ended: bool,
}

/// A rollback that was granted.
#[derive(Debug, Clone)]
pub(crate) struct Rollback {
    /// Why: no other one has the same reason.
    pub(crate) why: String,
    /// Whether a switch that was made to fail explains why it was not done.
    pub(crate) excused: bool,
}

/// What somebody who stands beside the robot knows.
#[derive(Debug, Clone, Default)]
pub struct Witness {
    holds: BTreeMap<String, Hold>,
    leases: BTreeMap<Name, Said>,
    gates: BTreeMap<Stage, bool>,
    healthy: Option<(StorePath, Instant)>,
    /// How long the robot has run, all boots together, and up to when in this one that is counted.
    uptime: (Duration, Instant),
    /// What the robot was disturbed by, when on that clock, and whether that was not the first time.
    disturbed: Vec<(StorePath, Duration, bool)>,
    /// Whether somebody else switched since the present trial began: what was before it is not what the
    /// agent looked at.
    pub(crate) meddled: bool,
    /// What did not do well when the robot was looked at last before a trial.
    pub(crate) before: Before,
    /// What was ever confirmed.
    pub(crate) confirmed: BTreeSet<StorePath>,
    /// Releases that failed here.
    pub(crate) failed: BTreeSet<Brought>,
    /// Trials of each release, undisturbed.
    pub(crate) trials: BTreeMap<Brought, u32>,
    /// Reboots that the agent ordered, undisturbed.
    pub(crate) reboots: u32,
    pub(crate) rollbacks: Vec<Rollback>,
}

impl Witness {
    /// From now on, nothing disturbs it: counts anew.
    pub fn leaves_alone(&mut self) {
        self.trials.clear();
        self.reboots = 0;
    }

    /// Switches are made to fail: what was granted need not be done.
    pub(crate) fn excuses(&mut self) {
        for rollback in &mut self.rollbacks {
            rollback.excused = true;
        }
    }

    pub(crate) fn forgets_health(&mut self) {
        self.healthy = None;
    }

    /// The robot is disturbed by this system.
    pub(crate) fn is_disturbed(&mut self, by: &StorePath) {
        let again = self.was_disturbed(by);
        self.disturbed.push((by.clone(), self.uptime.0, again));
    }

    /// The system that disturbed it last proved itself.
    fn is_proven(&mut self, system: &StorePath) {
        if (self.disturbed.last()).is_some_and(|(last, ..)| last == system) {
            self.disturbed.clear();
        }
    }

    fn today(&self) -> impl Iterator<Item = &(StorePath, Duration, bool)> {
        let is_today = |time: Duration| self.uptime.0 - time < DAY;
        (self.disturbed.iter()).filter(move |(_, time, _)| is_today(*time))
    }

    /// Whether it was disturbed by this system within a day of running.
    pub(crate) fn was_disturbed(&self, by: &StorePath) -> bool {
        self.today().any(|(before, ..)| before == by)
    }

    /// How often it was disturbed again within a day of running, by whatever.
    pub(crate) fn times_again(&self) -> usize {
        self.today().filter(|(.., again)| *again).count()
    }

    fn time_passes(&mut self, now: Instant) {
        let (uptime, until) = &mut self.uptime;
        *uptime += now.since(*until);
        *until = now;
    }

    /// The robot has booted: nothing that was said holds, nothing that was asked was answered.
    pub(crate) fn boots(&mut self, now: Instant) {
        self.time_passes(now);
        self.uptime.1 = Instant::default();
        let lasts = |hold: &Hold| hold.until.is_none_or(|until| now < until);
        self.holds.retain(|_, hold| lasts(hold));
        self.leases.clear();
        self.gates.clear();
        self.healthy = None;
    }

    /// The agent starts: holds count their whole time again in a new boot.
    pub(crate) fn starts(&mut self, boot: u64, now: Instant) {
        self.gates.clear();
        self.leases.retain(|_, said| said.busy || said.by.is_none());
        for hold in self.holds.values_mut().filter(|hold| hold.boot != boot) {
            hold.boot = boot;
            hold.until = hold.length.map(|length| now + length);
        }
    }

    /// The agent is told something.
    pub(crate) fn sees(&mut self, event: &Event, now: Instant, current: &StorePath) {
        self.time_passes(now);
        match event {
            Event::SwitchEnded {
                outcome: Outcome::Locked | Outcome::NeedsReboot,
                unit,
                ..
            } if unit.starts_with(Purpose::Trial.prefix()) => {
                // Nothing was done.
                self.disturbed.pop();
            }
            // A person says go. The agent may end right after it has written that down.
            Event::Asked(Request::Update) => self.disturbed.clear(),
            // So does one who wants a release tried again; what stays blocked is read again.
            Event::Asked(Request::Unblock { what, .. }) => {
                let named = self.failed.iter();
                let named = named.filter(|(release, system)| what.names(system, Some(release)));
                let named: BTreeSet<_> = named.map(|(_, system)| system.clone()).collect();
                self.failed.retain(|(_, system)| !named.contains(system));
            }
            Event::Gates { stage, closed } => {
                self.gates.insert(*stage, closed.is_empty());
            }
            Event::Probed(report) if report.healthy() => {
                let since = self.healthy.take().filter(|(of, _)| of == current);
                self.healthy = since.or_else(|| Some((current.clone(), now)));
            }
            Event::Probed(_) => self.healthy = None,
            Event::HolderLost(holder) => {
                (self.leases).retain(|_, said| said.busy || said.by != Some(*holder));
            }
            // Granted or not: what may have ended is not relied on.
            Event::Asked(Request::Resume { by: None }) => self.holds.clear(),
            Event::Asked(Request::Resume { by: Some(by) } | Request::Hold { by, .. }) => {
                self.holds.remove(by);
            }
            _ => {}
        }
    }

    /// A request was answered.
    pub(crate) fn answered(
        &mut self,
        event: &Event,
        answer: Option<&Answer>,
        boot: u64,
        now: Instant,
    ) {
        let (Event::Asked(request), Some(Ok(_))) = (event, answer) else {
            return;
        };
        match request {
            Request::Hold { length, by, .. } => {
                let until = length.map(|length| now + length);
                let length = *length;
                let hold = Hold {
                    length,
                    until,
                    boot,
                };
                self.holds.insert(by.clone(), hold);
            }
            Request::Lease {
                name,
                busy,
                ttl,
                over,
                ..
            } => {
                let said = Said {
                    busy: *busy,
                    until: ttl.map(|ttl| now + ttl),
                    by: ttl.is_none().then_some(*over),
                };
                self.leases.insert(name.clone(), said);
            }
            Request::EndLease { name, .. } => {
                self.leases.remove(name);
            }
            Request::Rollback { why, end_holds, .. } => {
                if *end_holds {
                    self.holds.clear();
                }
                self.rollbacks.push(Rollback {
                    why: why.clone(),
                    excused: false,
                });
            }
            Request::Update
            | Request::Keep { .. }
            | Request::Unblock { .. }
            | Request::Resume { .. } => {}
        }
    }

    /// The agent changed its journal.
    pub(crate) fn reads(&mut self, before: &Journal, after: &Journal) {
        let proven = after.proven().map(|proven| proven.system.clone());
        self.confirmed.extend(proven);
        for blocked in &after.blocked {
            let brought = (blocked.release.clone(), blocked.system.clone());
            self.failed.insert(brought);
        }
        // What waited when a person went back does not come by itself.
        if let (State::Committing(commit), Some(target)) = (&after.state, before.state.target())
            && matches!(before.state, State::Fetching(_) | State::Ready(_))
            && matches!(commit.origin, Origin::Rollback { .. })
            && target.system != commit.goal.system
            && after.confirmed.as_ref().is_some_and(|confirmed| {
                confirmed.system != commit.goal.system && confirmed.system != target.system
            })
        {
            let brought = (target.release.clone(), target.system.clone());
            self.failed.insert(brought);
        }
        if let Some(goal) = went_back_to(before, after) {
            self.failed.retain(|(_, system)| system != goal);
        }
        if began(before, after)
            && let Some(target) = after.state.target()
        {
            self.meddled = false;
            let brought = (target.release.clone(), target.system.clone());
            *self.trials.entry(brought).or_default() += 1;
        }
        if let State::Committing(commit) = &before.state
            && matches!(commit.origin, Origin::Trial | Origin::Rollback { .. })
            && after.state == State::Idle
        {
            self.is_proven(&commit.goal.system);
        }
    }

    /// The agent has something done.
    pub(crate) fn does(&mut self, effect: &Effect) {
        match effect {
            Effect::Switch(_) | Effect::AimBoot { .. } => self.healthy = None,
            Effect::Reboot(_) => self.reboots += 1,
            _ => {}
        }
    }

    /// Who holds the robot now, besides this one.
    pub(crate) fn held_by(&self, now: Instant, besides: Option<&str>) -> Option<&str> {
        let mut holds = self.holds.iter();
        let lasts = |hold: &Hold| hold.until.is_none_or(|until| now < until);
        holds
            .find(|(by, hold)| besides != Some(by.as_str()) && lasts(hold))
            .map(|(by, _)| by.as_str())
    }

    /// The lease because of which the robot must not be touched now.
    pub(crate) fn busy_by(&self, required: &[Required], now: Instant) -> Option<String> {
        let live = |said: &Said| said.busy || said.until.is_none_or(|until| now < until);
        let busy = self.leases.iter().find(|(_, said)| said.busy);
        let silent = || {
            let mut names = required.iter();
            names.find(|rule| !self.leases.get(&rule.name).is_some_and(live))
        };
        match busy {
            Some((name, _)) => Some(format!("{name} is busy")),
            None => silent().map(|rule| format!("{} is silent", rule.name)),
        }
    }

    /// Whether the gates of a stage said that it may go on when they were asked last.
    pub(crate) fn open(&self, stage: Stage) -> bool {
        self.gates.get(&stage) == Some(&true)
    }

    /// For how long this system has been healthy without a break.
    pub(crate) fn healthy_for(&self, system: &StorePath, now: Instant) -> Option<Duration> {
        let (healthy, since) = self.healthy.as_ref()?;
        (healthy == system).then(|| now.since(*since))
    }
}

/// Where a person's way back has just ended.
pub(crate) fn went_back_to<'a>(before: &'a Journal, after: &Journal) -> Option<&'a StorePath> {
    match &before.state {
        State::Committing(commit)
            if matches!(commit.origin, Origin::Rollback { .. }) && after.state == State::Idle =>
        {
            Some(&commit.goal.system)
        }
        _ => None,
    }
}

/// Whether a trial began.
pub(crate) fn began(before: &Journal, after: &Journal) -> bool {
    let tried = |journal: &Journal| {
        let records = journal.history.iter();
        records.filter(|record| record.what == What::Tried).count()
    };
    tried(after) > tried(before)
}
