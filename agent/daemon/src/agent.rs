//! The work loop: feeds events to the state machine, writes the journal, hands the effects on.
//!
//! It never waits for anything but the next event, so its pulse is the agent's: the watchdog is
//! fed from here and nowhere else.

mod promise;

use crate::{
    boot,
    config::Config,
    control::{ANSWER, AgentHandle, Asked, Published, RequestError, Roles},
    doctor::Doctor,
    fault,
    inputs::Inputs,
    log, memory, repository,
    robot::{clock, identity, kept_away, network, nixos, process, profile::PROFILES},
    scrub, stalls,
    state::{StateDir, leases::RuntimeDir, roots},
    status::{self, LastCheck, Meter, Offer},
    still::{self, Because, Still},
    systems::Systems,
    tally::{Orphaned, Tally},
    trouble::{Lost, Trouble},
    turns::{Turn, Turns},
    worker::{Work, Worker, look},
};
use anyhow::Context as _;
use promise::Promised;
use sd_notify::NotifyState;
use std::{borrow::Cow, collections::BTreeSet, path::Path, sync::Arc, time::Duration};
use surefoot_api::{Knowledge, Stall, StatusInfo};
use surefoot_core::{
    events::{Kind, Occurrence},
    journal::Journal,
    lease::Holder,
    machine::{
        Answer, Context, Decided, Effect, Event, Machine, Policy, Refusal, Request, state::State,
    },
    made::Way,
    prune::Prune,
    resolver::World,
    store_path::STORE_DIR,
    time::{BootId, Instant},
    untold::Untold,
};
use surefoot_store::{progress, verify::Verified};
use tokio::sync::{mpsc, watch};

/// The longest sleep of the loop: a suspended robot looks at the clock again at least this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// What the loop is told from outside.
pub(crate) enum Signal {
    /// Read the configuration again.
    Reload,
    /// Stop. What is under way goes on without the agent, and the next one finds it.
    Stop,
}

/// What an agent is started for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// To work until it is told to stop. What is wrong with its configuration, if anything: then it has
    /// what can be used of it, and stands still.
    Daemon {
        /// In one line.
        refused: Option<String>,
    },
    /// For one request; polls are left out.
    Once,
}

/// Why the loop ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was told to.
    Stopped,
    /// The confirmed system has another agent: systemd starts that one.
    Renewed,
    /// It stood still, and what it could not use can be used now: systemd starts it anew.
    Recovered,
}

/// The agent: a machine, a disk, and hands.
pub(crate) struct Agent {
    machine: Machine,
    /// The journal cannot be written.
    trouble: Option<Trouble>,
    /// It stands still.
    still: Option<Still>,
    state: StateDir,
    runtime: RuntimeDir,
    config: Arc<Config>,
    /// What is wrong with the configuration on the disk, for which it is not in force.
    refused: Option<String>,
    policy: Policy,
    boot: BootId,
    work: mpsc::UnboundedSender<Work>,
    events: mpsc::UnboundedReceiver<Event>,
    /// Connections that have ended and may have held leases. Their end comes before what anybody asks
    /// after it.
    lost: (
        mpsc::UnboundedSender<Holder>,
        mpsc::UnboundedReceiver<Holder>,
    ),
    /// Whether a guard is armed, looked at while the agent stands still.
    guards: (
        mpsc::UnboundedSender<anyhow::Result<bool>>,
        mpsc::UnboundedReceiver<anyhow::Result<bool>>,
    ),
    progress: watch::Receiver<progress::Status>,
    meter: Meter,
    stalls: stalls::Watch,
    verified: Verified,
    /// What of the store is damaged.
    damaged: watch::Receiver<Vec<String>>,
    /// What the worker is told of what may go, by the journal that is on the disk.
    prune: watch::Sender<Prune>,
    published: watch::Sender<Published>,
    inputs: watch::Sender<Option<Inputs>>,
    roles: watch::Sender<Roles>,
    last_check: Option<LastCheck>,
    knowledge: Arc<watch::Sender<Option<Knowledge>>>,
    /// Polls are left out: the agent was started for one request.
    once: bool,
    renew: bool,
    copy: boot::CopyKeeper,
    /// What a request has led to, whose caller has to be told before anything comes of it.
    promised: Option<Promised>,
    /// Leases that lost their holders, by whom they are counted with.
    orphaned: Tally<Orphaned, String>,
}

/// How long it may take to tell a caller, which is tried once and waits for nobody: the conversation has to
/// get its turn.
const TELL: Duration = Duration::from_secs(1);

impl Agent {
    /// Takes over the state directory and looks around. The worker runs from here on. Where nothing can
    /// be remembered or the configuration cannot be used there is an agent all the same: [`Still`].
    ///
    /// # Errors
    /// systemd does not answer.
    pub(crate) async fn start(
        config: Arc<Config>,
        mut state: StateDir,
        start: Start,
    ) -> anyhow::Result<Self> {
        let (once, refused) = match start {
            Start::Once => (true, None),
            Start::Daemon { refused } => (false, refused),
        };
        let gc_roots = Path::new(roots::DIR);
        let mut journal = state.load(roots::any(gc_roots));
        let still = match (state.unusable(), &refused) {
            (Some(why), _) => Some((Because::Memory, why.to_owned())),
            (None, Some(why)) => Some((Because::Configuration, unusable(why))),
            (None, None) => None,
        };
        let still = still.map(|(because, why)| Still::new(because, why, journal.state.clone()));
        let is_new = journal.confirmed.is_none();
        if still.is_some() || (is_new && journal.lost.is_some()) {
            journal = still::at_rest(journal, clock::since_boot());
        }
        if is_new {
            // What looks like a first start may be one after a loss: the copy tells.
            boot::recall(&mut journal, &boot::Settings::new(&config)).await;
        }
        if is_new && journal.lost.is_some() {
            for known in roots::remembered(gc_roots, Path::new(PROFILES)) {
                let mut fallbacks = journal.fallbacks.iter();
                if fallbacks.all(|fallback| fallback.system != known.system) {
                    journal.fallbacks.push(known);
                }
            }
            if let Some(loss) = &mut journal.lost {
                loss.seen = repository::seen(&config, &state.path());
            }
        }
        let boot = clock::boot_id();
        let runtime = RuntimeDir::new(&config);
        let leases = runtime.load(&boot, clock::since_boot());
        let (lost_in, lost) = mpsc::unbounded_channel();
        let (work, queue) = mpsc::unbounded_channel();
        let (events_in, events) = mpsc::unbounded_channel();
        let (progress_in, progress) = watch::channel(progress::Status::default());
        let verified = runtime.verified(&boot);
        let knowledge = Arc::default();
        let (prune, told_prune) = watch::channel(Prune::default());
        let told = (!once).then(|| events_in.clone());
        let worker = Worker::new(
            Arc::clone(&config),
            &state,
            queue,
            events_in,
            progress_in,
            (verified.clone(), told_prune),
            Arc::clone(&knowledge),
        );
        tokio::spawn(worker.run());
        if let Some(events) = told {
            tokio::spawn(network::watch(events));
        }
        let (after, silence) = (config.stalled_after, boot::silence());
        let stalls = stalls::Watch::start(after, STORE_DIR.into(), silence);
        let empty = Published::now(Default::default(), Arc::new([]));
        let mut agent = Self {
            machine: Machine::new(journal, leases),
            trouble: None,
            still,
            state,
            runtime,
            policy: Policy::from(&*config),
            roles: watch::Sender::new(roles(&config)),
            config,
            refused,
            boot,
            work,
            events,
            lost: (lost_in, lost),
            guards: mpsc::unbounded_channel(),
            progress,
            meter: Meter::default(),
            stalls,
            verified,
            damaged: watch::Sender::default().subscribe(),
            prune,
            published: watch::Sender::new(empty),
            inputs: watch::Sender::new(None),
            last_check: None,
            knowledge,
            once,
            renew: false,
            copy: boot::CopyKeeper::default(),
            promised: None,
            orphaned: Tally::default(),
        };
        if agent.still.is_none() {
            identity::keep(&agent.config);
        }
        if let Some(still) = &agent.still {
            tracing::error!("{}; nothing is decided until that has changed", still.why());
            if !once {
                agent.publish();
                return Ok(agent);
            }
        }
        let state = agent.still.as_ref().map(Still::state);
        let state = state.unwrap_or(&agent.machine.journal().state);
        let world = look(&agent.config, state).await?;
        tracing::info!(
            state = agent.machine.journal().state.name(),
            booted = ?world.booted, current = ?world.current, profile = ?world.profile,
            default = ?world.default,
            "started"
        );
        agent.happened(Event::Started(world));
        Ok(agent)
    }

    /// What the control socket says of the agent, and whom it lets ask what.
    pub(crate) fn handle(&self, requests: mpsc::Sender<Asked>) -> AgentHandle {
        AgentHandle {
            requests,
            lost: self.lost.0.clone(),
            published: self.published.subscribe(),
            roles: self.roles.subscribe(),
            doctor: Doctor::new(self.inputs.subscribe()),
            systems: Systems::new(self.inputs.subscribe()),
        }
    }

    /// What it says of itself, with the configuration by which it says so.
    pub(crate) fn told(&self) -> (watch::Receiver<Published>, watch::Receiver<Option<Inputs>>) {
        (self.published.subscribe(), self.inputs.subscribe())
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
        let (found, damaged) = watch::channel(Vec::new());
        self.damaged = damaged;
        let (say, mut told) = mpsc::unbounded_channel();
        let (inputs, verified) = (self.inputs.subscribe(), self.verified.clone());
        tokio::spawn(scrub::run(inputs, verified, scrub::Found { found, say }));
        let mut stalled = BTreeSet::new();
        let pulse = sd_notify::watchdog_enabled()
            .map_or(LONGEST_SLEEP, |limit| (limit / 3).min(LONGEST_SLEEP));
        let mut turns = Turns::new(pulse, clock::since_boot());
        loop {
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
            if let Some(mut promised) = self.promised.take() {
                let told = tokio::time::timeout(TELL, &mut promised.told).await;
                self.keep_promise(promised, matches!(told, Ok(Ok(()))));
                continue;
            }
            self.tend_memory();
            self.sum_up();
            if self.renew && self.machine.journal().state == State::Idle {
                return Ok(End::Renewed);
            }
            let (wake, now) = (self.wakes(), clock::since_boot());
            let sleep = match turns.next(wake, now) {
                Turn::Others(sleep) => sleep,
                Turn::Time => {
                    if self.can_work(config_path) {
                        return Ok(End::Recovered);
                    }
                    if wake.is_some_and(|at| at <= now) {
                        self.woken();
                    }
                    continue;
                }
            };
            tokio::select! {
                // Whoever ends the agent does not wait for anything else.
                biased;
                Some(signal) = signals.recv() => match signal {
                    Signal::Stop => {
                        self.is_kept_away();
                        return Ok(End::Stopped);
                    }
                    Signal::Reload => {
                        self.reload(config_path);
                        if self.can_work(config_path) {
                            return Ok(End::Recovered);
                        }
                    }
                },
                event = self.events.recv() => {
                    let event = event.context("the worker ended")?;
                    if matches!(event, Event::Fetched | Event::FetchFailed(_)) {
                        self.count();
                    }
                    let polled = matches!(event, Event::Polled(_) | Event::PollFailed(_));
                    self.happened(event);
                    let state = &self.machine.journal().state;
                    if polled && matches!(state, State::Idle | State::Ready(_)) {
                        memory::rest();
                    }
                }
                Some(holder) = self.lost.1.recv() => self.holder_lost(holder),
                Some(armed) = self.guards.1.recv() => self.looked_at_guards(armed),
                Some(asked) = requests.recv() => self.asked(asked),
                Ok(()) = self.progress.changed() => self.moved(),
                Ok(()) = self.stalls.found.changed() => self.note_stalls(&mut stalled),
                Some(event) = told.recv() => self.happened(event),
                Ok(()) = self.damaged.changed() => self.publish(),
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Carries out one request and what follows from it, without a socket and without polling. A commit that
    /// was cut off is done first: nobody else would do it, and until then there is no way back. So is a way back to
    /// another system than the one that is asked for, as far as it gets on.
    ///
    /// # Errors
    /// The request was refused, or did not end where it should.
    pub(crate) async fn run_once(mut self, request: Request, way: &Way) -> anyhow::Result<String> {
        self.is_open(way)?;
        let to = match &request {
            Request::Rollback { to, .. } => to.clone(),
            _ => None,
        };
        self.go_on_while(|agent| {
            let machine = &agent.machine;
            let elsewhere = to.as_ref().is_some_and(|to| machine.goes_elsewhere(to));
            (machine.commits() || elsewhere) && agent.trouble.is_none()
        })
        .await?;
        self.is_open(way)?;
        let said = match self.answer(request) {
            Ok(said) => said,
            Err(RequestError::Refusal(refusal)) => return Err(refusal.into()),
            Err(RequestError::Failed(why)) => anyhow::bail!(why),
        };
        let wanted = self
            .machine
            .journal()
            .state
            .order()
            .map(|o| o.system.clone());
        self.go_on_while(|agent| {
            agent.machine.journal().state != State::Idle && agent.machine.stuck().is_none()
        })
        .await?;
        let current = nixos::system(nixos::CURRENT);
        anyhow::ensure!(
            wanted.is_none() || current == wanted,
            "it did not work: {current:?} runs; `surefoot history` says more"
        );
        Ok(match self.machine.stuck() {
            Some(problem) => format!("{said}; {problem}: the agent goes on with that once it runs"),
            None => said,
        })
    }

    /// Works, without a socket, while it is so.
    async fn go_on_while(&mut self, so: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        while so(self) {
            let sleep = self.wakes();
            let sleep = sleep.map_or(LONGEST_SLEEP, |at| at.since(clock::since_boot()));
            tokio::select! {
                event = self.events.recv() => {
                    self.happened(event.context("the worker ended")?);
                }
                () = tokio::time::sleep(sleep) => self.woken(),
            }
        }
        Ok(())
    }

    /// When something is due without an event: another try of the journal, or what the machine
    /// waits for.
    fn wakes(&self) -> Option<Instant> {
        if self.is_resting() {
            return None;
        }
        match &self.trouble {
            Some(trouble) => Some(trouble.next()),
            None => self.machine.deadline(),
        }
    }

    /// Whether it stands still and nothing at all happens.
    fn is_resting(&self) -> bool {
        self.still.as_ref().is_some_and(|still| !still.at_work())
    }

    /// Whether it stands still and need not any more.
    fn can_work(&self, config_path: &Path) -> bool {
        let still = self.still.as_ref().filter(|still| still.is_idle());
        still.is_some_and(|still| match still.because() {
            Because::Memory => self.state.is_usable(roots::any(Path::new(roots::DIR))),
            Because::Configuration => crate::config::load(config_path).is_ok(),
        })
    }

    /// Stands still from now on.
    fn stand_still(&mut self, error: &anyhow::Error) {
        let why = format!("{error:#}");
        tracing::error!("{why}; nothing is decided until that has changed");
        let (journal, leases) = (self.machine.journal(), self.machine.leases());
        self.still = Some(Still::new(Because::Memory, why, journal.state.clone()));
        self.trouble = None;
        let journal = still::at_rest(journal.clone(), clock::since_boot());
        self.machine = Machine::new(journal, leases.clone());
        self.publish();
    }

    /// The robot was looked at while it stands still: for a rollback.
    fn looked(&mut self, world: World) {
        let Some(still) = &mut self.still else { return };
        let (world, asked) = still.looked(world);
        // Nothing of it is written, and nothing comes of it but what is known now.
        let _ = self.take(Event::Started(world));
        if let Some(asked) = asked {
            self.decide(asked);
        }
    }

    /// Something is due.
    fn woken(&mut self) {
        if self.trouble.is_none() {
            self.happened(Event::Tick);
            return;
        }
        let saved = self.save();
        let Some(trouble) = &mut self.trouble else {
            return;
        };
        let now = clock::since_boot();
        if let Err(error) = saved {
            self.cannot_write(&error, Lost::Nothing);
        } else if trouble.missed() {
            trouble.looking(now);
            let state = Box::new(self.machine.journal().state.clone());
            let _ = self.work.send(Work::Look(state));
        } else if self.machine.deadline().is_some_and(|at| at <= now) {
            self.happened(Event::Tick);
        } else {
            self.can_write();
        }
    }

    /// Whether something happened that could not be written, and is to be found by a look.
    fn missed(&self) -> bool {
        self.trouble.as_ref().is_some_and(Trouble::missed)
    }

    /// Something happened by itself. If it cannot be written it is found by a look at the robot,
    /// later: see [`Trouble`].
    fn happened(&mut self, event: Event) {
        match event {
            Event::Started(world) if self.is_resting() => return self.looked(world),
            _ if self.is_resting() => return,
            // A look for another rollback, which is being carried out by now: it knows nothing of that.
            Event::Started(_) if self.still.is_some() && !self.missed() => return,
            _ => {}
        }
        let lost = match event {
            Event::Started(_) => Lost::Look,
            Event::Tick => Lost::Nothing,
            _ => Lost::Event,
        };
        if self.missed() {
            if lost != Lost::Look {
                return;
            }
            let (journal, leases) = (self.machine.journal(), self.machine.leases());
            self.machine = Machine::new(journal.clone(), leases.clone());
        }
        match self.take(event) {
            Ok(_)
                if self
                    .trouble
                    .as_ref()
                    .is_none_or(|t| !t.missed() || lost == Lost::Look) =>
            {
                self.can_write();
            }
            Ok(_) => {}
            Err(error) => {
                self.undo();
                self.cannot_write(&error, lost);
            }
        }
    }

    /// A connection that may have held leases has ended. Nothing of that stands in the journal, so it
    /// happens whether that can be written or not.
    fn holder_lost(&mut self, holder: Holder) {
        if let Err(error) = self.take(Event::HolderLost(holder)) {
            tracing::error!("{error:#}");
        }
    }

    /// It was looked at the guards for those who want to say "busy" to an agent that stands still.
    fn looked_at_guards(&mut self, armed: anyhow::Result<bool>) {
        let Some(still) = &mut self.still else { return };
        let (waited, refusal) = still.guards(armed);
        for asked in waited {
            match &refusal {
                // Whoever asked may have left by now.
                Some(refusal) => drop(asked.reply.send(Err(refusal.clone().into()))),
                None => self.decide(asked),
            }
        }
    }

    /// Whether somebody wants to say "busy" who has not said so, and no machine knows of guards.
    fn wants_guards_looked_at(&self, request: &Request) -> bool {
        let is_new = match request {
            Request::Lease {
                name,
                busy: true,
                by,
                ..
            } => !self.machine.leases().is_busy(name, by),
            _ => false,
        };
        is_new && self.is_resting()
    }

    /// Takes a request. A rollback that could not be remembered waits for a look at the robot.
    fn asked(&mut self, asked: Asked) {
        if self.wants_guards_looked_at(&asked.request)
            && let Some(still) = &mut self.still
        {
            if still.wait_for_guards(asked) {
                let say = self.guards.0.clone();
                tokio::spawn(async move {
                    // The agent may have ended.
                    let _ = say.send(boot::is_guarded().await);
                });
            }
            return;
        }
        if matches!(asked.request, Request::Rollback { .. }) {
            if self.still.is_none()
                && let Err(error) = self.save()
            {
                self.stand_still(&error);
            }
            if let Some(still) = self.still.as_mut().filter(|still| !still.at_work()) {
                let state = Box::new(still.state().clone());
                still.wait(asked);
                let _ = self.work.send(Work::Look(state));
                return;
            }
        }
        self.decide(asked);
    }

    /// Answers a request, unless nobody waits for that any more, or what it is about has changed:
    /// then it is dead.
    fn decide(&mut self, asked: Asked) {
        // Between this look and the answer nothing else runs: the loop waits for nothing there.
        if asked.reply.is_closed() || !asked.line.is_up() {
            tracing::info!("nothing was done for a caller that has left");
            return;
        }
        let Asked {
            request,
            way,
            reply,
            told,
            ..
        } = asked;
        let answer = match self.is_open(&way) {
            Ok(()) if request.is_told_first() => self.promise(request, told),
            Ok(()) => self.answer(request),
            Err(refusal) => Err(refusal.into()),
        };
        // Whoever asked may have left by now.
        let _ = reply.send(answer);
    }

    /// Whether a request may be decided as things stand.
    fn let_pass(&mut self, request: &Request) -> Result<(), RequestError> {
        if let Some(trouble) = &self.trouble
            && matches!(request, Request::Update)
        {
            return Err(RequestError::Failed(trouble.why().to_owned()));
        }
        match &mut self.still {
            Some(still) => still.let_pass(request).map_err(RequestError::Failed),
            None => Ok(()),
        }
    }

    /// A request that could not be written, or whose caller could not be told, has led to nothing.
    fn not_done(&mut self, error: &anyhow::Error) -> RequestError {
        if !self.undo() {
            self.cannot_write(error, Lost::Nothing);
        }
        if let Some(still) = &mut self.still {
            still.rest(&self.machine.journal().state);
        }
        RequestError::Failed(format!("nothing was done: {error:#}"))
    }

    /// Whether a request that came this way may still be decided.
    ///
    /// # Errors
    /// It is about what is not the case any more.
    fn is_open(&self, way: &Way) -> Result<(), Refusal> {
        let running = nixos::system(nixos::CURRENT);
        way.is_open(clock::since_boot(), &self.boot, running.as_ref())
    }

    /// Decides a request. It is tried once: what is answered as failed does not happen later.
    fn answer(&mut self, request: Request) -> Result<String, RequestError> {
        self.let_pass(&request)?;
        match self.take(Event::Asked(request)) {
            Ok(Some(answer)) => Ok(answer?),
            Ok(None) => Err(RequestError::Failed("the agent has no answer".to_owned())),
            Err(error) => Err(self.not_done(&error)),
        }
    }

    /// Writes the journal as it was before a step that could not be written: it may have reached the
    /// disk all the same, and must not be found there by a restart.
    fn undo(&self) -> bool {
        if self.still.as_ref().is_some_and(|still| !still.remembers()) {
            return true;
        }
        self.save().is_ok()
    }

    /// Writes the journal that is in force.
    fn save(&self) -> anyhow::Result<()> {
        self.state.save(&self.written(self.machine.journal()))
    }

    /// What is written where this is decided.
    fn written<'a>(&self, journal: &'a Journal) -> Cow<'a, Journal> {
        match &self.still {
            Some(still) => still.written(journal),
            None => Cow::Borrowed(journal),
        }
    }

    /// The journal cannot be written: says so once.
    fn cannot_write(&mut self, error: &anyhow::Error, lost: Lost) {
        let now = clock::since_boot();
        let (trouble, news) = Trouble::after(self.trouble.take(), format!("{error:#}"), lost, now);
        if news {
            tracing::error!(
                "{}; nothing is decided until it can be written",
                trouble.why()
            );
            self.is_kept_away();
        }
        self.trouble = Some(trouble);
        self.publish();
    }

    /// Something else than the trial, if there is one, keeps the agent from answering.
    fn is_kept_away(&self) {
        kept_away::mark(&self.config, &self.machine.journal().state);
    }

    /// The journal can be written again.
    fn can_write(&mut self) {
        if self.trouble.take().is_some() {
            tracing::info!("the journal can be written again");
            self.publish();
        }
    }

    /// One step: decide, write, act.
    ///
    /// # Errors
    /// It could not be written: nothing has happened, and nothing has changed here. The disk may have
    /// it all the same.
    fn take(&mut self, event: Event) -> anyhow::Result<Option<Answer>> {
        let asked = matches!(event, Event::Asked(_));
        let decided = self.begin(event, None)?;
        self.finish(decided, asked)
    }

    /// Decides and writes, as `untold` if that is granted. Nothing has happened yet, and nothing has changed
    /// here.
    ///
    /// # Errors
    /// As for [`Agent::take`].
    fn begin(&mut self, event: Event, untold: Option<&Untold>) -> anyhow::Result<Decided> {
        self.note_check(&event);
        self.stalls.answered(&event);
        let asked = matches!(event, Event::Asked(_));
        let by_boot = match &event {
            Event::Asked(Request::Rollback { .. }) => nixos::by_boot(self.machine.journal()),
            _ => Vec::new(),
        };
        let policy = match &self.still {
            Some(_) => Cow::Owned(still::policy(&self.policy)),
            None => Cow::Borrowed(&self.policy),
        };
        let put_aside = self.still.as_ref().and_then(|still| still.state().target());
        let cx = Context {
            by_boot: &by_boot,
            put_aside,
            now: clock::since_boot(),
            slept: clock::suspended(),
            boot: &self.boot,
            wall: Some(jiff::Timestamp::now()),
            random: fastrand::u64(..),
            policy: &policy,
        };
        let step = self.machine.step(event, &cx);
        let untold = untold.filter(|_| step.grants());
        let decided = step.persisted(|journal| self.persist(journal, untold))?;
        let took = clock::since_boot().since(cx.now);
        anyhow::ensure!(
            !asked || took <= ANSWER,
            "the disk took {} s to write the journal, and nobody waits that long",
            took.as_secs()
        );
        Ok(decided)
    }

    /// What was decided and written happens.
    ///
    /// # Errors
    /// What somebody asked for cannot be remembered over a restart: nothing has happened.
    fn finish(&mut self, decided: Decided, asked: bool) -> anyhow::Result<Option<Answer>> {
        let Decided {
            machine,
            effects,
            occurrences,
            answer,
        } = decided;
        if machine.leases() != self.machine.leases()
            && let Err(error) = self.runtime.save(&self.boot, machine.leases())
        {
            // A restart of the agent would forget what was granted. What went by itself it finds as well.
            if asked {
                return Err(error);
            }
            tracing::error!("{error:#}");
        }
        for occurrence in &occurrences {
            if is_said(occurrence, &mut self.orphaned) {
                log::write(occurrence);
            }
        }
        self.machine = machine;
        (self.prune).send_replace(Prune::of(self.machine.journal(), &self.policy));
        for effect in effects {
            match effect {
                _ if self.is_resting() => {}
                Effect::Poll if self.once || self.still.is_some() => {}
                Effect::Renew => {
                    fault::point("before", "renew");
                    if let Some(program) = process::replaced_by() {
                        tracing::info!(program = %program.display(), "another agent takes over");
                        self.renew = true;
                    }
                }
                effect => {
                    self.stalls.asked(&effect);
                    if let Effect::Fetch(_) = effect {
                        // What an earlier fetch said last is counted.
                        self.progress.mark_unchanged();
                        self.meter = Meter::default();
                    }
                    // The worker lives as long as the agent.
                    let _ = self.work.send(Work::Effect(effect));
                }
            }
        }
        if let Some(still) = &mut self.still {
            still.rest(&self.machine.journal().state);
        }
        self.publish();
        Ok(answer)
    }

    /// Says what the log does not have in full, once it is time.
    fn sum_up(&mut self) {
        let now = tokio::time::Instant::now();
        if self.orphaned.due().is_some_and(|due| due <= now) {
            for line in self.orphaned.sum_up() {
                tracing::warn!("{line}");
            }
        }
    }

    /// Remembers what a check found, for the status.
    fn note_check(&mut self, event: &Event) {
        match event {
            Event::Polled(offers) => {
                let journal = self.machine.journal();
                let choice = offers.choose(journal.confirmed.as_ref());
                let confirmed = journal.confirmed.as_ref().map(|now| &now.system);
                let offer = match &choice.target {
                    Some(target) if journal.blocked(target).is_some() => {
                        Offer::Blocked(target.release.clone())
                    }
                    Some(target) if confirmed != Some(&target.system) => Offer::News,
                    _ if choice.left.is_some() => Offer::Left,
                    Some(_) => Offer::Same,
                    None if choice.stays => Offer::Same,
                    None => Offer::Nothing,
                };
                self.last_check = Some(LastCheck::new(Ok(offer)));
            }
            Event::PollFailed(unserved) => {
                self.last_check = Some(LastCheck::new(Err(unserved.why.clone())));
            }
            _ => {}
        }
    }

    /// Writes the journal; as what nobody was told of yet, where `untold` says what was asked for.
    fn persist(&self, journal: &Journal, untold: Option<&Untold>) -> anyhow::Result<()> {
        if let Some(still) = self.still.as_ref().filter(|still| !still.remembers()) {
            if still.at_work() {
                // What is not remembered needs room as well.
                self.state.make_room_for(&journal.state);
            }
            return Ok(());
        }
        let journal = &*self.written(journal);
        let name = match &journal.state {
            State::Trial(trial) => format!("persist-trial-{}", trial.phase.name()),
            state => format!("persist-{}", state.name()),
        };
        fault::point("before", &name);
        // What comes of nothing unless its caller is told gives the reserve free once they are.
        if untold.is_none() {
            self.state.make_room_for(&journal.state);
        }
        // A new root must be there before the journal relies on it; an old one must not go before
        // the journal has let go of it.
        let before = self.machine.journal();
        let mut roots = before.roots();
        roots.extend(journal.roots());
        // A root without a journal is how a lost journal is known: at the first start the journal comes
        // first, and what runs is rooted as such.
        if before.confirmed.is_some() || before.lost.is_some() {
            (self.state).with_room(|| roots::set(Path::new(roots::DIR), &roots))?;
        }
        if let Some(untold) = untold {
            self.state.save_untold(journal, untold)?;
            fault::point("after", "persist-untold");
            return Ok(());
        }
        self.state.save(journal)?;
        // What is rooted too long is let go of with the next step.
        if let Err(error) = roots::set(Path::new(roots::DIR), &journal.roots()) {
            tracing::warn!("{error:#}");
        }
        fault::point("after", &name);
        Ok(())
    }

    /// Takes the reserve again where it is missing, and says what has become of it. Has the journal copied,
    /// once the copy before it was read.
    fn tend_memory(&mut self) {
        if self.still.is_some() {
            return;
        }
        let settings = boot::Settings::new(&self.config);
        let now = clock::since_boot();
        if self.trouble.is_none()
            && let Some(found) = self.copy.recall(self.machine.journal(), &settings, now)
        {
            self.happened(Event::Recalled(found));
        }
        let journal = self.machine.journal();
        self.state.tend(&journal.state);
        if self.trouble.is_none() {
            self.copy.tend(journal, &settings, now);
        }
        if self.published.borrow().status.no_reserve != self.state.reserve.lacking() {
            self.publish();
        }
    }

    /// Bytes moved: says so, but not for every one.
    fn moved(&mut self) {
        let status = *self.progress.borrow_and_update();
        if self.meter.moved(&status) {
            self.stalls.fetched();
        }
        if self.meter.take(&status, clock::since_boot()) {
            self.count();
        }
    }

    /// Something has stalled, or does not any more: says so, and remembers what is news.
    fn note_stalls(&mut self, before: &mut BTreeSet<String>) {
        let stalls = self.stalls.found.borrow_and_update().clone();
        let news: Vec<Stall> = (stalls.iter())
            .filter(|stall| !before.contains(&stall.what))
            .cloned()
            .collect();
        *before = stalls.into_iter().map(|stall| stall.what).collect();
        for Stall { what, why, .. } in news {
            self.happened(Event::Stalled { what, why });
        }
        self.publish();
    }

    /// Why nothing is decided, if so.
    fn fault(&self) -> Option<&str> {
        let still = self.still.as_ref().filter(|still| !still.at_work());
        let trouble = self.trouble.as_ref().map(Trouble::why);
        trouble.or(still.map(Still::why))
    }

    /// Counts the bytes that a fetch has moved since.
    fn count(&mut self) {
        let status = *self.progress.borrow_and_update();
        let (bytes, wasted) = self.meter.count(&status);
        self.happened(Event::Moved {
            bytes,
            wasted,
            more: status.downloaded < status.download_bytes,
        });
    }

    fn publish(&self) {
        let status = status::of(
            &self.machine,
            &self.config,
            &self.policy,
            self.last_check.as_ref(),
            self.meter.progress(),
            self.knowledge.borrow().clone(),
            self.fault(),
        );
        let status = StatusInfo {
            configuration: self.refused.clone(),
            no_reserve: self.state.reserve.lacking(),
            stalls: self.stalls.found.borrow().clone(),
            damaged: self.damaged.borrow().clone(),
            checking: status.checking && self.still.is_none(),
            ..status
        };
        let _ = sd_notify::notify(&[NotifyState::Status(&status.doing)]);
        let history = self.machine.journal().history.iter().rev();
        let history = history.map(Into::into).collect();
        let published = Published::now(status, history);
        self.inputs.send_replace(Some(Inputs::new(
            Arc::clone(&self.config),
            self.refused.clone(),
            self.machine.journal(),
            Some(Arc::clone(&published.status)),
        )));
        self.published.send_replace(published);
    }

    fn reload(&mut self, path: &Path) {
        let mut states = vec![NotifyState::Reloading];
        states.extend(NotifyState::monotonic_usec_now().ok());
        let _ = sd_notify::notify(&states);
        self.refused = None;
        match crate::config::load(path) {
            // It starts anew by it, once nothing is under way.
            Ok(_)
                if self
                    .still
                    .as_ref()
                    .is_some_and(|still| still.because() == Because::Configuration) => {}
            Ok(config) if config.state_dir != self.config.state_dir => {
                let why = "state_dir cannot change while the agent runs: restart it";
                tracing::error!("nothing was reloaded: {why}");
                self.refused = Some(why.to_owned());
            }
            Ok(config) => {
                self.config = Arc::new(config);
                self.policy = Policy::from(&*self.config);
                self.stalls.set(self.config.stalled_after);
                (self.state.reserve).resize(&self.config.state_dir, self.config.state_reserve.0);
                self.roles.send_replace(roles(&self.config));
                let _ = self.work.send(Work::Reload(Arc::clone(&self.config)));
                tracing::info!("configuration reloaded");
            }
            Err(problems) => {
                tracing::error!("the configuration was not reloaded:\n{problems}");
                if let Some(still) = &mut self.still
                    && still.because() == Because::Configuration
                {
                    still.explain(unusable(&problems.brief()));
                }
                self.refused = Some(problems.brief());
            }
        }
        self.publish();
        let _ = sd_notify::notify(&[NotifyState::Ready]);
    }
}

/// Whether the log has it in full. Whoever takes leases and loses them again and again is summed up.
fn is_said(occurrence: &Occurrence, orphaned: &mut Tally<Orphaned, String>) -> bool {
    let now = tokio::time::Instant::now();
    match &occurrence.kind {
        Kind::LeaseOrphaned { counted, .. } => orphaned.count(Orphaned, Some(counted), now),
        _ => true,
    }
}

fn unusable(why: &str) -> String {
    format!("the configuration cannot be used: {why}")
}

/// Who may do what; a group that does not exist gives nobody anything.
fn roles(config: &Config) -> Roles {
    let (roles, warnings) = Roles::resolve(&config.control);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    roles
}
