//! The state machine of an update.
//!
//! [`Machine::step`] takes an event and gives the next machine and the effects to carry out. It is
//! total: every event is answered in every state, and what does not fit is ignored. Whoever drives
//! it writes the journal before the effects, which [`Step::persisted`] enforces, and feeds
//! [`Event::Tick`] at [`Machine::deadline`].
//!
//! States: Idle → Fetching → Ready → Trial → Committing → Idle, and Reverting from any trial.

mod boot;

use crate::{
    StorePath,
    health::{Failure, Report},
    hold::{Expiry, Hold},
    journal::{
        Attempts, Blocked, Cause, Evidence, Generation, Journal, MAX_BLOCKED, MAX_HISTORY, Mode,
        Origin, Phase, Record, State, What,
    },
    reboot,
    release::Target,
    resolver::{Resolution, World, resolve},
    retry,
    switch::{Action, Order, Outcome},
    time::{BootId, Instant},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Reboots that a revert may cause before it gives up and says so: no boot loop outlives this.
pub const MAX_REBOOTS: u32 = 3;

/// What the dead-man timer allows on top of the switch and the health deadline, so that it never
/// fires into an agent that is just deciding.
pub const DEAD_MAN_MARGIN: Duration = Duration::from_secs(30);

/// How long a reboot that was ordered may take to happen before it is ordered again.
pub const REBOOT_PATIENCE: Duration = Duration::from_secs(300);

/// What the configuration says about decisions.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Time between two polls.
    pub poll_interval: Duration,
    /// How far polls spread around the interval, 0 to 1.
    pub jitter: f64,
    /// First delay after a failure.
    pub backoff_base: Duration,
    /// Longest delay after failures.
    pub backoff_max: Duration,
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
    /// Trials of one release that may end without a verdict, 1 or more.
    pub trial_attempts: u32,
    /// Tries of a commit, 1 or more.
    pub commit_attempts: u32,
    /// Tries of a revert before a reboot, 1 or more.
    pub revert_attempts: u32,
    /// Delay between tries of a commit or a revert.
    pub retry_delay: Duration,
    /// What happens when somebody switched by hand.
    pub drift: DriftPolicy,
    /// Earlier systems that are kept for a rollback.
    pub keep: usize,
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

/// What a decision may depend on besides the journal and the event.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Now.
    pub now: Instant,
    /// This boot.
    pub boot: &'a BootId,
    /// The wall clock, for people; `None` if it is known to be wrong.
    pub wall: Option<Timestamp>,
    /// A fresh random number.
    pub random: u64,
    /// The configuration.
    pub policy: &'a Policy,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The agent started and looked around. Always the first event.
    Started(World),
    /// A time returned by [`Machine::deadline`] has come.
    Tick,
    /// The repository was read: this is what the robot should run, if anything.
    Polled(Option<Target>),
    /// The repository could not be read, or nothing in it is to be believed.
    PollFailed(String),
    /// The robot was looked at again.
    Observed(World),
    /// The whole closure is in the store, and rooted.
    Fetched,
    /// It could not be brought. Never the release's fault: a cache may be wrong today.
    FetchFailed(String),
    /// The new system was compared with what runs.
    Inspected {
        /// What runs now: where a revert will go.
        current: StorePath,
        /// Why it cannot be tried live; empty if it can.
        reboot: Vec<reboot::Reason>,
        /// Why it must not be tried on this robot at all, if so: its own fault.
        unfit: Option<String>,
        /// Why the robot cannot boot it on trial now, if so: not the release's fault.
        no_boot: Option<String>,
    },
    /// The new system could not be looked at.
    InspectFailed(String),
    /// The dead-man timer is armed.
    DeadManArmed,
    /// It could not be armed.
    DeadManFailed(String),
    /// The next boot is the trial's: its deadline and the loader's one-shot are set and read back.
    BootAimed,
    /// They could not be set.
    AimFailed(String),
    /// A switch ended.
    SwitchEnded {
        /// The unit of its order; an answer of another one is ignored.
        unit: String,
        /// How.
        outcome: Outcome,
        /// Its last lines.
        log: Vec<String>,
        /// Units that are failed now, if it went wrong.
        failures: Vec<Failure>,
    },
    /// A round of health checks is done.
    Probed(Report),
    /// A person or program asks for something.
    Asked(Request),
}

/// What people and programs ask for. Whether they may was decided before.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Look for an update now.
    Update,
    /// Go back to an earlier confirmed system, or end a trial.
    Rollback {
        /// Which system; `None` for the newest fallback.
        to: Option<StorePath>,
        /// Why, in their words.
        why: String,
        /// Who.
        by: String,
    },
    /// Switch nothing for now.
    Hold {
        /// For how long; `None` until somebody resumes.
        length: Option<Duration>,
        /// Why, in their words.
        why: String,
        /// Who.
        by: String,
    },
    /// End a hold.
    Resume {
        /// Whose; `None` for everybody's.
        by: Option<String>,
    },
}

/// The answer to a [`Request`].
pub type Answer = Result<String, Refusal>;

/// Why a request was not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A gate or the present state says no.
    #[error("{0}")]
    Refused(String),
    /// There is nothing that it could do.
    #[error("{0}")]
    NothingToDo(String),
}

/// Something to be done. Each is answered by the event in brackets.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Read the repository (`Polled`, `PollFailed`).
    Poll,
    /// Bring a closure into the store (`Fetched`, `FetchFailed`).
    Fetch(Target),
    /// Stop bringing it; what was verified stays staged.
    CancelFetch,
    /// Compare a system with the running one (`Inspected`, `InspectFailed`).
    Inspect(Target),
    /// Arm a timer outside the agent that reverts to `system` after `after`, and reboots if that
    /// fails (`DeadManArmed`, `DeadManFailed`).
    ArmDeadMan {
        /// Where it reverts to.
        system: StorePath,
        /// When, from now.
        after: Duration,
    },
    /// Take back every guard of a trial: the dead-man timer, a boot's deadline, and a one-shot that
    /// the boot loader has not used. None is fine.
    DisarmDeadMan,
    /// Make `system` what the next boot starts, once, and have it reset the robot `within` this time
    /// after its start unless the agent disarms that: outside the agent, and not relying on what
    /// `system` contains. The loader's default must be `previous` (`BootAimed`, `AimFailed`).
    AimBoot {
        /// What is tried.
        system: StorePath,
        /// What every other boot starts.
        previous: StorePath,
        /// Its deadline, from the start of its kernel.
        within: Duration,
    },
    /// Carry out a switch, or wait for it if its unit exists already (`SwitchEnded`).
    Switch(Order),
    /// Look at the health, this system being the one that has to run (`Probed`).
    Probe(StorePath),
    /// End a switch that still runs; nobody waits for its answer any more.
    StopSwitch(String),
    /// Reboot: the boot loader's default is the confirmed system.
    Reboot(String),
    /// Exit if the confirmed system has another agent: systemd starts that one.
    Renew,
}

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
    soak: Soak,
    drift: Option<StorePath>,
    problem: Option<String>,
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
    /// A machine that goes on from a journal. Feed it [`Event::Started`] first.
    #[must_use]
    pub fn new(journal: Journal) -> Self {
        Self {
            journal,
            memory: Memory::default(),
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
                times.extend(self.journal.holds.iter().map(Hold::ends));
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
            } => times.extend(self.journal.holds.iter().map(Hold::ends)),
            State::Trial { .. } | State::Committing { .. } | State::Reverting { .. } => {}
        }
        times.into_iter().flatten().min()
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

    // Starting and finding one's feet.

    fn started(&mut self, world: &World) {
        let (boot, now) = (self.cx.boot, self.cx.now);
        for hold in &mut self.machine.journal.holds {
            hold.rebase(boot, now);
        }
        let resolution = resolve(&self.machine.journal, world);
        self.resolved(resolution);
        if matches!(
            self.machine.journal.state,
            State::Idle | State::Fetching { .. } | State::Ready { .. }
        ) {
            // Nothing is under trial: a dead-man timer can only be a leftover.
            self.effects.insert(0, Effect::DisarmDeadMan);
            self.poll();
        }
    }

    fn resolved(&mut self, resolution: Resolution) {
        self.machine.memory.drift = None;
        match resolution {
            Resolution::Adopt(system) => {
                self.machine.journal.confirmed = Some(Generation {
                    system: system.clone(),
                    release: None,
                    since: self.cx.wall,
                });
                self.record(What::Adopted, system, None, None, None);
            }
            Resolution::Unknown => {
                self.machine.memory.problem = Some(
                    "cannot tell which system runs: /run/booted-system and /run/current-system \
                     name no store path"
                        .to_owned(),
                );
            }
            Resolution::Settled => {
                if matches!(self.machine.journal.state, State::Trial { .. }) {
                    self.go(State::Idle);
                }
            }
            Resolution::Drift(system) => self.drifted(system),
            Resolution::FinishSwitch => {
                self.restore("a switch was cut off and left services stopped");
            }
            Resolution::Refetch => {
                if let Some(target) = self.machine.journal.state.target().cloned() {
                    self.fetch(target);
                }
            }
            Resolution::Attach => {
                if let Some(order) = self.machine.journal.state.order().cloned() {
                    self.effects.push(Effect::Switch(order));
                }
            }
            Resolution::Ended(outcome, log) => self.switch_ended(&outcome, log, Vec::new()),
            Resolution::Soak => self.probe(),
            Resolution::Interrupted(why) => {
                self.unstage(Evidence::plain(Cause::Interrupted, why.to_owned()));
            }
            Resolution::Staged => self.staged(),
            Resolution::RebootAgain => self.boot_trial(),
            Resolution::Arrived => self.arrived(),
            Resolution::FellBack(trace) => self.fell_back(trace),
            Resolution::CommitLost => {
                let why = "the robot restarted before the boot loader had the proven system";
                self.unstage(Evidence::plain(Cause::Interrupted, why.to_owned()));
            }
            Resolution::DeadManReverted => {
                let evidence = Evidence::plain(
                    Cause::DeadMan,
                    "the dead-man timer reverted the trial: the agent had not answered in time"
                        .to_owned(),
                );
                self.left_behind(evidence);
            }
            Resolution::Revert(why) => {
                self.revert(Evidence::plain(Cause::Unknown, why.to_owned()));
            }
            Resolution::Forward => self.commit_again(),
            Resolution::Backward { reboot: needed } => {
                if let State::Reverting { reboot, .. } = &mut self.machine.journal.state {
                    *reboot = needed;
                }
                self.revert_again();
            }
            Resolution::Reverted => self.reverted(),
        }
    }

    fn drifted(&mut self, system: StorePath) {
        let Some(confirmed) = self.machine.journal.confirmed.clone() else {
            return;
        };
        match self.cx.policy.drift {
            DriftPolicy::Report => {
                self.machine.memory.drift = Some(system);
                if matches!(self.machine.journal.state, State::Trial { .. }) {
                    self.go(State::Idle);
                }
            }
            DriftPolicy::Adopt => {
                self.machine.memory.drift = Some(system.clone());
                self.go(State::Trial {
                    target: None,
                    system,
                    previous: confirmed.system,
                    boot: self.cx.boot.clone(),
                    mode: Mode::Live,
                    phase: Phase::Soaking {
                        deadline: self.cx.now + self.cx.policy.health_deadline,
                    },
                });
                self.probe();
            }
            DriftPolicy::Restore => {
                let why = format!("{system} ran instead, and it was not the agent");
                self.restore(&why);
            }
        }
    }

    /// Switches to the confirmed system again.
    fn restore(&mut self, why: &str) {
        self.expire_holds();
        if let Some(hold) = self.machine.journal.holds.first() {
            self.machine.memory.problem = Some(format!(
                "{why}; the confirmed system will be put back when the hold of {} ends",
                hold.owner
            ));
            return;
        }
        if let Some(goal) = self.machine.journal.confirmed.clone() {
            let previous = goal.system.clone();
            self.commit(
                goal,
                None,
                previous,
                Origin::Restore {
                    why: why.to_owned(),
                },
                Action::Switch,
            );
        }
    }

    // Polling.

    fn poll(&mut self) {
        if !self.machine.memory.polling {
            self.machine.memory.polling = true;
            self.machine.memory.next_poll = None;
            self.effects.push(Effect::Poll);
        }
    }

    fn polled(&mut self, target: Option<Target>) {
        let memory = &mut self.machine.memory;
        memory.polling = false;
        memory.poll_failures = 0;
        memory.poll_error = None;
        let policy = self.cx.policy;
        let delay = retry::interval(policy.poll_interval, policy.jitter, self.cx.random);
        memory.next_poll = Some(self.cx.now + delay);

        let busy_with = match &self.machine.journal.state {
            State::Idle => None,
            State::Fetching { target } | State::Ready { target } => Some(target.clone()),
            // An answer that comes late: the trial goes first.
            State::Trial { .. } | State::Committing { .. } | State::Reverting { .. } => return,
        };
        let wanted =
            target.filter(|target| self.machine.memory.drift.is_none() && self.wanted(target));
        if busy_with == wanted {
            return;
        }
        if busy_with.is_some() {
            // Recalled, or replaced by a newer one.
            self.effects.push(Effect::CancelFetch);
            self.go(State::Idle);
        }
        if let Some(target) = wanted {
            self.fetch(target);
        }
    }

    /// Whether a target is to be tried here: it is not what was confirmed, and did not fail.
    ///
    /// "Already there" is judged by what was confirmed, never by what was tried last: A → B → A is
    /// an ordinary update.
    fn wanted(&mut self, target: &Target) -> bool {
        let journal = &mut self.machine.journal;
        if journal.blocked(target).is_some() {
            return false;
        }
        match &mut journal.confirmed {
            None => false,
            Some(confirmed) if confirmed.system == target.system => {
                // The same system under a new name needs no trial.
                confirmed.release = Some(target.release.clone());
                false
            }
            Some(_) => true,
        }
    }

    fn poll_failed(&mut self, why: String) {
        let (policy, random) = (self.cx.policy, self.cx.random);
        let memory = &mut self.machine.memory;
        memory.polling = false;
        memory.poll_failures = memory.poll_failures.saturating_add(1);
        memory.poll_error = Some(why);
        let delay = retry::backoff(
            memory.poll_failures,
            policy.backoff_base,
            policy.backoff_max,
            random,
        );
        memory.next_poll = Some(self.cx.now + delay);
    }

    // Fetching.

    fn fetch(&mut self, target: Target) {
        self.machine.memory.fetch_failures = 0;
        self.go(State::Fetching {
            target: target.clone(),
        });
        self.effects.push(Effect::Fetch(target));
    }

    fn fetched(&mut self) {
        if let State::Fetching { target } = self.machine.journal.state.clone() {
            self.go(State::Ready {
                target: target.clone(),
            });
            self.effects.push(Effect::Inspect(target));
        }
    }

    fn fetch_failed(&mut self, why: String) {
        if matches!(self.machine.journal.state, State::Fetching { .. }) {
            self.machine.memory.problem = Some(why);
            self.retry_later();
        }
    }

    /// Tries the present state again after a growing delay.
    fn retry_later(&mut self) {
        let (policy, random) = (self.cx.policy, self.cx.random);
        let memory = &mut self.machine.memory;
        memory.fetch_failures = memory.fetch_failures.saturating_add(1);
        let delay = retry::backoff(
            memory.fetch_failures,
            policy.backoff_base,
            policy.backoff_max,
            random,
        );
        memory.retry = Some(self.cx.now + delay);
    }

    // Before the trial.

    fn inspected(
        &mut self,
        current: StorePath,
        mut reboot: Vec<reboot::Reason>,
        unfit: Option<String>,
        no_boot: Option<String>,
    ) {
        let State::Ready { target } = self.machine.journal.state.clone() else {
            return;
        };
        if let Some(why) = unfit {
            let evidence = Evidence::plain(Cause::Unfit, why);
            self.block(&target, evidence.clone());
            self.record(
                What::Refused,
                target.system.clone(),
                Some(&target),
                Some(evidence.message),
                None,
            );
            self.go(State::Idle);
            return;
        }
        if self.machine.memory.other_init.as_ref() == Some(&target.system) {
            reboot.push(reboot::Reason::Init);
        }
        let confirmed = self.machine.journal.confirmed.as_ref();
        if confirmed.is_none_or(|confirmed| confirmed.system != current) {
            // Somebody switched by hand since the last look.
            self.go(State::Idle);
            self.drifted(current);
            return;
        }
        self.expire_holds();
        if !self.machine.journal.holds.is_empty() {
            return;
        }
        let reasons: Vec<String> = reboot.iter().map(ToString::to_string).collect();
        let why = (!reasons.is_empty()).then(|| reasons.join(", "));
        if let (Some(why), Some(no_boot)) = (&why, no_boot) {
            self.machine.memory.problem = Some(format!(
                "release {} needs a reboot ({why}), but the robot cannot try it by one: {no_boot}",
                target.release
            ));
            self.retry_later();
            return;
        }
        self.record(
            What::Tried,
            target.system.clone(),
            Some(&target),
            why.map(|why| format!("by booting it: {why}")),
            None,
        );
        if !reboot.is_empty() {
            self.stage(target, current);
            return;
        }
        let policy = self.cx.policy;
        self.effects.push(Effect::ArmDeadMan {
            system: current.clone(),
            after: policy.switch_timeout + policy.health_deadline + DEAD_MAN_MARGIN,
        });
        self.go(State::Trial {
            system: target.system.clone(),
            target: Some(target),
            previous: current,
            boot: self.cx.boot.clone(),
            mode: Mode::Live,
            phase: Phase::Arming,
        });
    }

    /// Looks again at what waits, now that nobody holds it back: the robot may have changed since.
    fn begin_if_free(&mut self) {
        if !self.machine.journal.holds.is_empty() {
            return;
        }
        match &self.machine.journal.state {
            State::Ready { target } => self.effects.push(Effect::Inspect(target.clone())),
            State::Trial {
                phase: Phase::Staged,
                ..
            } => self.staged(),
            _ => {}
        }
    }

    /// Drops the holds that have ended; says whether there were any.
    fn expire_holds(&mut self) -> bool {
        let now = self.cx.now;
        let holds = &mut self.machine.journal.holds;
        let before = holds.len();
        holds.retain(|hold| hold.ends().is_none_or(|end| end > now));
        holds.len() < before
    }

    // The trial.

    fn dead_man_armed(&mut self) {
        let state = self.machine.journal.state.clone();
        let State::Trial {
            target,
            system,
            previous,
            boot,
            mode,
            phase: Phase::Arming,
        } = state
        else {
            return;
        };
        let order = self.order("trial", system.clone(), Action::Test, false);
        self.effects.push(Effect::Switch(order.clone()));
        self.go(State::Trial {
            target,
            system,
            previous,
            boot,
            mode,
            phase: Phase::Switching { order },
        });
    }

    fn switch_ended(&mut self, outcome: &Outcome, log: Vec<String>, failures: Vec<Failure>) {
        match self.machine.journal.state.clone() {
            State::Trial {
                mode: Mode::Boot, ..
            } => match outcome {
                Outcome::Done => self.staged(),
                // Nothing of the new system has run: it is the robot that could not do it.
                _ => self.unstage(Evidence {
                    cause: Cause::Interrupted,
                    message: format!("it could not be staged for a boot: {outcome}"),
                    failures,
                    log,
                }),
            },
            State::Trial { .. } if outcome.activated() => self.soak(),
            State::Trial { .. } if *outcome == Outcome::Locked => {
                self.effects.push(Effect::DisarmDeadMan);
                self.no_verdict(Evidence::plain(Cause::Interrupted, outcome.to_string()));
            }
            State::Trial {
                target: Some(target),
                system,
                ..
            } if *outcome == Outcome::NeedsReboot => {
                // Nothing was activated: try it by booting it.
                self.effects.push(Effect::DisarmDeadMan);
                self.machine.memory.other_init = Some(system);
                self.go(State::Ready {
                    target: target.clone(),
                });
                self.effects.push(Effect::Inspect(target));
            }
            State::Trial { .. } => self.revert(Evidence::of_switch(outcome, log, failures)),
            State::Committing { .. } if outcome.activated() => self.committed(),
            State::Committing {
                attempts,
                previous,
                origin,
                order,
                ..
            } => {
                let problem = Some(format!("commit: {outcome}"));
                if attempts < self.cx.policy.commit_attempts {
                    self.machine.memory.problem = problem;
                    self.machine.memory.retry = Some(self.cx.now + self.cx.policy.retry_delay);
                } else if matches!(origin, Origin::Adopt | Origin::Restore { .. }) {
                    // What runs is what should run: there is nothing better to go back to.
                    self.go(State::Idle);
                    self.machine.memory.problem = problem;
                    self.retry_later();
                } else {
                    let evidence = Evidence {
                        cause: Cause::Commit,
                        ..Evidence::of_switch(outcome, log, failures)
                    };
                    let reboot = order.action == Action::Boot;
                    self.revert_to(previous, order.action, reboot, evidence);
                }
            }
            State::Reverting {
                reboot: true,
                order,
                ..
            } if outcome.activated() => {
                self.reboot_to_revert(format!("going back to {}", order.system));
            }
            State::Reverting { .. } if outcome.activated() => self.reverted(),
            State::Reverting {
                attempts,
                order,
                reboot,
                ..
            } => {
                self.machine.memory.problem = Some(format!("revert: {outcome}"));
                if attempts < self.cx.policy.revert_attempts {
                    self.machine.memory.retry = Some(self.cx.now + self.cx.policy.retry_delay);
                } else if order.action == Action::Boot && !reboot {
                    // The system before runs; only its boot entries could not be put in order.
                    self.reverted();
                    self.machine.memory.problem = Some(format!("revert: {outcome}"));
                } else {
                    let why = format!("switching back to {} failed: {outcome}", order.system);
                    self.reboot_to_revert(why);
                }
            }
            State::Idle | State::Fetching { .. } | State::Ready { .. } => {}
        }
    }

    /// The new system is live: now it has to prove itself.
    fn soak(&mut self) {
        let policy = self.cx.policy;
        if let State::Trial { phase, .. } = &mut self.machine.journal.state {
            *phase = Phase::Soaking {
                deadline: self.cx.now + policy.health_deadline,
            };
        }
        self.probe();
    }

    fn probe(&mut self) {
        if let State::Trial { system, .. } = &self.machine.journal.state {
            self.machine.memory.soak.probing = true;
            self.machine.memory.soak.next = None;
            self.effects.push(Effect::Probe(system.clone()));
        }
    }

    fn probed(&mut self, report: Report) {
        let State::Trial {
            phase: Phase::Soaking { .. },
            target,
            ..
        } = self.machine.journal.state.clone()
        else {
            return;
        };
        let (now, policy) = (self.cx.now, self.cx.policy);
        let soak = &mut self.machine.memory.soak;
        soak.probing = false;
        soak.last = Some(report.clone());
        if report.healthy() {
            soak.failures = 0;
            let since = *soak.healthy_since.get_or_insert(now);
            if now.since(since) >= policy.soak {
                self.proven();
                return;
            }
            // Look once more exactly at the end of the soak.
            soak.next = Some((now + policy.health_interval).min(since + policy.soak));
            return;
        }
        soak.healthy_since = None;
        soak.failures += 1;
        soak.next = Some(now + policy.health_interval);
        if soak.failures >= policy.max_failures {
            let evidence = Evidence {
                cause: Cause::Unhealthy,
                message: report.summary(),
                failures: report.failures,
                log: Vec::new(),
            };
            self.failed_health(target.is_some(), evidence);
        }
    }

    /// A release goes back; a system that somebody chose by hand stays, and is only reported.
    fn failed_health(&mut self, release: bool, evidence: Evidence) {
        if release {
            self.revert(evidence);
        } else {
            self.machine.memory.problem = Some(format!(
                "the system that somebody switched to is not healthy: {}",
                evidence.message
            ));
            let problem = self.machine.memory.problem.take();
            self.go(State::Idle);
            self.machine.memory.problem = problem;
            self.retry_later();
        }
    }

    /// The trial stayed healthy.
    fn proven(&mut self) {
        if let State::Trial {
            target,
            system,
            previous,
            mode,
            ..
        } = self.machine.journal.state.clone()
        {
            let action = match mode {
                Mode::Live => Action::Switch,
                // It runs already.
                Mode::Boot => Action::Boot,
            };
            let goal = Generation {
                system,
                release: target.as_ref().map(|target| target.release.clone()),
                since: self.cx.wall,
            };
            let origin = if target.is_some() {
                Origin::Trial
            } else {
                Origin::Adopt
            };
            self.commit(goal, target, previous, origin, action);
        }
    }

    /// A trial ended through no fault of the release, as far as anybody knows: it may come again,
    /// but not for ever.
    fn no_verdict(&mut self, evidence: Evidence) {
        let Some(target) = self.machine.journal.state.target().cloned() else {
            self.go(State::Idle);
            return;
        };
        let before = self.machine.journal.attempts.take();
        let count = 1 + before
            .filter(|a| a.release == target.release && a.system == target.system)
            .map_or(0, |a| a.count);
        if count < self.cx.policy.trial_attempts {
            self.machine.journal.attempts = Some(Attempts {
                release: target.release.clone(),
                system: target.system.clone(),
                count,
            });
            self.record(
                What::Interrupted,
                target.system.clone(),
                Some(&target),
                Some(evidence.message.clone()),
                None,
            );
            self.go(State::Idle);
            self.machine.memory.problem = Some(evidence.message);
            self.retry_later();
        } else {
            self.left_behind(Evidence {
                message: format!("{} ({count} trials ended like this)", evidence.message),
                ..evidence
            });
        }
    }

    // The commit.

    fn commit(
        &mut self,
        goal: Generation,
        target: Option<Target>,
        previous: StorePath,
        origin: Origin,
        action: Action,
    ) {
        // From here on only forward: the dead-man timer must not go back.
        self.effects.push(Effect::DisarmDeadMan);
        let rollback = matches!(origin, Origin::Rollback { .. });
        let order = self.order("commit", goal.system.clone(), action, rollback);
        self.effects.push(Effect::Switch(order.clone()));
        self.go(State::Committing {
            goal,
            target,
            previous,
            origin,
            order,
            attempts: 1,
        });
    }

    fn commit_again(&mut self) {
        if let State::Committing {
            goal,
            target,
            previous,
            origin,
            order,
            attempts,
        } = self.machine.journal.state.clone()
        {
            let order = self.order("commit", order.system, order.action, order.no_check);
            self.effects.push(Effect::DisarmDeadMan);
            self.effects.push(Effect::Switch(order.clone()));
            self.go(State::Committing {
                goal,
                target,
                previous,
                origin,
                order,
                attempts: attempts.saturating_add(1),
            });
        }
    }

    fn committed(&mut self) {
        let State::Committing { goal, origin, .. } = self.machine.journal.state.clone() else {
            return;
        };
        let old = self.machine.journal.confirmed.replace(goal.clone());
        let journal = &mut self.machine.journal;
        journal.attempts = None;
        journal.fallbacks.retain(|g| g.system != goal.system);
        let (what, why, by) = match origin {
            Origin::Trial | Origin::Adopt => {
                if let Some(old) = old.filter(|old| old.system != goal.system) {
                    journal.fallbacks.insert(0, old);
                    journal.fallbacks.truncate(self.cx.policy.keep);
                }
                let what = if origin == Origin::Trial {
                    What::Confirmed
                } else {
                    What::Adopted
                };
                (what, None, None)
            }
            Origin::Rollback { why, by } => {
                // What was left does not come back by itself.
                if let Some(old) = old.filter(|old| old.system != goal.system) {
                    self.block_left(&old, &why);
                }
                (What::RolledBack, Some(why), Some(by))
            }
            Origin::Restore { why } => (What::Restored, Some(why), None),
        };
        self.record_generation(what, &goal, why, by);
        self.go(State::Idle);
        self.effects.push(Effect::Renew);
        self.poll();
    }

    /// Blocks the release that a person went back from.
    fn block_left(&mut self, old: &Generation, why: &str) {
        if let Some(release) = &old.release {
            let entry = Blocked {
                release: release.clone(),
                system: old.system.clone(),
                evidence: Evidence::plain(Cause::Rollback, why.to_owned()),
                since: self.cx.wall,
            };
            self.push_blocked(entry);
        }
    }

    // The way back.

    /// Leaves the trial for the system that ran before it.
    fn revert(&mut self, evidence: Evidence) {
        let State::Trial {
            previous,
            phase,
            mode,
            ..
        } = self.machine.journal.state.clone()
        else {
            return;
        };
        if let Phase::Switching { order } | Phase::Staging { order } = &phase {
            self.effects.push(Effect::StopSwitch(order.unit.clone()));
        }
        match mode {
            Mode::Live => self.revert_to(previous, Action::Test, false, evidence),
            Mode::Boot => {
                let booted = matches!(
                    phase,
                    Phase::Aiming | Phase::Booting | Phase::Soaking { .. }
                );
                self.revert_to(previous, Action::Boot, booted, evidence);
            }
        }
    }

    /// `reboot`: whether only a reboot leads there.
    fn revert_to(&mut self, system: StorePath, action: Action, reboot: bool, evidence: Evidence) {
        let (target, failed) = match self.machine.journal.state.clone() {
            State::Trial { target, system, .. } => (target, system),
            State::Committing { target, goal, .. } => (target, goal.system),
            _ => return,
        };
        let order = self.order("revert", system, action, true);
        self.effects.push(Effect::Switch(order.clone()));
        self.go(State::Reverting {
            target,
            failed,
            order,
            evidence,
            attempts: 1,
            reboots: 0,
            reboot,
        });
    }

    fn revert_again(&mut self) {
        if let State::Reverting {
            target,
            failed,
            order,
            evidence,
            attempts,
            reboots,
            reboot,
        } = self.machine.journal.state.clone()
        {
            let order = self.order("revert", order.system, order.action, true);
            self.effects.push(Effect::Switch(order.clone()));
            self.go(State::Reverting {
                target,
                failed,
                order,
                evidence,
                attempts: attempts.saturating_add(1),
                reboots,
                reboot,
            });
        }
    }

    /// Only a reboot leads back: the boot loader still starts the system before the trial.
    fn reboot_to_revert(&mut self, why: String) {
        self.expire_holds();
        let State::Reverting {
            order,
            attempts,
            reboots,
            ..
        } = &mut self.machine.journal.state
        else {
            return;
        };
        if *reboots >= MAX_REBOOTS {
            self.machine.memory.problem = Some(format!(
                "neither switching to {} nor {MAX_REBOOTS} reboots brought it back ({why}); a \
                 person must look",
                order.system
            ));
            return;
        }
        if let Some(hold) = self.machine.journal.holds.first() {
            self.machine.memory.problem = Some(format!(
                "{why}; the robot will be rebooted when the hold of {} ends",
                hold.owner
            ));
            self.machine.memory.retry = Some(self.cx.now + self.cx.policy.retry_delay);
            return;
        }
        *reboots += 1;
        *attempts = 0;
        let system = order.system.clone();
        self.record(What::Rebooted, system, None, Some(why.clone()), None);
        self.reboot(why);
    }

    fn reboot(&mut self, why: String) {
        self.machine.memory.retry = Some(self.cx.now + REBOOT_PATIENCE);
        self.effects.push(Effect::Reboot(why));
    }

    fn reverted(&mut self) {
        if let State::Reverting { evidence, .. } = self.machine.journal.state.clone() {
            if evidence.cause.is_verdict() {
                self.left_behind(evidence);
            } else {
                self.effects.push(Effect::DisarmDeadMan);
                self.no_verdict(evidence);
            }
        }
    }

    /// The system before runs again: remember why, and go on.
    fn left_behind(&mut self, evidence: Evidence) {
        let (target, system) = match self.machine.journal.state.clone() {
            State::Trial { target, system, .. } => (target, system),
            State::Reverting { target, failed, .. } => (target, failed),
            _ => return,
        };
        self.effects.push(Effect::DisarmDeadMan);
        self.machine.journal.attempts = None;
        self.record(
            What::Reverted,
            system,
            target.as_ref(),
            Some(evidence.message.clone()),
            None,
        );
        if let Some(target) = target {
            self.block(&target, evidence);
        }
        self.go(State::Idle);
        self.poll();
    }

    // People.

    fn asked(&mut self, request: Request) -> Answer {
        match request {
            Request::Update => self.asked_update(),
            Request::Rollback { to, why, by } => self.asked_rollback(to, why, by),
            Request::Hold { length, why, by } => {
                let expiry = length.map(|length| Expiry {
                    length,
                    boot: self.cx.boot.clone(),
                    from: self.cx.now,
                });
                let holds = &mut self.machine.journal.holds;
                holds.retain(|hold| hold.owner != by);
                holds.push(Hold {
                    owner: by,
                    why,
                    since: self.cx.wall,
                    expiry,
                });
                Ok(match length {
                    Some(length) => format!("nothing is switched for {} s", length.as_secs()),
                    None => "nothing is switched until somebody resumes".to_owned(),
                })
            }
            Request::Resume { by } => {
                self.expire_holds();
                let holds = &mut self.machine.journal.holds;
                let before = holds.len();
                holds.retain(|hold| by.as_ref().is_some_and(|by| *by != hold.owner));
                let ended = before - holds.len();
                let left: Vec<String> = holds.iter().map(|h| h.owner.clone()).collect();
                if ended == 0 {
                    return Err(Refusal::NothingToDo(if left.is_empty() {
                        "there is no hold".to_owned()
                    } else {
                        format!("you have no hold; {} has", left.join(", "))
                    }));
                }
                self.begin_if_free();
                Ok(if left.is_empty() {
                    "resumed".to_owned()
                } else {
                    format!("your hold is gone; {} still holds", left.join(", "))
                })
            }
        }
    }

    fn asked_update(&mut self) -> Answer {
        self.expire_holds();
        if let Some(hold) = self.machine.journal.holds.first() {
            return Err(Refusal::Refused(format!(
                "{} holds updates: {}",
                hold.owner, hold.why
            )));
        }
        if let Some(system) = &self.machine.memory.drift {
            return Err(Refusal::Refused(format!(
                "somebody switched by hand to {system}; `surefoot rollback` goes back to the \
                 confirmed system"
            )));
        }
        match &self.machine.journal.state {
            State::Idle => {
                self.machine.memory.retry = None;
                self.poll();
                Ok("looking for an update".to_owned())
            }
            State::Fetching { target } => {
                let target = target.clone();
                if self.machine.memory.retry.take().is_some() {
                    self.effects.push(Effect::Fetch(target.clone()));
                }
                self.poll();
                Ok(format!("release {} is being fetched", target.release))
            }
            state => Ok(format!("an update is under way ({})", state.name())),
        }
    }

    fn asked_rollback(&mut self, to: Option<StorePath>, why: String, by: String) -> Answer {
        match self.machine.journal.state.clone() {
            State::Trial {
                target: Some(_),
                previous,
                phase,
                ..
            } => {
                if to.as_ref().is_some_and(|to| *to != previous) {
                    return Err(Refusal::Refused(format!(
                        "a trial is under way; it can only be ended towards {previous}"
                    )));
                }
                if matches!(phase, Phase::Aiming | Phase::Booting) {
                    return Err(Refusal::Refused(
                        "the robot is rebooting into the trial; try again when it is back"
                            .to_owned(),
                    ));
                }
                self.revert(Evidence::plain(Cause::Rollback, format!("{by}: {why}")));
                Ok(format!("going back to {previous}"))
            }
            State::Committing { .. } | State::Reverting { .. } => Err(Refusal::Refused(format!(
                "busy {}; try again when that is done",
                self.machine.journal.state.name()
            ))),
            State::Idle
            | State::Fetching { .. }
            | State::Ready { .. }
            | State::Trial { target: None, .. } => self.roll_back(to, why, by),
        }
    }

    fn roll_back(&mut self, to: Option<StorePath>, why: String, by: String) -> Answer {
        self.expire_holds();
        if let Some(hold) = self.machine.journal.holds.iter().find(|h| h.owner != by) {
            return Err(Refusal::Refused(format!(
                "{} holds the robot: {}; `surefoot resume` ends the hold",
                hold.owner, hold.why
            )));
        }
        let journal = &self.machine.journal;
        // Somebody else's switch is left for the confirmed system; a confirmed one for the one
        // before it.
        let drifted = self.machine.memory.drift.is_some();
        let known = journal.confirmed.iter().filter(|_| drifted);
        let mut known = known.chain(&journal.fallbacks);
        let goal = match &to {
            None => known.next(),
            Some(system) => known.find(|generation| generation.system == *system),
        };
        let Some(goal) = goal.cloned() else {
            return Err(Refusal::NothingToDo(match to {
                Some(system) => format!("{system} is no system that this robot has confirmed"),
                None => "there is no earlier confirmed system to go back to".to_owned(),
            }));
        };
        let previous = match (&self.machine.memory.drift, &journal.confirmed) {
            (Some(drift), _) => drift.clone(),
            (None, Some(confirmed)) => confirmed.system.clone(),
            (None, None) => goal.system.clone(),
        };
        if matches!(journal.state, State::Fetching { .. } | State::Ready { .. }) {
            self.effects.push(Effect::CancelFetch);
        }
        let answer = format!("going back to {}", goal.system);
        let goal = Generation {
            since: self.cx.wall,
            ..goal
        };
        let origin = Origin::Rollback { why, by };
        self.commit(goal, None, previous, origin, Action::Switch);
        Ok(answer)
    }

    // Time.

    fn tick(&mut self) {
        let now = self.cx.now;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let retry = due(self.machine.memory.retry);
        if retry {
            self.machine.memory.retry = None;
        }
        let poll = due(self.machine.memory.next_poll);
        match self.machine.journal.state.clone() {
            State::Idle if retry || poll => self.poll(),
            State::Idle => {}
            State::Fetching { target } => {
                if retry {
                    self.effects.push(Effect::Fetch(target));
                }
                if poll {
                    self.poll();
                }
            }
            State::Ready { target } => {
                if retry {
                    self.effects.push(Effect::Inspect(target));
                }
                if poll {
                    self.poll();
                }
                if self.expire_holds() {
                    self.begin_if_free();
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
                        failures: last.failures,
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
            } => {
                if self.expire_holds() {
                    self.begin_if_free();
                }
            }
            State::Trial {
                phase: Phase::Booting,
                ..
            } if retry => self.boot_trial(),
            State::Trial { .. } => {}
            State::Committing { .. } if retry => self.commit_again(),
            State::Committing { .. } => {}
            State::Reverting { .. } if retry => self.revert_again(),
            State::Reverting { .. } => {}
        }
    }

    // Bookkeeping.

    fn go(&mut self, state: State) {
        self.machine.journal.state = state;
        self.machine.memory.retry = None;
        self.machine.memory.soak = Soak::default();
        if !matches!(self.machine.journal.state, State::Idle) {
            self.machine.memory.problem = None;
        }
    }

    fn order(&mut self, kind: &str, system: StorePath, action: Action, no_check: bool) -> Order {
        self.machine.journal.units += 1;
        Order {
            unit: format!("surefoot-{kind}-{}.service", self.machine.journal.units),
            system,
            action,
            default: None,
            timeout: self.cx.policy.switch_timeout,
            no_check,
        }
    }

    fn block(&mut self, target: &Target, evidence: Evidence) {
        let entry = Blocked {
            release: target.release.clone(),
            system: target.system.clone(),
            evidence,
            since: self.cx.wall,
        };
        self.push_blocked(entry);
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
