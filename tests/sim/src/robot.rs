//! The robot: what it is made of, and what can be seen of it.

use crate::{
    chance::Chance,
    log::Log,
    power::{Blow, Fate},
    witness::Witness,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};
use surefoot_core::{
    StorePath,
    gate::Stage,
    journal::Journal,
    lease::Leases,
    machine::{AfterLoss, Answer, DriftPolicy, Event, Machine, Policy, state::State},
    release::{RebootPolicy, Target},
    resolver::{SwitchUnit, Trace, World},
    switch::{Order, Outcome},
    time::{BootId, Instant},
};

/// The system `c`, a letter from `a` to `z` (some are not of Nix' alphabet: `e`, `o`, `t`, `u`).
#[must_use]
pub fn system(c: char) -> StorePath {
    let name = format!("{}-nixos-system-{c}", c.to_string().repeat(32));
    StorePath::from_base_name(&name).expect("a letter of Nix' alphabet")
}

/// Release `c`, which brings system `c`.
#[must_use]
pub fn release(c: char) -> Target {
    Target {
        release: format!("r-{c}").parse().expect("a name"),
        system: system(c),
        index: format!("closures/{c}.json.zst"),
        reboot: RebootPolicy::Auto,
        again: false,
        moves: false,
        in_steps: false,
        back: None,
    }
}

/// What the configuration says, unless a test says otherwise.
#[must_use]
pub fn policy() -> Policy {
    Policy {
        poll_interval: Duration::from_secs(600),
        rollout_fresh: Duration::from_secs(900),
        jitter: 0.2,
        backoff_base: Duration::from_secs(30),
        backoff_max: Duration::from_secs(3600),
        fetch_backoff_max: Duration::from_secs(3600),
        daily_limit: 0,
        soak: Duration::from_secs(60),
        health_deadline: Duration::from_secs(300),
        health_interval: Duration::from_secs(5),
        max_failures: 3,
        switch_timeout: Duration::from_secs(900),
        boot_deadline: Duration::from_secs(600),
        trial_attempts: 3,
        disturbances: 3,
        reboot_if_worse: true,
        commit_attempts: 3,
        revert_attempts: 3,
        retry_delay: Duration::from_secs(10),
        leases: Vec::new(),
        gate_interval: Duration::from_secs(30),
        drift: DriftPolicy::Report,
        after_loss: AfterLoss::NextRelease,
        keep: 2,
        prune: true,
        generations: 5,
    }
}

/// A generation of the profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Its system.
    pub system: StorePath,
    /// Whether the agent made it.
    pub by_agent: bool,
}

impl Generation {
    pub(crate) const fn new(system: StorePath, by_agent: bool) -> Self {
        Self { system, by_agent }
    }
}

/// Something that will be answered later: by the agent's own work, which dies with it, or by
/// systemd, which does not.
#[derive(Debug, Clone)]
pub(crate) enum Pending {
    Event(Event),
    Switch(Order),
}

/// A robot in simulated time, with everything around its agent.
#[derive(Debug, Clone)]
pub struct Robot {
    /// The configuration.
    pub policy: Policy,
    /// What is on the disk.
    pub journal: Journal,
    /// What the agent has rooted.
    pub roots: BTreeSet<StorePath>,
    /// Saves of the journal that the disk will refuse.
    pub refused_saves: u32,
    /// The disk will refuse once what somebody asked for, after they were told.
    pub refuses_what_was_told: bool,
    /// The agent's mind; `None` while it does not run.
    pub machine: Option<Machine>,
    /// The system whose agent runs.
    pub agent_of: StorePath,
    /// Whether the agent leaves for the one of the confirmed system, as the daemon does.
    pub renews: bool,
    /// The agent leaves as soon as it is idle.
    pub(crate) renew: bool,
    /// Boots so far, this one included.
    pub boots: u64,
    /// Time since this boot.
    pub now: Instant,
    /// How much of it the robot slept.
    pub slept: Duration,
    /// Systems that are specialisations of others, and of which.
    pub variants: BTreeMap<StorePath, StorePath>,
    /// What the wall clock shows; `None` if the agent knows that it is wrong.
    pub wall: Option<jiff::Timestamp>,
    /// `/run/booted-system`.
    pub booted: StorePath,
    /// `/run/current-system`.
    pub current: StorePath,
    /// The system of the profile.
    pub profile: StorePath,
    /// The profile's generations by their numbers: each has a boot entry.
    pub generations: BTreeMap<u64, Generation>,
    /// How many generations find room on the boot partition.
    pub boot_room: usize,
    /// What is in the Nix store.
    pub store: BTreeSet<StorePath>,
    /// What the boot loader starts, unless told otherwise.
    pub default: StorePath,
    /// Whether the boot loader's default is what somebody else made it.
    pub meddled: bool,
    /// What somebody else switched to.
    pub by_hand: BTreeSet<StorePath>,
    /// Where the dead-man timer goes back to, and when.
    pub dead_man: Option<(StorePath, Instant)>,
    /// What the boot loader starts next, once.
    pub one_shot: Option<StorePath>,
    /// The deadline of a boot, as it lies on the disk: for which system, and how long.
    pub(crate) boot_guard: Option<(StorePath, Duration)>,
    /// The deadline of this boot.
    pub(crate) boot_deadline: Option<Instant>,
    pub(crate) trace: Trace,
    /// One-shots that the firmware will lose.
    pub lost_one_shots: u32,
    /// Reboots that will not happen although they were ordered.
    pub lost_reboots: u32,
    /// The boot partition does not answer.
    pub silent: bool,
    /// What becomes of systems that are booted, if they do not do well.
    pub fates: BTreeMap<StorePath, Fate>,
    /// Whether somebody else holds the switcher's lock.
    pub locked: bool,
    /// Systems with a unit of their own that holds the switcher's lock while they run.
    pub lockers: BTreeSet<StorePath>,
    /// Whether the firmware has no room for another variable.
    pub full_variables: bool,
    /// Whether the boot loader cannot be written.
    pub read_only: bool,
    /// Whether nobody can tell what the boot loader starts.
    pub unreadable: bool,
    /// Systems whose activation takes the robot down.
    pub drops: BTreeSet<StorePath>,
    /// Whether writing profile and loader for a way back takes the robot down.
    pub installer_drops: bool,
    /// What comes up at each boot, whatever the boot loader's default is.
    pub stubborn: Option<StorePath>,
    /// Whether the guard of a trial will once get no more time.
    pub refuses_more_time: bool,
    /// Why boot trials are impossible here.
    pub no_boot: Option<String>,
    /// Why what a release has put on the boot partition has no room there.
    pub no_room: Option<String>,
    /// Whether what was fetched will be gone when it is looked at.
    pub collected: bool,
    /// Systems that must not be tried here.
    pub unfit: BTreeSet<StorePath>,
    pub(crate) unit: Option<(String, SwitchUnit)>,
    pub(crate) pending: VecDeque<Pending>,
    /// Whether a switch that was cut off left services stopped.
    pub leftovers: bool,
    /// What the fleet publishes.
    pub published: Option<Target>,
    /// Systems whose health checks fail.
    pub sick: BTreeSet<StorePath>,
    /// Systems on which a unit fails that nobody requires.
    pub broken: BTreeSet<StorePath>,
    /// Systems on which a service has ended that the default target pulls in.
    pub idle: BTreeSet<StorePath>,
    /// Systems that leave something behind, for which a service of the system before does not run again
    /// until a boot.
    pub hurts: BTreeSet<StorePath>,
    /// Whether one did.
    pub hurt: bool,
    /// Systems on which a job fails once they are activated a second time, as a commit does.
    pub fails_again: BTreeSet<StorePath>,
    /// Whether it does.
    pub spent: bool,
    /// Systems that never finish starting.
    pub slow: BTreeSet<StorePath>,
    /// Systems without a network.
    pub offline: BTreeSet<StorePath>,
    /// Systems on which the Nix daemon answers nobody.
    pub nix_hangs: BTreeSet<StorePath>,
    /// Whether a check fails that somebody wrote, on every system.
    pub check_fails: bool,
    /// Whether a machine beside the robot answers no check.
    pub lan_gone: bool,
    /// Whether the robot is still starting whenever it is looked at before a trial, so that no such check is
    /// asked.
    pub unasked: bool,
    /// Systems whose services fail only where the network is away, as far as they say.
    pub by_network: BTreeSet<StorePath>,
    /// Whether the repository answers nobody.
    pub outage: bool,
    /// How a switch to a system ends, if not well.
    pub outcomes: BTreeMap<StorePath, Outcome>,
    /// Systems that cannot be tried live.
    pub needs_reboot: BTreeSet<StorePath>,
    /// Everything that was done, for people who read failures.
    pub log: Log,
    /// Gates that say no when they are asked.
    pub closed: BTreeSet<Stage>,
    /// What was said in this boot.
    pub leases: Leases,
    /// Answers that nobody has taken yet.
    pub answers: Vec<Answer>,
    /// (state, event, next state)
    pub transitions: BTreeSet<(&'static str, &'static str, &'static str)>,
    /// What was seen of it without believing the agent.
    pub witness: Witness,
    /// What strikes after so many more points between two things.
    pub(crate) fuse: Option<(u32, Blow)>,
    pub(crate) chance: Chance,
}

impl Robot {
    /// A robot that was installed with system `a`; its agent has never run.
    #[must_use]
    #[allow(
        clippy::new_without_default,
        reason = "it is one of many, and not nothing"
    )]
    pub fn new() -> Self {
        let a = system('a');
        Self {
            policy: policy(),
            journal: Journal::default(),
            roots: BTreeSet::new(),
            refused_saves: 0,
            refuses_what_was_told: false,
            machine: None,
            agent_of: a.clone(),
            renews: false,
            renew: false,
            boots: 1,
            now: Instant(1_000),
            slept: Duration::ZERO,
            variants: BTreeMap::new(),
            wall: None,
            booted: a.clone(),
            current: a.clone(),
            profile: a.clone(),
            generations: BTreeMap::from([(1, Generation::new(a.clone(), false))]),
            boot_room: usize::MAX,
            store: BTreeSet::from([a.clone()]),
            default: a,
            meddled: false,
            by_hand: BTreeSet::new(),
            dead_man: None,
            one_shot: None,
            boot_guard: None,
            boot_deadline: None,
            trace: Trace::default(),
            lost_one_shots: 0,
            lost_reboots: 0,
            silent: false,
            fates: BTreeMap::new(),
            locked: false,
            lockers: BTreeSet::new(),
            full_variables: false,
            read_only: false,
            unreadable: false,
            drops: BTreeSet::new(),
            installer_drops: false,
            stubborn: None,
            refuses_more_time: false,
            no_boot: None,
            no_room: None,
            collected: false,
            unfit: BTreeSet::new(),
            unit: None,
            pending: VecDeque::new(),
            leftovers: false,
            published: None,
            sick: BTreeSet::new(),
            broken: BTreeSet::new(),
            idle: BTreeSet::new(),
            hurts: BTreeSet::new(),
            hurt: false,
            fails_again: BTreeSet::new(),
            spent: false,
            slow: BTreeSet::new(),
            offline: BTreeSet::new(),
            nix_hangs: BTreeSet::new(),
            check_fails: false,
            lan_gone: false,
            unasked: false,
            by_network: BTreeSet::new(),
            outage: false,
            outcomes: BTreeMap::new(),
            needs_reboot: BTreeSet::new(),
            log: Log::default(),
            closed: BTreeSet::new(),
            leases: Leases::default(),
            answers: Vec::new(),
            transitions: BTreeSet::new(),
            witness: Witness::default(),
            fuse: None,
            chance: Chance::from_state(7),
        }
    }

    /// One that runs `a`, confirmed, and rests.
    #[must_use]
    pub fn settled() -> Self {
        let mut robot = Self::new();
        robot.start();
        robot.settle();
        robot
    }

    /// This boot.
    #[must_use]
    pub fn boot(&self) -> BootId {
        BootId(format!("boot-{}", self.boots))
    }

    /// The confirmed system, as the journal on the disk says.
    ///
    /// # Panics
    /// The agent has never run.
    #[must_use]
    pub fn confirmed(&self) -> &StorePath {
        let confirmed = self.journal.confirmed.as_ref();
        &confirmed.expect("the agent has run").system
    }

    /// The state, as the journal on the disk says.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.journal.state
    }

    /// Whether a guard outside the agent is armed.
    #[must_use]
    pub const fn is_guarded(&self) -> bool {
        self.dead_man.is_some() || self.boot_deadline.is_some()
    }

    /// Whether the agent has come to rest, and nothing is left of a trial.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        *self.state() == State::Idle
            && self.pending.is_empty()
            && self.machine.is_some()
            && !self.is_guarded()
    }

    /// Whether a new system is being looked at.
    pub(crate) fn is_inspecting(&self) -> bool {
        let mut pending = self.pending.iter();
        pending.any(|pending| matches!(pending, Pending::Event(Event::Inspected { .. })))
    }

    /// Whether an answer is on its way to the agent.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether the agent asks the repository right now.
    #[must_use]
    pub fn is_polling(&self) -> bool {
        self.machine.as_ref().is_some_and(Machine::polling)
    }

    /// What the agent sees when it looks around.
    #[must_use]
    pub fn world(&self) -> World {
        let named = self.journal.state.order().map(|order| &order.unit);
        World {
            boot: self.boot(),
            booted: Some(self.booted.clone()),
            current: Some(self.current.clone()),
            profile: Some(self.profile.clone()),
            default: (!self.silent && !self.unreadable).then(|| self.default.clone()),
            silent: self.silent,
            dead_man: self.is_guarded(),
            trace: self.trace.clone(),
            variant: self.is_variant_of_trial(),
            switch: match &self.unit {
                Some((unit, state)) if Some(unit) == named => state.clone(),
                _ => SwitchUnit::Gone,
            },
            leftovers: self.leftovers,
            locked: self.locked,
        }
    }

    /// Whether a specialisation of the system on trial runs.
    fn is_variant_of_trial(&self) -> bool {
        let State::Trial(trial) = self.state() else {
            return false;
        };
        self.variants.get(&self.current) == Some(&trial.system)
    }

    /// Whether the running system cannot reach the repository.
    pub(crate) fn cut_off(&self) -> bool {
        self.outage || self.offline.contains(&self.current)
    }

    /// Another course of chance.
    pub fn roll(&mut self) {
        let _ = self.chance.next();
    }
}
