//! The state machine of an update.
//!
//! [`Machine::step`] takes an event and gives the next machine and the effects to carry out. It is
//! total: every event is answered in every state, and what does not fit is ignored. Whoever drives
//! it writes the journal before the effects, which [`Step::persisted`] enforces, and feeds
//! [`Event::Tick`] at [`Machine::deadline`].
//!
//! States: Idle → Fetching → Ready → Trial → Committing → Idle, and Reverting from any trial. What
//! each of them knows is in [`state`], the journal's format. What an event means in a state is in the
//! file of that state:
//!
//! * `fetch` (Idle, Fetching), `ready`, `trial` (with `boot` for a trial by booting), `commit`,
//!   `revert`;
//! * `soak`: what looks at the health prove; `aftermath`: whether the robot came back from a trial as
//!   it was;
//! * `start`: what a look at the robot leads to; `requests`: what people and programs ask for;
//!   `keep`: which generations of the profile go and which stay;
//!   `blocking`: what a rollback blocks, and what is tried again; `gates`: what keeps the robot from the next step;
//! * `unknown`: a state that only another version knows; `unheard`: what nobody was told of for certain;
//! * `reboot`: whether and when the robot reboots.
//!
//! They share `decision` (a step in the making) and `memory` (what a restart may forget).

mod aftermath;
mod blocking;
mod boot;
mod commit;
mod context;
mod decision;
mod effect;
mod entries;
mod event;
mod fetch;
mod gates;
pub mod install;
mod keep;
mod memory;
mod ready;
mod reboot;
mod requests;
mod revert;
mod soak;
mod start;
pub mod state;
mod trial;
mod unheard;
mod unknown;
mod upkeep;

pub use context::{
    AfterLoss, Context, DEAD_MAN_MARGIN, DriftPolicy, MAX_FALLS, MAX_REBOOTS, Policy,
    REBOOT_PATIENCE,
};
pub use effect::{Effect, Guards};
pub use event::{Answer, Event, Refusal, Request, Unserved};

use crate::{
    RollbackTo, StorePath,
    events::{self, Occurrence},
    gate::{Closed, Stage},
    health::{Failure, Report},
    hold::Hold,
    journal::Journal,
    lease::{Lease, Leases},
    switch::Outcome,
    time::Instant,
    traffic::Traffic,
    untold::Untold,
};
use decision::Decision;
use memory::Memory;
use state::{Committing, Origin, Phase, State, Trial};
use std::{collections::BTreeMap, mem, time::Duration};

/// A decision whose journal is not yet on disk.
#[derive(Debug)]
#[must_use]
pub struct Step {
    decided: Decided,
    /// Whether the journal differs from before.
    dirty: bool,
}

/// A decision whose journal is on disk: now its effects may happen.
#[derive(Debug)]
pub struct Decided {
    /// The next machine.
    pub machine: Machine,
    /// What to do, in this order.
    pub effects: Vec<Effect>,
    /// What happened, in this order.
    pub occurrences: Vec<Occurrence>,
    /// The answer, if the event was a request.
    pub answer: Option<Answer>,
}

impl Step {
    /// Whether it grants what somebody asked for.
    #[must_use]
    pub fn grants(&self) -> bool {
        matches!(self.decided.answer, Some(Ok(_)))
    }

    /// Writes the journal, if it changed, and only then hands out the effects: no effect before its
    /// state is persisted.
    ///
    /// # Errors
    /// Whatever `persist` says. Then nothing has happened, and the step is gone: what was decided on
    /// may have changed before the journal can be written again.
    pub fn persisted<E>(
        self,
        persist: impl FnOnce(&Journal) -> Result<(), E>,
    ) -> Result<Decided, E> {
        if self.dirty {
            persist(&self.decided.machine.journal)?;
        }
        Ok(self.decided)
    }
}

/// The agent's mind: the journal, and what may be forgotten.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    journal: Journal,
    memory: Memory,
}

impl Machine {
    /// A machine that goes on from a journal, and from what was said in this boot (after a restart of the
    /// agent, [`Leases::restarted`]). Feed it [`Event::Started`] first.
    #[must_use]
    pub fn new(journal: Journal, leases: Leases) -> Self {
        Self {
            journal,
            memory: Memory {
                leases,
                ..Memory::default()
            },
        }
    }

    /// The same machine, of which somebody asked something, may have been told that it happens, and nothing
    /// came of it. Feed it [`Event::Tick`] once that is written. `under_way` is what was then: not what this
    /// machine knows, where it decides from rest.
    #[must_use]
    pub fn passing_over(&self, asked: Untold, under_way: State) -> Self {
        let mut machine = self.clone();
        let decided = mem::replace(&mut machine.journal.state, under_way);
        machine.journal.pass_over(asked);
        machine.journal.state = decided;
        machine
    }

    /// What the robot's software says. It has to outlast a restart of the agent.
    #[must_use]
    pub const fn leases(&self) -> &Leases {
        &self.memory.leases
    }

    /// Whether what was proven is just being committed, and nobody can ask for a rollback before that is done.
    #[must_use]
    pub const fn commits(&self) -> bool {
        matches!(
            &self.journal.state,
            State::Committing(Committing {
                origin: Origin::Trial | Origin::Adopt,
                ..
            })
        ) && !self.memory.commit_waits()
            && !self.memory.rebooting
    }

    /// Whether the robot is on its way back to another system than this one, gets on with that, and nobody
    /// holds it.
    #[must_use]
    pub fn goes_elsewhere(&self, to: &RollbackTo) -> bool {
        let goal = self.journal.state.way_back();
        goal.is_some_and(|goal| !self.journal.is_named(to, goal))
            && self.stuck().is_none()
            && self.journal.holds.is_empty()
    }

    /// The gates that keep the robot from its next step, holds aside.
    #[must_use]
    pub fn closed(&self, policy: &Policy, now: Instant) -> BTreeMap<Stage, Vec<Closed>> {
        let mut closed = self.memory.closed.clone();
        if let Some(stage) = self.journal.state.waits_for() {
            let busy = self.memory.leases.closed(&policy.leases, now);
            closed.entry(stage).or_default().splice(0..0, busy);
        }
        closed.retain(|_, gates| !gates.is_empty());
        closed
    }

    /// What is remembered.
    #[must_use]
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The system that runs although it is not the confirmed one, if the agent did not do that.
    #[must_use]
    pub const fn drift(&self) -> Option<&StorePath> {
        self.memory.drift.as_ref()
    }

    /// What keeps the agent from working, in words for people.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.memory
            .problem
            .as_deref()
            .or(self.memory.poll_error.as_deref())
            .or(self.memory.left.as_deref())
            .or(self.journal.lost.as_ref().map(|loss| loss.why.as_str()))
    }

    /// Why a way back is only tried again after a while, or what is left of it is: the robot gets on no further
    /// now. `None` while it does.
    #[must_use]
    pub fn stuck(&self) -> Option<&str> {
        let stuck = self.journal.state.way_back().is_some() && self.memory.waits_long();
        self.memory.problem.as_deref().filter(|_| stuck)
    }

    /// Why the robot does not take a newer release yet, in one sentence: its turn has not come, say.
    #[must_use]
    pub fn turn(&self) -> Option<&str> {
        self.memory.turn.as_deref()
    }

    /// Whether the repository is being asked right now.
    #[must_use]
    pub const fn polling(&self) -> bool {
        self.memory.polling
    }

    /// When the next poll is due.
    #[must_use]
    pub const fn next_poll(&self) -> Option<Instant> {
        self.memory.next_poll
    }

    /// What fetches have moved within a day.
    #[must_use]
    pub fn traffic(&self, now: Instant) -> Traffic {
        self.memory.traffic.at(now)
    }

    /// The last look at the health in this trial, or after a way back.
    #[must_use]
    pub fn health(&self) -> Option<&Report> {
        let looks = [&self.memory.soak, &self.memory.aftermath];
        looks.into_iter().find_map(|soak| soak.last.as_ref())
    }

    /// How long the system on trial has been healthy without a break; `None` outside a soak, and while the
    /// last look found something.
    #[must_use]
    pub fn healthy_for(&self, now: Instant) -> Option<Duration> {
        let soaks = matches!(
            &self.journal.state,
            State::Trial(Trial {
                phase: Phase::Soaking { .. },
                late: None,
                ..
            })
        );
        self.memory.soak.healthy_for(now).filter(|_| soaks)
    }

    /// What somebody else has the robot start at its next boot, in words.
    #[must_use]
    pub fn changed(&self) -> Option<&str> {
        self.memory.changed.as_deref()
    }

    /// When [`Event::Tick`] is due; `None` while only an answer can move things.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let mut times = vec![self.memory.retry, self.memory.guarded];
        match &self.journal.state {
            State::Idle | State::Fetching(_) => {
                times.push(self.next_poll_if_free());
                times.extend(self.memory.looks_back());
            }
            State::Ready(_) => {
                times.push(self.next_poll_if_free());
                times.extend(self.memory.looks_back());
                times.extend(self.ends());
            }
            State::Trial(Trial {
                phase: Phase::Soaking { .. },
                late: Some(_),
                ..
            }) => {
                times.push(self.memory.soak.next());
                times.push(self.memory.prolong);
                times.extend(self.ends());
            }
            State::Trial(Trial {
                phase: Phase::Soaking { deadline },
                ..
            }) => {
                times.push(Some(*deadline));
                times.push(self.memory.soak.next());
            }
            State::Trial(Trial {
                phase: Phase::Staged,
                ..
            }) => {
                times.push(self.next_poll_if_free());
                times.extend(self.ends());
            }
            State::Unknown(_) => times.extend(self.ends()),
            State::Committing(_) if self.memory.commit_waits() => {
                times.push(self.next_poll_if_free());
            }
            State::Committing(_) => {
                times.push(self.memory.soak.until);
                times.push(self.memory.soak.next());
            }
            State::Reverting(_) if self.memory.only_entries_wait(&self.journal.state) => {
                times.push(self.next_poll_if_free());
            }
            State::Trial(_) | State::Reverting(_) => {}
        }
        times.into_iter().flatten().min()
    }

    /// When holds end, and leases that were said for a time.
    fn ends(&self) -> impl Iterator<Item = Option<Instant>> {
        let holds = self.journal.holds.iter().map(Hold::ends);
        let leases = self.memory.leases.iter().map(Lease::until);
        holds.chain(leases)
    }

    fn next_poll_if_free(&self) -> Option<Instant> {
        (!self.memory.polling)
            .then_some(self.memory.next_poll)
            .flatten()
    }

    /// Decides what an event means.
    pub fn step(&self, event: Event, cx: &Context<'_>) -> Step {
        let mut decision = Decision {
            journal: self.journal.clone(),
            memory: self.memory.clone(),
            effects: Vec::new(),
            occurrences: Vec::new(),
            freed: false,
            cx,
        };
        let answer = decision.take(event);
        if mem::take(&mut decision.freed) {
            decision.on_freed();
        }
        decision.leave_what_is_to_be_left();
        decision.forget_what_was_unheard(self.journal.confirmed.as_ref());
        if decision.memory.drift != self.memory.drift
            && let Some(system) = decision.memory.drift.clone()
        {
            decision.happened(events::Kind::Drifted { system });
        }
        let (from, to) = (self.journal.state.name(), decision.journal.state.name());
        if from != to {
            let target = decision.journal.state.target();
            let release = target.map(|target| target.release.clone());
            decision.happened(events::Kind::StateChanged { from, to, release });
        }
        Step {
            dirty: decision.journal != self.journal,
            decided: Decided {
                machine: Self {
                    journal: decision.journal,
                    memory: decision.memory,
                },
                effects: decision.effects,
                occurrences: decision.occurrences,
                answer,
            },
        }
    }
}

/// Which step answers an event; the answer, if it is a request.
impl Decision<'_> {
    fn take(&mut self, event: Event) -> Option<Answer> {
        match event {
            Event::Started(world) => self.on_started(&world),
            Event::Tick => self.tick(),
            Event::Gates { stage, closed } => self.on_gates(stage, closed),
            Event::Polled(offers) => self.on_polled(&offers),
            Event::PollFailed(unserved) => self.on_poll_failed(unserved),
            Event::Observed(world) => self.on_observed(&world),
            Event::InItsOwnWay(own) => self.on_in_its_own_way(own),
            Event::Fetched => self.on_fetched(),
            Event::FetchFailed(unserved) => self.on_fetch_failed(unserved),
            Event::Moved {
                bytes,
                wasted,
                more,
            } => self.on_moved(bytes, wasted, more),
            Event::NetworkChanged => self.on_network_changed(),
            Event::Inspected {
                current,
                named,
                reboot,
                unfit,
                no_boot,
                no_room,
            } => self.on_inspected((current, named), reboot, unfit, (no_boot, no_room)),
            Event::Looked(baseline) => self.on_looked(baseline),
            Event::InspectFailed(why) => self.on_inspect_failed(why),
            Event::Vanished => self.on_vanished(),
            Event::DeadManArmed => self.on_dead_man_armed(),
            Event::DeadManFailed(why) => self.on_dead_man_failed(why),
            Event::BootAimed => self.on_boot_aimed(),
            Event::AimFailed(why) => self.on_aim_failed(why),
            Event::SwitchEnded {
                unit,
                outcome,
                log,
                failures,
            } => {
                self.happened(events::Kind::SwitchEnded {
                    unit: unit.clone(),
                    outcome: outcome.clone(),
                });
                let expected = self.journal.state.order();
                if expected.is_some_and(|order| order.unit == unit) {
                    self.on_switch_ended(&outcome, log, failures);
                }
            }
            Event::Pruned {
                system,
                gone,
                links,
            } => self.on_pruned(system, gone, &links),
            Event::Installed(links) => self.journal.profile.installed(&links),
            Event::Recalled(found) => self.on_recalled(found),
            Event::Scrubbed { damaged, repaired } => self.on_scrubbed(damaged, repaired),
            Event::Stalled { what, why } => self.on_stalled(&what, why),
            Event::Collected { paths, bytes } => self.on_collected(paths, bytes),
            Event::Probed(report) => self.on_probed(report),
            Event::HolderLost(holder) => self.on_holder_lost(holder),
            Event::Asked(request) => return Some(self.on_asked(request)),
        }
        None
    }

    fn tick(&mut self) {
        let due = self.due();
        self.tick_aftermath();
        self.tick_guard();
        match &self.journal.state {
            State::Idle => self.tick_idle(due),
            State::Fetching(_) => self.tick_fetching(due),
            State::Ready(_) => self.tick_ready(due),
            State::Trial(trial) => self.tick_trial(&trial.clone(), due),
            State::Committing(committing) => self.tick_committing(&committing.clone(), due),
            State::Reverting(_) => self.tick_reverting(due),
            State::Unknown(_) => self.tick_unknown(due),
        }
    }

    /// The switch of the present state has ended.
    fn on_switch_ended(&mut self, outcome: &Outcome, log: Vec<String>, failures: Vec<Failure>) {
        if let Some(install) = self.journal.state.install_mut() {
            install.runs = false;
        }
        match self.journal.state.clone() {
            State::Idle | State::Fetching(_) | State::Ready(_) => {}
            State::Trial(trial) => self.trial_switch_ended(trial, outcome, log, failures),
            State::Committing(committing) => {
                self.commit_switch_ended(committing, outcome, log, failures);
            }
            State::Reverting(reverting) => self.revert_switch_ended(reverting, outcome),
            // What runs now says what to do.
            State::Unknown(_) => self.effects.push(Effect::Poll),
        }
    }
}
