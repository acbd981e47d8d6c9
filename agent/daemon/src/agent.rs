//! The work loop: feeds events to the state machine, writes the journal, hands the effects on.
//!
//! It never waits for anything but the next event, so its pulse is the agent's: the watchdog is
//! fed from here and nowhere else.

use crate::{
    boot,
    config::Config,
    control::{AgentHandle, Asked, Published, RequestError, Roles},
    doctor::{Doctor, Inputs},
    fault, log,
    robot::{clock, nixos, process, world},
    state::{StateDir, leases::RuntimeDir, roots},
    status::{self, LastCheck, Meter, Offer},
    switch::dead_man,
    worker::{Work, Worker},
};
use anyhow::Context as _;
use sd_notify::NotifyState;
use std::{path::Path, sync::Arc, time::Duration};
use surefoot_api::{Knowledge, RollbackTo};
use surefoot_core::{
    StorePath,
    journal::Journal,
    machine::{Answer, Context, Decided, Effect, Event, Machine, Policy, Request, state::State},
    resolver::SwitchUnit,
    time::BootId,
};
use surefoot_store::progress;
use tokio::sync::{mpsc, watch};

/// How long a journal that cannot be written is left alone before the next try.
const PERSIST_AGAIN: Duration = Duration::from_secs(1);

/// The longest sleep of the loop: a suspended robot looks at the clock again at least this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// What the loop is told from outside.
pub(crate) enum Signal {
    /// Read the configuration again.
    Reload,
    /// Stop. What is under way goes on without the agent, and the next one finds it.
    Stop,
}

/// Why the loop ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was told to.
    Stopped,
    /// The confirmed system has another agent: systemd starts that one.
    Renewed,
}

/// The agent: a machine, a disk, and hands.
pub(crate) struct Agent {
    machine: Machine,
    state: StateDir,
    runtime: RuntimeDir,
    config: Arc<Config>,
    policy: Policy,
    boot: BootId,
    work: mpsc::UnboundedSender<Work>,
    events: mpsc::UnboundedReceiver<Event>,
    progress: watch::Receiver<progress::Status>,
    meter: Meter,
    published: watch::Sender<Published>,
    inputs: watch::Sender<Option<Inputs>>,
    roles: watch::Sender<Roles>,
    last_check: Option<LastCheck>,
    knowledge: Arc<watch::Sender<Option<Knowledge>>>,
    /// Polls are left out: the agent was started for one request.
    once: bool,
    renew: bool,
}

impl Agent {
    /// Takes over the state directory and looks around. The worker runs from here on.
    ///
    /// # Errors
    /// The journal cannot be read, or belongs to a newer agent.
    pub(crate) async fn start(
        config: Arc<Config>,
        state: StateDir,
        once: bool,
    ) -> anyhow::Result<Self> {
        let gc_roots = Path::new(roots::DIR);
        let mut journal = state.load(roots::any(gc_roots))?;
        if journal.lost.is_some() && journal.confirmed.is_none() {
            journal.fallbacks = roots::remembered(gc_roots, Path::new(roots::PROFILES));
        }
        let boot = clock::boot_id();
        let runtime = RuntimeDir::new(&config);
        let leases = runtime.load(&boot);
        let (work, queue) = mpsc::unbounded_channel();
        let (events_in, events) = mpsc::unbounded_channel();
        let (progress_in, progress) = watch::channel(progress::Status::default());
        let knowledge = Arc::default();
        let worker = Worker::new(
            Arc::clone(&config),
            &state,
            queue,
            events_in,
            progress_in,
            Arc::clone(&knowledge),
        )?;
        tokio::spawn(worker.run());
        let empty = Published::now(Default::default(), Arc::new([]));
        let mut agent = Self {
            machine: Machine::new(journal, leases),
            state,
            runtime,
            policy: Policy::from(&*config),
            roles: watch::Sender::new(roles(&config)),
            config,
            boot,
            work,
            events,
            progress,
            meter: Meter::default(),
            published: watch::Sender::new(empty),
            inputs: watch::Sender::new(None),
            last_check: None,
            knowledge,
            once,
            renew: false,
        };
        dead_man::let_finish()
            .await
            .context("cannot look at the dead-man timer")?;
        let order = agent.machine.journal().state.order().cloned();
        let mut world = world::look(order.as_ref())
            .await
            .context("cannot look at the robot")?;
        let settings = boot::Settings::new(&agent.config);
        if world.switch != SwitchUnit::Running {
            boot::try_secure(&settings, false).await;
        }
        boot::look(&settings, &agent.machine.journal().state, &mut world).await;
        tracing::info!(
            state = agent.machine.journal().state.name(),
            booted = ?world.booted, current = ?world.current, profile = ?world.profile,
            default = ?world.default,
            "started"
        );
        agent.take(Event::Started(world)).await;
        Ok(agent)
    }

    /// What the control socket says of the agent, and whom it lets ask what.
    pub(crate) fn handle(&self, requests: mpsc::Sender<Asked>) -> AgentHandle {
        AgentHandle {
            requests,
            published: self.published.subscribe(),
            roles: self.roles.subscribe(),
            doctor: Doctor::new(self.inputs.subscribe()),
        }
    }

    /// Works until it is told to stop, or has a successor.
    ///
    /// # Errors
    /// The worker is gone: then systemd starts everything anew.
    pub(crate) async fn run(
        mut self,
        mut requests: mpsc::Receiver<Asked>,
        mut signals: mpsc::Receiver<Signal>,
        config_path: &Path,
    ) -> anyhow::Result<End> {
        let pulse = sd_notify::watchdog_enabled()
            .map_or(LONGEST_SLEEP, |limit| (limit / 3).min(LONGEST_SLEEP));
        loop {
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
            if self.renew && self.machine.journal().state == State::Idle {
                return Ok(End::Renewed);
            }
            let deadline = self.machine.deadline();
            let sleep = deadline.map_or(pulse, |at| at.since(clock::since_boot()).min(pulse));
            tokio::select! {
                event = self.events.recv() => {
                    self.take(event.context("the worker ended")?).await;
                }
                Some(Asked { request, reply }) = requests.recv() => {
                    let answer = match self.take(Event::Asked(request)).await {
                        Some(answer) => answer.map_err(RequestError::from),
                        None => Err(RequestError::Failed("the agent did not answer".to_owned())),
                    };
                    // Whoever asked may have left.
                    let _ = reply.send(answer);
                }
                Ok(()) = self.progress.changed() => self.moved(),
                Some(signal) = signals.recv() => match signal {
                    Signal::Stop => return Ok(End::Stopped),
                    Signal::Reload => self.reload(config_path),
                },
                () = tokio::time::sleep(sleep) => {
                    if deadline.is_some_and(|at| at <= clock::since_boot()) {
                        self.take(Event::Tick).await;
                    }
                }
            }
        }
    }

    /// Carries out one request and what follows from it, without a socket and without polling.
    ///
    /// # Errors
    /// The request was refused, or did not end where it should.
    pub(crate) async fn run_once(mut self, request: Request) -> anyhow::Result<String> {
        let said = match self.take(Event::Asked(request)).await {
            Some(Ok(said)) => said,
            Some(Err(refusal)) => return Err(refusal.into()),
            None => anyhow::bail!("the agent did not answer"),
        };
        let wanted = self
            .machine
            .journal()
            .state
            .order()
            .map(|o| o.system.clone());
        while self.machine.journal().state != State::Idle {
            let deadline = self.machine.deadline();
            let sleep = deadline.map_or(LONGEST_SLEEP, |at| at.since(clock::since_boot()));
            tokio::select! {
                event = self.events.recv() => {
                    self.take(event.context("the worker ended")?).await;
                }
                () = tokio::time::sleep(sleep) => {
                    self.take(Event::Tick).await;
                }
            }
        }
        let current = nixos::system(nixos::CURRENT);
        anyhow::ensure!(
            wanted.is_none() || current == wanted,
            "it did not work: {current:?} runs; `surefoot history` says more"
        );
        Ok(said)
    }

    /// The system that a person names.
    ///
    /// # Errors
    /// The robot keeps no such system.
    pub(crate) fn find(&self, to: &RollbackTo) -> anyhow::Result<StorePath> {
        let journal = self.machine.journal();
        let mut known = journal.fallbacks.iter().chain(&journal.confirmed);
        known
            .find(|generation| to.names(&generation.system, generation.release.as_ref()))
            .map(|generation| generation.system.clone())
            .with_context(|| format!("{to} is no system that this robot keeps"))
    }

    /// One step: decide, write, act.
    async fn take(&mut self, event: Event) -> Option<Answer> {
        self.note_check(&event);
        let by_boot = match &event {
            Event::Asked(Request::Rollback { .. }) => nixos::by_boot(self.machine.journal()),
            _ => Vec::new(),
        };
        let cx = Context {
            by_boot: &by_boot,
            now: clock::since_boot(),
            boot: &self.boot,
            wall: Some(jiff::Timestamp::now()),
            random: fastrand::u64(..),
            policy: &self.policy,
        };
        let mut step = self.machine.step(event, &cx);
        let decided = loop {
            match step.persisted(|journal| self.persist(journal)) {
                Ok(decided) => break decided,
                Err((again, error)) => {
                    // Nothing may happen before it is written: wait for the disk.
                    tracing::error!("{error:#}; trying again");
                    let _ = sd_notify::notify(&[
                        NotifyState::Watchdog,
                        NotifyState::Status(&format!("{error:#}")),
                    ]);
                    tokio::time::sleep(PERSIST_AGAIN).await;
                    step = *again;
                }
            }
        };
        let Decided {
            machine,
            effects,
            occurrences,
            answer,
        } = decided;
        occurrences.iter().for_each(log::write);
        if machine.leases() != self.machine.leases()
            && let Err(error) = self.runtime.save(&self.boot, machine.leases())
        {
            // Then a restart of the agent forgets them.
            tracing::error!("{error:#}");
        }
        self.machine = machine;
        for effect in effects {
            match effect {
                Effect::Poll if self.once => {}
                Effect::Renew => {
                    fault::point("before", "renew");
                    if let Some(program) = process::replaced_by() {
                        tracing::info!(program = %program.display(), "another agent takes over");
                        self.renew = true;
                    }
                }
                effect => {
                    if let Effect::Fetch(_) = effect {
                        self.meter = Meter::default();
                    }
                    // The worker lives as long as the agent.
                    let _ = self.work.send(Work::Effect(effect));
                }
            }
        }
        self.publish();
        answer
    }

    /// Remembers what a check found, for the status.
    fn note_check(&mut self, event: &Event) {
        match event {
            Event::Polled(target) => {
                let journal = self.machine.journal();
                let offer = match target {
                    None => Offer::Nothing,
                    Some(target) => match (journal.blocked(target), &journal.confirmed) {
                        (Some(blocked), _) => Offer::Blocked(blocked.release.clone()),
                        (None, Some(now)) if now.system == target.system => Offer::Same,
                        (None, _) => Offer::News,
                    },
                };
                self.last_check = Some(LastCheck::new(Ok(offer)));
            }
            Event::PollFailed(why) => {
                self.last_check = Some(LastCheck::new(Err(why.clone())));
            }
            _ => {}
        }
    }

    fn persist(&self, journal: &Journal) -> anyhow::Result<()> {
        let name = match &journal.state {
            State::Trial(trial) => format!("persist-trial-{}", trial.phase.name()),
            state => format!("persist-{}", state.name()),
        };
        fault::point("before", &name);
        // A new root must be there before the journal relies on it; an old one must not go before
        // the journal has let go of it.
        let before = self.machine.journal();
        let mut roots = before.roots();
        roots.extend(journal.roots());
        // A root without a journal is how a lost journal is known: at the first start the journal comes
        // first, and what runs is rooted as such.
        if before.confirmed.is_some() || before.lost.is_some() {
            roots::set(Path::new(roots::DIR), &roots)?;
        }
        self.state.save(journal)?;
        roots::set(Path::new(roots::DIR), &journal.roots())?;
        fault::point("after", &name);
        Ok(())
    }

    /// Bytes moved: says so, but not for every one.
    fn moved(&mut self) {
        let status = *self.progress.borrow_and_update();
        if self.meter.take(&status, clock::since_boot()) {
            self.publish();
        }
    }

    fn publish(&self) {
        let status = status::of(
            &self.machine,
            &self.config,
            &self.policy,
            self.last_check.as_ref(),
            self.meter.progress(),
            self.knowledge.borrow().clone(),
        );
        let _ = sd_notify::notify(&[NotifyState::Status(&status.doing)]);
        let history = self.machine.journal().history.iter().rev();
        let history = history.map(Into::into).collect();
        let published = Published::now(status, history);
        self.inputs.send_replace(Some(Inputs::new(
            Arc::clone(&self.config),
            self.machine.journal(),
            Some(Arc::clone(&published.status)),
        )));
        self.published.send_replace(published);
    }

    fn reload(&mut self, path: &Path) {
        let mut states = vec![NotifyState::Reloading];
        states.extend(NotifyState::monotonic_usec_now().ok());
        let _ = sd_notify::notify(&states);
        match crate::config::load(path) {
            Ok(config) if config.state_dir != self.config.state_dir => {
                tracing::error!(
                    "state_dir cannot change while the agent runs; nothing was reloaded"
                );
            }
            Ok(config) => {
                self.config = Arc::new(config);
                self.policy = Policy::from(&*self.config);
                self.roles.send_replace(roles(&self.config));
                let _ = self.work.send(Work::Reload(Arc::clone(&self.config)));
                tracing::info!("configuration reloaded");
            }
            Err(problems) => {
                tracing::error!("the configuration was not reloaded:\n{problems}");
            }
        }
        self.publish();
        let _ = sd_notify::notify(&[NotifyState::Ready]);
    }
}

/// Who may do what; a group that does not exist gives nobody anything.
fn roles(config: &Config) -> Roles {
    let (roles, warnings) = Roles::resolve(&config.control);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    roles
}
