//! The state machine of an update.
//!
//! [`Machine::step`] takes an event and gives the next machine and the effects to carry out. It is
//! total: every event is answered in every state, and what does not fit is ignored. Whoever drives
//! it writes the journal before the effects, which [`Step::persisted`] enforces, and feeds
//! [`Event::Tick`] at [`Machine::deadline`].
//!
//! States: Idle → Fetching → Ready → Trial → Committing → Idle, and Reverting from any trial.

mod boot;
mod commit;
mod context;
mod effect;
mod event;
mod fetch;
mod gates;
mod requests;
mod revert;
mod start;
pub mod state;
mod trial;

pub use context::{Context, DEAD_MAN_MARGIN, DriftPolicy, MAX_REBOOTS, Policy, REBOOT_PATIENCE};
pub use effect::Effect;
pub use event::{Answer, Event, Refusal, Request};

use crate::{
    StorePath,
    gate::{Closed, Stage},
    health::Report,
    hold::Hold,
    journal::{Blocked, Journal, MAX_BLOCKED, MAX_HISTORY, Record, What},
    lease::Leases,
    release::{Name, Target},
    resolver::resolve,
    switch::{Action, Kind, Order},
    time::Instant,
};
use state::{Cause, Evidence, Generation, Phase, State};
use std::collections::BTreeMap;

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
    /// The answer, if the event was a request.
    pub answer: Option<Answer>,
}

impl Step {
    /// Writes the journal, if it changed, and only then hands out the effects: no effect before its
    /// state is persisted.
    ///
    /// # Errors
    /// Whatever `persist` says, with the step: nothing has happened, and it can be tried again.
    pub fn persisted<E>(
        self,
        persist: impl FnOnce(&Journal) -> Result<(), E>,
    ) -> Result<Decided, (Box<Self>, E)> {
        if self.dirty
            && let Err(error) = persist(&self.decided.machine.journal)
        {
            return Err((Box::new(self), error));
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

/// What a restart may forget.
#[derive(Debug, Clone, PartialEq, Default)]
struct Memory {
    polling: bool,
    poll_failures: u32,
    poll_error: Option<String>,
    next_poll: Option<Instant>,
    fetch_failures: u32,
    retry: Option<Instant>,
    /// What waits for its retry is a reboot into a system that the boot loader starts already.
    rebooting: bool,
    soak: Soak,
    drift: Option<StorePath>,
    problem: Option<String>,
    /// The outer gates that said no when they were asked last.
    closed: BTreeMap<Stage, Vec<Closed>>,
    leases: Leases,
    /// The switcher said that this system needs a reboot.
    other_init: Option<StorePath>,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Soak {
    healthy_since: Option<Instant>,
    failures: u32,
    last: Option<Report>,
    probing: bool,
    next: Option<Instant>,
}

impl Machine {
    /// A machine that goes on from a journal, and from what was said in this boot. Feed it
    /// [`Event::Started`] first.
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

    /// What the robot's software says. It has to outlast a restart of the agent.
    #[must_use]
    pub const fn leases(&self) -> &Leases {
        &self.memory.leases
    }

    /// The gates that keep the robot from its next step, holds aside.
    #[must_use]
    pub fn closed(&self, policy: &Policy, now: Instant) -> BTreeMap<Stage, Vec<Closed>> {
        let mut closed = self.memory.closed.clone();
        if let Some(stage) = self.next_stage() {
            let busy = self.memory.leases.closed(&policy.leases, now);
            closed.entry(stage).or_default().splice(0..0, busy);
        }
        closed.retain(|_, gates| !gates.is_empty());
        closed
    }

    /// What waits for a moment at which the robot may be touched.
    fn next_stage(&self) -> Option<Stage> {
        match self.journal.state {
            State::Ready { .. } => Some(Stage::Activate),
            State::Trial {
                phase: Phase::Staged,
                ..
            } => Some(Stage::Reboot),
            _ => None,
        }
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

    /// The last look at the health in this trial.
    #[must_use]
    pub const fn health(&self) -> Option<&Report> {
        self.memory.soak.last.as_ref()
    }

    /// When [`Event::Tick`] is due; `None` while only an answer can move things.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let mut times = vec![self.memory.retry];
        match &self.journal.state {
            State::Idle | State::Fetching { .. } => times.push(self.next_poll_if_free()),
            State::Ready { .. } => {
                times.push(self.next_poll_if_free());
                times.extend(self.ends());
            }
            State::Trial {
                phase: Phase::Soaking { deadline },
                ..
            } => {
                times.push(Some(*deadline));
                if !self.memory.soak.probing {
                    times.push(self.memory.soak.next);
                }
            }
            State::Trial {
                phase: Phase::Staged,
                ..
            } => times.extend(self.ends()),
            State::Trial { .. } | State::Committing { .. } | State::Reverting { .. } => {}
        }
        times.into_iter().flatten().min()
    }

    /// When holds and leases end.
    fn ends(&self) -> impl Iterator<Item = Option<Instant>> {
        let holds = self.journal.holds.iter().map(Hold::ends);
        let leases = self.memory.leases.iter().map(|lease| Some(lease.until));
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
            machine: self.clone(),
            effects: Vec::new(),
            answer: None,
            cx,
        };
        decision.take(event);
        let dirty = decision.machine.journal != self.journal;
        Step {
            decided: Decided {
                machine: decision.machine,
                effects: decision.effects,
                answer: decision.answer,
            },
            dirty,
        }
    }
}

/// One step in the making.
struct Decision<'a> {
    machine: Machine,
    effects: Vec<Effect>,
    answer: Option<Answer>,
    cx: &'a Context<'a>,
}

impl Decision<'_> {
    fn take(&mut self, event: Event) {
        match event {
            Event::Started(world) => self.started(&world),
            Event::Tick => self.tick(),
            Event::Gates { stage, closed } => self.gates(stage, closed),
            Event::Polled(target) => self.polled(target),
            Event::PollFailed(why) => self.poll_failed(why),
            Event::Observed(world) => {
                if self.machine.journal.state == State::Idle {
                    self.resolved(resolve(&self.machine.journal, &world));
                }
            }
            Event::Fetched => self.fetched(),
            Event::FetchFailed(why) => self.fetch_failed(why),
            Event::Inspected {
                current,
                reboot,
                unfit,
                no_boot,
            } => self.inspected(current, reboot, unfit, no_boot),
            Event::InspectFailed(why) => {
                if matches!(self.machine.journal.state, State::Ready { .. }) {
                    self.machine.memory.problem = Some(why);
                    self.retry_later();
                }
            }
            Event::Vanished => {
                if let State::Ready { target } = self.machine.journal.state.clone() {
                    self.fetch(target);
                }
            }
            Event::DeadManArmed => self.dead_man_armed(),
            Event::DeadManFailed(why) => {
                if let State::Trial {
                    phase: Phase::Arming,
                    ..
                } = self.machine.journal.state
                {
                    let why = format!("the dead-man timer could not be armed: {why}");
                    self.no_verdict(Evidence::plain(Cause::Interrupted, why));
                }
            }
            Event::BootAimed => self.aimed(),
            Event::AimFailed(why) => self.aim_failed(&why),
            Event::SwitchEnded {
                unit,
                outcome,
                log,
                failures,
            } => {
                let expected = self.machine.journal.state.order();
                if expected.is_some_and(|order| order.unit == unit) {
                    self.switch_ended(&outcome, log, failures);
                }
            }
            Event::Probed(report) => self.probed(report),
            Event::Asked(request) => self.answer = Some(self.asked(request)),
        }
    }

    fn tick(&mut self) {
        let now = self.cx.now;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let freed = self.expire();
        let retry = due(self.machine.memory.retry);
        if retry {
            self.machine.memory.retry = None;
        }
        let poll = due(self.machine.memory.next_poll);
        match self.machine.journal.state.clone() {
            State::Idle if retry || poll => self.poll(),
            State::Idle => {}
            State::Fetching { .. } => {
                if retry {
                    self.effects.push(Effect::AskGates(Stage::Download));
                }
                if poll {
                    self.poll();
                }
            }
            State::Ready { .. } => {
                if retry || freed {
                    self.begin_if_free();
                }
                if poll {
                    self.poll();
                }
            }
            State::Trial {
                target,
                phase: Phase::Soaking { deadline },
                ..
            } => {
                if deadline <= now {
                    let last = self.machine.memory.soak.last.take().unwrap_or_default();
                    let evidence = Evidence {
                        cause: Cause::Deadline,
                        message: format!(
                            "it did not stay healthy for {} s in time: {}",
                            self.cx.policy.soak.as_secs(),
                            last.summary()
                        ),
                        failures: [last.failures, last.pending].concat(),
                        log: Vec::new(),
                    };
                    self.failed_health(target.is_some(), evidence);
                } else if !self.machine.memory.soak.probing && due(self.machine.memory.soak.next) {
                    self.probe();
                }
            }
            State::Trial {
                phase: Phase::Staged,
                ..
            } if retry || freed => self.begin_if_free(),
            State::Trial {
                phase: Phase::Booting,
                ..
            } if retry => self.boot_trial(),
            State::Trial { .. } => {}
            State::Committing { reboot: true, .. } if retry && self.machine.memory.rebooting => {
                self.reboot_into();
            }
            State::Committing { .. } if retry => self.commit_again(),
            State::Committing { .. } => {}
            State::Reverting { .. } if retry => self.revert_again(),
            State::Reverting { .. } => {}
        }
    }

    fn go(&mut self, state: State) {
        self.machine.journal.state = state;
        self.machine.memory.retry = None;
        self.machine.memory.rebooting = false;
        self.machine.memory.soak = Soak::default();
        self.machine
            .memory
            .closed
            .retain(|stage, _| *stage == Stage::Check);
        if !matches!(self.machine.journal.state, State::Idle) {
            self.machine.memory.problem = None;
        }
    }

    fn order(&mut self, kind: Kind, system: StorePath, action: Action, no_check: bool) -> Order {
        self.machine.journal.units += 1;
        Order {
            unit: format!("{}{}.service", kind.prefix(), self.machine.journal.units),
            system,
            action,
            default: None,
            remove: None,
            timeout: self.cx.policy.switch_timeout,
            no_check,
        }
    }

    fn blocked(&self, release: &Name, system: &StorePath, evidence: Evidence) -> Blocked {
        Blocked {
            release: release.clone(),
            system: system.clone(),
            evidence,
            since: self.cx.wall,
        }
    }

    fn block(&mut self, target: &Target, evidence: Evidence) {
        self.push_blocked(self.blocked(&target.release, &target.system, evidence));
    }

    fn push_blocked(&mut self, entry: Blocked) {
        let blocked = &mut self.machine.journal.blocked;
        blocked.retain(|b| b.release != entry.release || b.system != entry.system);
        blocked.push(entry);
        let surplus = blocked.len().saturating_sub(MAX_BLOCKED);
        blocked.drain(..surplus);
    }

    fn record(
        &mut self,
        what: What,
        system: StorePath,
        target: Option<&Target>,
        why: Option<String>,
        by: Option<String>,
    ) {
        let history = &mut self.machine.journal.history;
        history.push(Record {
            what,
            system,
            release: target.map(|target| target.release.clone()),
            why,
            by,
            at: self.cx.wall,
        });
        let surplus = history.len().saturating_sub(MAX_HISTORY);
        history.drain(..surplus);
    }

    fn record_generation(
        &mut self,
        what: What,
        generation: &Generation,
        why: Option<String>,
        by: Option<String>,
    ) {
        self.record(what, generation.system.clone(), None, why, by);
        if let Some(record) = self.machine.journal.history.last_mut() {
            record.release.clone_from(&generation.release);
        }
    }
}
