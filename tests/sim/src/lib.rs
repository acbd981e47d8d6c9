//! A simulated robot: it carries out the machine's effects on a small world, in simulated time, and
//! can lose its agent or its power between any two actions.

#![allow(clippy::unwrap_used, reason = "only tests use it")]
#![allow(missing_docs, reason = "only tests use it")]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};
use surefoot_core::{
    StorePath,
    gate::{Closed, Stage},
    health::{Check, Failure, Report},
    journal::Journal,
    lease::Leases,
    machine::{
        Answer, Context, DriftPolicy, Effect, Event, Machine, Policy, Request,
        state::{Cause, Mode, Phase, State, Trial},
    },
    reboot::Reason,
    release::{RebootPolicy, Target},
    resolver::{SwitchUnit, Trace, World},
    switch::{Action, Order, Outcome},
    time::{BootId, Instant},
};

/// The system `c`.
pub fn system(c: char) -> StorePath {
    StorePath::from_base_name(&format!("{}-nixos-system-{c}", c.to_string().repeat(32))).unwrap()
}

/// Release `c`, which brings system `c`.
pub fn release(c: char) -> Target {
    Target {
        release: format!("r-{c}").parse().unwrap(),
        system: system(c),
        index: format!("closures/{c}.json.zst"),
        reboot: RebootPolicy::Auto,
    }
}

pub fn policy() -> Policy {
    Policy {
        poll_interval: Duration::from_secs(600),
        jitter: 0.2,
        backoff_base: Duration::from_secs(30),
        backoff_max: Duration::from_secs(3600),
        soak: Duration::from_secs(60),
        health_deadline: Duration::from_secs(300),
        health_interval: Duration::from_secs(5),
        max_failures: 3,
        switch_timeout: Duration::from_secs(900),
        boot_deadline: Duration::from_secs(600),
        trial_attempts: 3,
        commit_attempts: 3,
        revert_attempts: 3,
        retry_delay: Duration::from_secs(10),
        leases: Vec::new(),
        gate_interval: Duration::from_secs(30),
        drift: DriftPolicy::Report,
        keep: 2,
    }
}

/// Something that will be answered later: by the agent's own work, which dies with it, or by
/// systemd, which does not.
#[derive(Debug, Clone)]
enum Pending {
    Event(Event),
    Switch(Order),
}

/// What becomes of a system that is booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its kernel panics.
    Panics,
    /// It stops answering; the watchdog resets the robot.
    Freezes,
    /// It is reset, and nothing says why.
    Vanishes,
    /// It has no agent that works: only the deadline can end it.
    Agentless,
}

#[derive(Debug, Clone)]
pub struct Robot {
    pub policy: Policy,
    /// What is on the disk.
    pub journal: Journal,
    pub machine: Option<Machine>,
    pub boots: u64,
    pub now: Instant,
    pub booted: StorePath,
    pub current: StorePath,
    pub profile: StorePath,
    /// The systems of the profile's generations: those have boot entries.
    pub generations: BTreeSet<StorePath>,
    pub default: StorePath,
    pub dead_man: Option<(StorePath, Instant)>,
    /// What the boot loader starts next, once.
    pub one_shot: Option<StorePath>,
    /// The deadline of a boot, as it lies on the disk: for which system, and how long.
    boot_guard: Option<(StorePath, Duration)>,
    /// The deadline of this boot.
    boot_deadline: Option<Instant>,
    trace: Trace,
    /// One-shots that the firmware will lose.
    pub lost_one_shots: u32,
    /// What becomes of systems that are booted, if they do not do well.
    pub fates: BTreeMap<StorePath, Fate>,
    /// Why boot trials are impossible here.
    pub no_boot: Option<String>,
    /// Whether what was fetched will be gone when it is looked at.
    pub collected: bool,
    /// Systems that must not be tried here.
    pub unfit: BTreeSet<StorePath>,
    unit: Option<(String, SwitchUnit)>,
    pending: VecDeque<Pending>,
    pub leftovers: bool,
    /// What the fleet publishes.
    pub published: Option<Target>,
    /// Systems whose health checks fail.
    pub sick: BTreeSet<StorePath>,
    /// Systems that never finish starting.
    pub slow: BTreeSet<StorePath>,
    /// Systems without a network.
    pub offline: BTreeSet<StorePath>,
    /// Whether the repository answers nobody.
    pub outage: bool,
    /// How a switch to a system ends, if not well.
    pub outcomes: BTreeMap<StorePath, Outcome>,
    /// Systems that cannot be tried live.
    pub needs_reboot: BTreeSet<StorePath>,
    /// Everything that was done, for people who read failures.
    pub log: Vec<String>,
    /// Gates that say no when they are asked.
    pub closed: BTreeSet<Stage>,
    /// What was said in this boot.
    pub leases: Leases,
    pub answers: Vec<Answer>,
    /// (state, event, next state)
    pub transitions: BTreeSet<(String, String, String)>,
    seed: u64,
}

impl Robot {
    /// A robot that was installed with system `a`; its agent has never run.
    pub fn new() -> Self {
        let a = system('a');
        Self {
            policy: policy(),
            journal: Journal::default(),
            machine: None,
            boots: 1,
            now: Instant(1_000),
            booted: a.clone(),
            current: a.clone(),
            profile: a.clone(),
            generations: BTreeSet::from([a.clone()]),
            default: a,
            dead_man: None,
            one_shot: None,
            boot_guard: None,
            boot_deadline: None,
            trace: Trace::default(),
            lost_one_shots: 0,
            fates: BTreeMap::new(),
            no_boot: None,
            collected: false,
            unfit: BTreeSet::new(),
            unit: None,
            pending: VecDeque::new(),
            leftovers: false,
            published: None,
            sick: BTreeSet::new(),
            slow: BTreeSet::new(),
            offline: BTreeSet::new(),
            outage: false,
            outcomes: BTreeMap::new(),
            needs_reboot: BTreeSet::new(),
            log: Vec::new(),
            closed: BTreeSet::new(),
            leases: Leases::default(),
            answers: Vec::new(),
            transitions: BTreeSet::new(),
            seed: 7,
        }
    }

    pub fn boot(&self) -> BootId {
        BootId(format!("boot-{}", self.boots))
    }

    pub fn confirmed(&self) -> &StorePath {
        &self.journal.confirmed.as_ref().unwrap().system
    }

    pub fn state(&self) -> &State {
        &self.journal.state
    }

    fn world(&self) -> World {
        let named = self.journal.state.order().map(|order| &order.unit);
        World {
            boot: self.boot(),
            booted: Some(self.booted.clone()),
            current: Some(self.current.clone()),
            profile: Some(self.profile.clone()),
            default: Some(self.default.clone()),
            dead_man: self.dead_man.is_some() || self.boot_deadline.is_some(),
            trace: self.trace.clone(),
            switch: match &self.unit {
                Some((unit, state)) if Some(unit) == named => state.clone(),
                _ => SwitchUnit::Gone,
            },
            leftovers: self.leftovers,
        }
    }

    /// Starts the agent, if it does not run.
    pub fn start(&mut self) {
        if self.machine.is_none() {
            self.log.push("start".into());
            self.machine = Some(Machine::new(self.journal.clone(), self.leases.clone()));
            let world = self.world();
            self.feed(Event::Started(world));
        }
    }

    /// The agent dies; what systemd runs goes on.
    pub fn kill(&mut self) {
        self.log.push("kill".into());
        self.machine = None;
        self.pending.retain(|p| matches!(p, Pending::Switch(_)));
    }

    /// The power goes and comes back: the boot loader starts its one-shot or its default.
    pub fn power_cut(&mut self) {
        self.log.push("power cut".into());
        let live = matches!(
            self.state(),
            State::Trial(Trial {
                mode: Mode::Live,
                ..
            })
        );
        if live {
            // Whatever an earlier trial left is older than this one.
            self.trace = Trace::default();
        }
        self.go_down();
        match self.one_shot.take() {
            Some(_) if self.lost_one_shots > 0 => {
                self.lost_one_shots -= 1;
                self.trace.started = Some(false);
            }
            Some(system) => {
                self.log.push(format!("the loader starts {system} once"));
                self.trace.started = Some(true);
                let fate = self.fates.get(&system).copied();
                self.come_up(system);
                match fate {
                    None => return,
                    Some(Fate::Agentless) => {
                        let armed = self.boot_deadline.is_some();
                        assert!(armed, "boots a trial without its deadline");
                        self.trace.ended = Some(Cause::Deadline);
                    }
                    Some(Fate::Panics) => self.trace.ended = Some(Cause::Panic),
                    Some(Fate::Freezes) => self.trace.ended = Some(Cause::Watchdog),
                    Some(Fate::Vanishes) => {}
                }
                self.go_down();
            }
            None => {}
        }
        self.come_up(self.default.clone());
    }

    /// The kernel or the hardware resets it, and leaves a trace of why.
    pub fn reset(&mut self, cause: Cause) {
        self.power_cut();
        self.trace.ended = Some(cause);
    }

    fn come_up(&mut self, system: StorePath) {
        self.boots += 1;
        self.now = Instant(1_000);
        self.current = system.clone();
        let guard = self
            .boot_guard
            .iter()
            .find(|(guarded, _)| *guarded == system);
        self.boot_deadline = guard.map(|(_, within)| Instant(0) + *within);
        self.booted = system;
    }

    fn go_down(&mut self) {
        self.kill();
        // A switch that was running got as far as it got.
        let running: Vec<_> = self.pending.drain(..).collect();
        for pending in running {
            if let Pending::Switch(order) = pending
                && order.action != Action::Test
                && self.random().is_multiple_of(2)
            {
                self.set_profile(&order);
                if order.action != Action::Stage && self.random().is_multiple_of(2) {
                    self.default = order.system;
                }
            }
        }
        self.leases = Leases::default();
        self.dead_man = None;
        self.boot_deadline = None;
        self.unit = None;
        self.leftovers = false;
    }

    fn set_profile(&mut self, order: &Order) {
        self.profile = order.system.clone();
        self.generations.insert(order.system.clone());
        if let Some(surplus) = &order.remove {
            self.generations.remove(surplus);
        }
    }

    fn cut_off(&self) -> bool {
        self.outage || self.offline.contains(&self.current)
    }

    /// Another course of chance.
    pub fn roll(&mut self) {
        let _ = self.random();
    }

    fn random(&mut self) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed
    }

    /// Gives the agent an event; its effects happen.
    pub fn feed(&mut self, event: Event) {
        let Some(machine) = self.machine.clone() else {
            return;
        };
        let (random, boot, policy) = (self.random(), self.boot(), self.policy.clone());
        // A system with the kernel that was booted can be switched to.
        let booted = self.needs_reboot.contains(&self.booted);
        let kept = self.journal.fallbacks.iter().chain(&self.journal.confirmed);
        let by_boot: Vec<StorePath> = kept
            .map(|generation| generation.system.clone())
            .filter(|system| self.needs_reboot.contains(system) != booted)
            .collect();
        let cx = Context {
            by_boot: &by_boot,
            now: self.now,
            boot: &boot,
            wall: None,
            random,
            policy: &policy,
        };
        let name = name_of(&event);
        let before = machine.journal().state.name().to_owned();
        let mut written = None;
        let decided = machine
            .step(event, &cx)
            .persisted(|journal| {
                // Through its text, as on the disk.
                let text = serde_json::to_vec(journal).unwrap();
                written = Some(Journal::parse(&text).unwrap());
                Ok::<_, ()>(())
            })
            .unwrap();
        if let Some(journal) = written {
            assert_eq!(journal, *decided.machine.journal());
            self.journal = journal;
        }
        let after = self.journal.state.name().to_owned();
        if before != after {
            self.transitions
                .insert((before, name.clone(), after.clone()));
        }
        self.log.push(format!("{name} -> {after}"));
        self.leases = decided.machine.leases().clone();
        self.machine = Some(decided.machine);
        self.answers.extend(decided.answer);
        for effect in decided.effects {
            self.carry_out(effect);
        }
        self.check();
    }

    /// Whether a lease says so; a switch that runs already goes on.
    fn is_busy(&self) -> bool {
        let policy = &self.policy;
        !self.leases.closed(&policy.leases, self.now).is_empty()
    }

    /// The robot's software says whether it is busy.
    pub fn lease(&mut self, busy: bool, seconds: u64) -> Answer {
        self.ask(Request::Lease {
            name: "gripper".parse().unwrap(),
            busy,
            why: busy.then(|| "carries glass".into()),
            ttl: Duration::from_secs(seconds),
            by: "ros".into(),
        })
    }

    pub fn ask(&mut self, request: Request) -> Answer {
        self.feed(Event::Asked(request));
        self.answers.pop().unwrap()
    }

    fn carry_out(&mut self, effect: Effect) {
        self.log.push(format!("  {effect:?}"));
        let answer = match effect {
            Effect::AskGates(stage) => Event::Gates {
                stage,
                closed: self.closed.contains(&stage).then(no).into_iter().collect(),
            },
            Effect::Poll => {
                let world = self.world();
                self.pending
                    .push_back(Pending::Event(Event::Observed(world)));
                if self.cut_off() {
                    return self
                        .pending
                        .push_back(Pending::Event(Event::PollFailed("no route".into())));
                }
                Event::Polled(self.published.clone())
            }
            Effect::Fetch(target) => {
                assert!(
                    self.journal.blocked(&target).is_none(),
                    "fetches what is blocked"
                );
                Event::Fetched
            }
            Effect::Inspect(_) if std::mem::take(&mut self.collected) => Event::Vanished,
            Effect::Inspect(target) => Event::Inspected {
                current: self.current.clone(),
                reboot: if self.needs_reboot.contains(&target.system) {
                    vec![Reason::Kernel]
                } else {
                    vec![]
                },
                unfit: self
                    .unfit
                    .contains(&target.system)
                    .then(|| "it has no agent".to_owned()),
                no_boot: self.no_boot.clone(),
            },
            Effect::AimBoot {
                system,
                previous,
                within,
            } => {
                assert_eq!(self.default, previous, "the way back is not the default");
                assert_eq!(self.profile, system, "the trial has no boot entry");
                self.trace = Trace::default();
                self.boot_guard = Some((system.clone(), within));
                self.one_shot = Some(system);
                Event::BootAimed
            }
            Effect::ArmDeadMan { system, after } => {
                self.dead_man = Some((system, self.now + after));
                Event::DeadManArmed
            }
            Effect::Disarm(guards) => {
                if guards.dead_man {
                    self.dead_man = None;
                }
                if guards.one_shot {
                    self.one_shot = None;
                }
                if guards.boot_deadline {
                    self.boot_guard = None;
                    self.boot_deadline = None;
                }
                return;
            }
            Effect::Switch(order) => {
                // No effect before its state is on disk.
                assert_eq!(
                    self.journal.state.order(),
                    Some(&order),
                    "unit is not in the journal"
                );
                if let State::Trial(Trial { mode, previous, .. }) = &self.journal.state {
                    let open = *mode == Mode::Boot || !self.is_busy();
                    assert!(open, "switches although the robot is busy");
                    if *mode == Mode::Live {
                        assert!(self.dead_man.is_some(), "switches without a dead-man timer");
                        assert_eq!(
                            order.action,
                            Action::Test,
                            "a trial must leave the loader alone"
                        );
                    } else {
                        assert_eq!(order.action, Action::Stage);
                        assert_eq!(order.default.as_ref(), Some(previous));
                    }
                    assert!(
                        self.journal
                            .state
                            .target()
                            .is_some_and(|t| self.journal.blocked(t).is_none()),
                        "tries what is blocked"
                    );
                }
                if self
                    .unit
                    .as_ref()
                    .is_none_or(|(unit, _)| *unit != order.unit)
                {
                    self.unit = Some((order.unit.clone(), SwitchUnit::Running));
                    self.pending.push_back(Pending::Switch(order));
                } else if let Some((unit, SwitchUnit::Ended { outcome, log })) = self.unit.clone() {
                    self.pending.push_back(Pending::Event(Event::SwitchEnded {
                        unit,
                        outcome,
                        log,
                        failures: vec![],
                    }));
                }
                return;
            }
            Effect::StopSwitch(unit) => {
                self.pending
                    .retain(|p| !matches!(p, Pending::Switch(order) if order.unit == unit));
                return;
            }
            Effect::Probe(expected) => {
                let mut report = Report::default();
                if self.current != expected || self.sick.contains(&self.current) {
                    report.failures.push(Failure {
                        check: "unit arm.service".into(),
                        message: "failed".into(),
                        journal: vec!["no arm found".into()],
                    });
                }
                if self.slow.contains(&self.current) {
                    report.pending.push(Failure {
                        check: "unit arm.service".into(),
                        message: "still starting".into(),
                        journal: Vec::new(),
                    });
                }
                if self.cut_off() {
                    report.failures.push(Failure {
                        check: Check::ManifestServer,
                        message: "no route".into(),
                        journal: Vec::new(),
                    });
                }
                Event::Probed(report)
            }
            Effect::Reboot(_) => {
                assert!(self.journal.holds.is_empty(), "reboots against a hold");
                if let State::Trial(Trial { phase, system, .. }) = &self.journal.state {
                    assert!(!self.is_busy(), "reboots although the robot is busy");
                    assert_eq!(*phase, Phase::Booting);
                    assert_eq!(self.one_shot.as_ref(), Some(system), "reboots into nothing");
                }
                self.power_cut();
                return;
            }
            Effect::CancelFetch => {
                self.pending.retain(|p| {
                    !matches!(p, Pending::Event(Event::Fetched | Event::FetchFailed(_)))
                });
                return;
            }
            Effect::Renew => return,
        };
        self.pending.push_back(Pending::Event(answer));
    }

    /// One thing happens: an answer, a switch that ends, or time that passes. `false` if nothing
    /// can happen any more but the next poll.
    pub fn advance(&mut self) -> bool {
        match self.pending.pop_front() {
            Some(Pending::Event(event)) => self.feed(event),
            Some(Pending::Switch(order)) => self.finish(order),
            None => return self.wait(),
        }
        true
    }

    fn finish(&mut self, order: Order) {
        let live = matches!(order.action, Action::Test | Action::Switch);
        let outcome = match self.outcomes.get(&order.system) {
            // What only activating brings to light.
            Some(Outcome::NeedsReboot | Outcome::UnitsFailed | Outcome::ActivationFailed)
                if !live =>
            {
                Outcome::Done
            }
            Some(outcome) => outcome.clone(),
            None => Outcome::Done,
        };
        if order.action != Action::Test && (outcome.activated() || outcome == Outcome::NeedsReboot)
        {
            self.set_profile(&order);
            self.default = order
                .default
                .clone()
                .unwrap_or_else(|| order.system.clone());
        }
        if !live {
            // Nothing is activated.
        } else if outcome.activated() || matches!(outcome, Outcome::ActivationFailed) {
            self.current = order.system.clone();
            self.leftovers = false;
        }
        let log = vec![outcome.to_string()];
        self.unit = Some((
            order.unit.clone(),
            SwitchUnit::Ended {
                outcome: outcome.clone(),
                log: log.clone(),
            },
        ));
        self.feed(Event::SwitchEnded {
            unit: order.unit,
            outcome,
            log,
            failures: vec![],
        });
        self.check();
    }

    /// Nothing is pending: time passes to the next thing that is due.
    fn wait(&mut self) -> bool {
        let tick = self.machine.as_ref().and_then(Machine::deadline);
        let fires = self.dead_man.as_ref().map(|(_, at)| *at);
        let resets = self.boot_deadline;
        let Some(next) = tick.into_iter().chain(fires).chain(resets).min() else {
            return false;
        };
        self.now = self.now.max(next);
        if resets.is_some_and(|at| at <= self.now) {
            self.log.push("the boot's deadline has come".into());
            self.trace.ended = Some(Cause::Deadline);
            self.power_cut();
            self.check();
            return true;
        }
        if fires.is_some_and(|at| at <= self.now) {
            let (system, _) = self.dead_man.take().unwrap();
            self.log.push("dead-man timer fires".into());
            self.current = system;
            self.check();
            return true;
        }
        self.feed(Event::Tick);
        true
    }

    /// Until the robot is idle and has polled once more since.
    pub fn settle(&mut self) {
        for _ in 0..2_000 {
            let quiet = *self.state() == State::Idle && self.pending.is_empty();
            if quiet
                && self.machine.is_some()
                && self.dead_man.is_none()
                && self.boot_deadline.is_none()
            {
                return;
            }
            if !self.advance() {
                // A reboot, or a kill: systemd starts the agent again.
                self.start();
            }
            self.start();
        }
        panic!("does not settle:\n{}", self.log.join("\n"));
    }

    /// Until something is so.
    pub fn settle_until(&mut self, so: impl Fn(&Self) -> bool) {
        for _ in 0..2_000 {
            if so(self) {
                return;
            }
            self.start();
            self.advance();
        }
        panic!("never happens:\n{}", self.log.join("\n"));
    }

    /// What must hold at every moment.
    fn check(&self) {
        let Some(confirmed) = &self.journal.confirmed else {
            return;
        };
        let going_back = matches!(
            &self.journal.state,
            State::Committing(_) | State::Reverting(_)
        );
        assert!(
            self.default == confirmed.system || going_back,
            "the boot loader would start {} although {} is confirmed:\n{}",
            self.default,
            confirmed.system,
            self.log.join("\n")
        );
        let roots = self.journal.roots();
        assert!(roots.values().any(|root| *root == confirmed.system));
        if let State::Trial(Trial { previous, .. }) = &self.journal.state {
            assert!(roots.values().any(|root| root == previous));
        }
    }
}

fn no() -> Closed {
    Closed {
        gate: "command docked".into(),
        why: "it is not".into(),
    }
}

pub fn name_of(event: &Event) -> String {
    match event {
        Event::Started(_) => "Started",
        Event::Tick => "Tick",
        Event::Gates { closed, .. } if closed.is_empty() => "Gates(open)",
        Event::Gates { .. } => "Gates(closed)",
        Event::Polled(_) => "Polled",
        Event::PollFailed(_) => "PollFailed",
        Event::Observed(_) => "Observed",
        Event::Fetched => "Fetched",
        Event::FetchFailed(_) => "FetchFailed",
        Event::Inspected { .. } => "Inspected",
        Event::InspectFailed(_) => "InspectFailed",
        Event::Vanished => "Vanished",
        Event::DeadManArmed => "DeadManArmed",
        Event::DeadManFailed(_) => "DeadManFailed",
        Event::BootAimed => "BootAimed",
        Event::AimFailed(_) => "AimFailed",
        Event::SwitchEnded { .. } => "SwitchEnded",
        Event::Probed(_) => "Probed",
        Event::Asked(Request::Update) => "Asked(Update)",
        Event::Asked(Request::Rollback { .. }) => "Asked(Rollback)",
        Event::Asked(Request::Lease { .. }) => "Asked(Lease)",
        Event::Asked(Request::EndLease { .. }) => "Asked(EndLease)",
        Event::Asked(Request::Hold { .. }) => "Asked(Hold)",
        Event::Asked(Request::Resume { .. }) => "Asked(Resume)",
    }
    .to_owned()
}
