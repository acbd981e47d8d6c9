//! The agent's hands: carries out effects, in their order, and answers with events.
//!
//! What takes long runs beside the queue; what must be done before the next thing is waited for.

use crate::{
    boot,
    config::Config,
    doctor, fault, fetching, gates,
    prove::NIX_LIMIT,
    repository::{self, Repository, Source},
    robot::{
        health, kept_away, nixos,
        profile::{self, PROFILES},
        proof::{self, Proof},
        successor, systemd, world,
    },
    state::StateDir,
    switch::{self, dead_man},
};
use anyhow::{Context as _, bail};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
};
use surefoot_api::Knowledge;
use surefoot_core::{
    StorePath,
    closure::{ClosureIndex, SignaturePolicy},
    gate::Stage,
    health::{Beside, Check, Failure},
    machine::{
        Effect, Event, Unserved,
        state::{Mode, State},
    },
    profile::Link,
    prune::Prune,
    reboot,
    release::Target,
    resolver::{SwitchUnit, World},
    store_path::STORE_DIR,
    switch::{Action, Order},
};
use surefoot_store::{
    Wrongs, collect,
    nix_daemon::Connection,
    progress,
    verify::{Damage, Verified},
};
use tokio::{
    sync::{Mutex, mpsc, watch},
    task::AbortHandle,
};

/// What the worker is told.
pub(crate) enum Work {
    /// Do this.
    Effect(Effect),
    /// From now on by this configuration.
    Reload(Arc<Config>),
    /// Look at the robot as at a start, in this state.
    Look(Box<State>),
}

/// What every piece of work needs.
#[derive(Clone)]
struct Tools {
    config: Arc<Config>,
    repository: Arc<Repository>,
    staging: PathBuf,
    wrongs: Wrongs,
    /// Why this agent could not begin anew with its trust anchor, as that was before the trial of this
    /// system.
    unanchored: Arc<Mutex<Option<(StorePath, String)>>>,
    verified: Verified,
    progress: watch::Sender<progress::Status>,
    /// Which generations may go, by the journal as it is on the disk.
    prune: watch::Receiver<Prune>,
    events: mpsc::UnboundedSender<Event>,
}

/// Where a fetch says how far it is.
struct Told<'a>(&'a Tools);

impl progress::Progress for Told<'_> {
    fn update(&self, status: &progress::Status) {
        self.0.progress.update(status);
    }

    fn collected(&self, gone: progress::Dead) {
        self.0.say(Event::Collected {
            paths: gone.paths,
            bytes: gone.bytes,
        });
    }

    fn damaged(&self, damaged: &[Damage]) {
        self.0.say(Event::Scrubbed {
            damaged: damaged.iter().map(ToString::to_string).collect(),
            repaired: Vec::new(),
        });
    }

    fn repaired(&self, repaired: &HashSet<StorePath>) {
        self.0.say(Event::Scrubbed {
            damaged: Vec::new(),
            repaired: repaired.iter().map(ToString::to_string).collect(),
        });
    }
}

/// Works off the queue.
pub(crate) struct Worker {
    tools: Tools,
    state_dir: PathBuf,
    queue: mpsc::UnboundedReceiver<Work>,
    fetch: Option<AbortHandle>,
}

impl Worker {
    /// A worker for this queue.
    pub(crate) fn new(
        config: Arc<Config>,
        state: &StateDir,
        queue: mpsc::UnboundedReceiver<Work>,
        events: mpsc::UnboundedSender<Event>,
        progress: watch::Sender<progress::Status>,
        (verified, prune): (Verified, watch::Receiver<Prune>),
        knowledge: Arc<watch::Sender<Option<Knowledge>>>,
    ) -> Self {
        let source = Source::new(&config, &state.path());
        let repository = Arc::new(Repository::new(source, knowledge));
        Self {
            tools: Tools {
                config,
                repository,
                staging: state.path().join("staging"),
                wrongs: Wrongs::default(),
                unanchored: Arc::default(),
                verified,
                progress,
                prune,
                events,
            },
            state_dir: state.path(),
            queue,
            fetch: None,
        }
    }

    /// Works until the agent is gone.
    pub(crate) async fn run(mut self) {
        while let Some(work) = self.queue.recv().await {
            match work {
                Work::Effect(effect) => self.carry_out(effect).await,
                Work::Reload(config) => self.reload(config).await,
                Work::Look(state) => match look(&self.tools.config, &state).await {
                    Ok(world) => self.tools.say(Event::Started(world)),
                    Err(error) => tracing::warn!("{error:#}"),
                },
            }
        }
    }

    async fn reload(&mut self, config: Arc<Config>) {
        let reopened = async {
            let source = Source::new(&config, &self.state_dir);
            let old = &self.tools.repository;
            anyhow::Ok(if source == *old.source() {
                Arc::clone(old)
            } else {
                Arc::new(old.reopen(source).await?)
            })
        };
        match reopened.await {
            Ok(repository) => self.tools.repository = repository,
            Err(error) => {
                tracing::error!("{error:#}; the old repository stays in use");
                return;
            }
        }
        self.tools.config = config;
    }

    async fn carry_out(&mut self, effect: Effect) {
        let name = name(&effect);
        fault::point("before", name);
        tracing::debug!(?effect, "effect");
        let tools = self.tools.clone();
        match effect {
            Effect::AskGates(stage) => {
                tokio::spawn(async move {
                    let closed = gates::closed(&tools.config, stage).await;
                    fault::point("after", "ask-gates");
                    tools.say(Event::Gates { stage, closed });
                });
            }
            Effect::Poll => {
                tokio::spawn(async move { tools.poll().await });
            }
            Effect::Fetch(target) => {
                self.cancel_fetch();
                self.tools
                    .progress
                    .send_replace(progress::Status::default());
                let task = tokio::spawn(async move {
                    let stage = Stage::Download;
                    let event = tokio::select! {
                        fetched = tools.fetch(&target) => match fetched {
                            Ok(()) => Event::Fetched,
                            Err(error) => Event::FetchFailed(unserved(&error)),
                        },
                        closed = gates::close(&tools.config, stage) => {
                            Event::Gates { stage, closed }
                        }
                    };
                    fault::point("after", "fetch");
                    tools.say(event);
                });
                self.fetch = Some(task.abort_handle());
            }
            Effect::CancelFetch => self.cancel_fetch(),
            Effect::Inspect(target) => {
                let event = tools
                    .inspect(&target)
                    .await
                    .unwrap_or_else(|error| Event::InspectFailed(format!("{error:#}")));
                fault::point("after", name);
                tools.say(event);
            }
            Effect::ArmDeadMan {
                system,
                previous,
                after,
            } => {
                let limit = tools.config.trial.switch_timeout;
                kept_away::forget(&tools.config);
                let event = match dead_man::arm(&system, &previous, after, limit).await {
                    Ok(()) => Event::DeadManArmed,
                    Err(error) => Event::DeadManFailed(format!("{error:#}")),
                };
                fault::point("after", name);
                tools.say(event);
            }
            Effect::Prolong {
                mode,
                system,
                previous,
                after,
            } => {
                let config = &tools.config;
                let limit = config.trial.switch_timeout;
                let prolonged = match mode {
                    Mode::Live => dead_man::prolong(&system, &previous, after, limit).await,
                    Mode::Boot => boot::prolong(boot::Settings::new(config), after).await,
                };
                fault::point("after", name);
                if let Err(error) = prolonged {
                    tools.say(Event::DeadManFailed(format!("{error:#}")));
                }
            }
            Effect::Observe => {
                tokio::spawn(async move { tools.observe().await });
            }
            Effect::FindOwn { system, before } => {
                let own = boot::in_its_own_way(&system, &before);
                fault::point("after", name);
                tools.say(Event::InItsOwnWay(own));
            }
            Effect::Disarm(guards) => {
                let settings = boot::Settings::new(&tools.config);
                if guards.dead_man {
                    complain(dead_man::disarm().await);
                }
                boot::disarm(&settings, guards).await;
                fault::point("after", name);
            }
            Effect::AimBoot {
                system,
                previous,
                within,
            } => {
                let settings = boot::Settings::new(&tools.config);
                let event = match boot::aim(settings, system, previous, within).await {
                    Ok(()) => Event::BootAimed,
                    Err(error) => Event::AimFailed(format!("{error:#}")),
                };
                fault::point("after", name);
                tools.say(event);
            }
            Effect::Switch(order) => {
                tokio::spawn(async move {
                    let settings = boot::Settings::new(&tools.config);
                    let before = async || tools.make_room(&order).await;
                    let (outcome, log) =
                        switch::switch(&order, &settings, &tools.config.state_dir, before).await;
                    if order.action != Action::Test {
                        tools.say(Event::Installed(profile::links(Path::new(PROFILES))));
                    }
                    let failures = if outcome == surefoot_core::switch::Outcome::Done {
                        Vec::new()
                    } else {
                        health::units(&tools.config.health).await
                    };
                    fault::point("after", "switch");
                    tools.say(Event::SwitchEnded {
                        unit: order.unit,
                        outcome,
                        log,
                        failures,
                    });
                });
            }
            Effect::StopSwitch(order) => {
                if let Err(error) = switch::stop(&order).await {
                    tracing::error!(unit = order.unit, "{error:#}");
                }
                fault::point("after", name);
            }
            Effect::Look => {
                tools.look().await;
                fault::point("after", name);
            }
            Effect::Probe {
                system,
                against,
                at,
                beside,
            } => {
                // The agent answers, whatever kept it from that before.
                kept_away::forget(&tools.config);
                tokio::spawn(async move {
                    let (config, web) = (&tools.config.health, fetching::own(&tools.config));
                    let mut report = health::probe(config, &web, &system, &against, async || {
                        reachable(&tools).await
                    })
                    .await;
                    (report.system, report.began) = (Some(system.clone()), Some(at));
                    match beside {
                        Beside::Agent if report.healthy() => {
                            report.failures.extend(tools.doubt(&system).await);
                            // That took its time, and somebody may have switched meanwhile.
                            report.failures.extend(health::runs(&system));
                        }
                        Beside::NixDaemon => report.failures.extend(tools.asks_nix(&system).await),
                        Beside::Agent | Beside::Nothing => {}
                    }
                    fault::point("after", "probe");
                    tools.say(Event::Probed(report));
                });
            }
            Effect::Reboot(why) => {
                tracing::error!("rebooting: {why}");
                if let Err(error) = systemd::reboot().await {
                    tracing::error!("{error:#}");
                }
            }
            // The agent's own: see there.
            Effect::Renew => {}
        }
    }

    fn cancel_fetch(&mut self) {
        if let Some(task) = self.fetch.take() {
            task.abort();
        }
    }
}

/// Looks at the robot as at a start, in the state of the journal.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn look(config: &Config, state: &State) -> anyhow::Result<World> {
    dead_man::let_finish()
        .await
        .context("cannot look at the dead-man timer")?;
    let mut world = async {
        let switch = match state.order() {
            None => SwitchUnit::Gone,
            Some(order) => switch::look(order, &config.state_dir).await?,
        };
        world::look(switch).await
    }
    .await
    .context("cannot look at the robot")?;
    let settings = boot::Settings::new(config);
    if world.switch != SwitchUnit::Running {
        boot::try_secure(&settings, false).await;
    }
    (boot::look(&settings, state, &mut world).await)
        .context("cannot look at the deadline of this boot")?;
    world.trace.kept_away |= kept_away::is_marked(config);
    world.variant = match (state, &world.current) {
        (State::Trial(trial), Some(current)) => nixos::is_variant(current, &trial.system),
        _ => false,
    };
    Ok(world)
}

/// Whether the repository is reached, within a time that leaves room for another look before the deadline.
///
/// # Errors
/// Why it is not.
async fn reachable(tools: &Tools) -> anyhow::Result<()> {
    let limit = tools.config.health.deadline / 2;
    let reached = tokio::time::timeout(limit, tools.repository.reachable()).await;
    reached.unwrap_or_else(|_| bail!("no whole answer within {} s", limit.as_secs()))
}

fn does_not_answer(why: &impl std::fmt::Display) -> Failure {
    Failure {
        check: Check::NixDaemon,
        message: format!("the Nix daemon of this robot does not answer: {why}"),
        journal: Vec::new(),
    }
}

/// A guard that cannot be taken back stays, and is taken back again at the next start.
fn complain(result: anyhow::Result<()>) {
    if let Err(error) = result {
        tracing::error!("{error:#}");
    }
}

/// Why a server could not be used, and the pause that it asks for.
fn unserved(error: &anyhow::Error) -> Unserved {
    let pause = error.chain().find_map(|error| {
        let repository = error.downcast_ref::<surefoot_trust::Error>();
        let cache = error.downcast_ref::<surefoot_store::Error>();
        repository
            .and_then(surefoot_trust::Error::retry_after)
            .or(cache.and_then(surefoot_store::Error::retry_after))
    });
    Unserved {
        why: format!("{error:#}"),
        pause,
    }
}

/// An effect's name at its fault points.
const fn name(effect: &Effect) -> &'static str {
    match effect {
        Effect::AskGates(_) => "ask-gates",
        Effect::Poll => "poll",
        Effect::Observe => "observe",
        Effect::FindOwn { .. } => "find-own",
        Effect::Fetch(_) => "fetch",
        Effect::CancelFetch => "cancel-fetch",
        Effect::Inspect(_) => "inspect",
        Effect::ArmDeadMan { .. } => "arm-dead-man",
        Effect::Prolong { .. } => "prolong",
        Effect::Disarm(_) => "disarm",
        Effect::AimBoot { .. } => "aim-boot",
        Effect::Switch(_) => "switch",
        Effect::StopSwitch(_) => "stop-switch",
        Effect::Look => "look",
        Effect::Probe { .. } => "probe",
        Effect::Reboot(_) => "reboot",
        Effect::Renew => "renew",
    }
}

impl Tools {
    /// The agent may have ended; then nobody needs to know.
    fn say(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// Looks at the robot, then at the repository: drift is known before news.
    async fn poll(&self) {
        if let Err(error) = switch::forget().await {
            tracing::warn!("{error:#}");
        }
        self.observe().await;
        let event = match self.repository.poll().await {
            Ok(offers) => Event::Polled(offers),
            Err(error) => Event::PollFailed(unserved(&error)),
        };
        fault::point("after", "poll");
        self.say(event);
    }

    /// Looks at what runs, and at what would be started.
    async fn observe(&self) {
        // What goes back meanwhile is to be seen when it is there.
        if let Err(error) = dead_man::let_finish().await {
            tracing::warn!("{error:#}");
        }
        let look = async {
            let mut world = world::look(SwitchUnit::Gone).await?;
            boot::look_at_loader(&boot::Settings::new(&self.config), &mut world).await?;
            anyhow::Ok(world)
        };
        match look.await {
            // That takes its time. What was meanwhile is for the next look to say.
            Ok(world) if nixos::system(nixos::CURRENT) == world.current => {
                self.say(Event::Observed(world));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!("{error:#}"),
        }
    }

    /// Looks at the robot as it is before a trial.
    async fn look(&self) {
        let (config, web) = (&self.config.health, fetching::own(&self.config));
        let baseline =
            health::baseline(config, &web, async || self.repository.reachable().await).await;
        self.say(Event::Looked(baseline));
    }

    /// What the Nix daemon does not answer about a system that it has to know, if anything.
    async fn asks_nix(&self, system: &StorePath) -> Option<Failure> {
        let asked = async {
            let socket = self.config.fetch.daemon_socket();
            let mut daemon = Connection::open(&socket, NIX_LIMIT).await?;
            daemon.path_info(system).await
        };
        asked.await.err().map(|why| does_not_answer(&why))
    }

    /// What is wrong with the agent of a system on trial, if something is.
    async fn doubt(&self, system: &StorePath) -> Option<Failure> {
        // What this agent could not use either, if it began anew, is no fault of the one on trial. By now /etc
        // is that one's, so this was asked before.
        if let Some((of, why)) = &*self.unanchored.lock().await
            && of == system
        {
            tracing::warn!("the agent on trial is not asked to prove itself: {why}");
            return None;
        }
        let unasked = !self.config.health.manifest_server;
        let (check, message) = match proof::ask(system).await {
            Proof::Unreached(why) if !unasked => (
                Check::ManifestServer,
                format!("not reached by the agent on trial: {why}"),
            ),
            Proof::Stuck(why) => return Some(does_not_answer(&why)),
            Proof::Refused(why) => (
                Check::Agent,
                format!("the agent on trial could not bring the next release: {why}"),
            ),
            Proof::Proven | Proof::Unreached(_) => return None,
        };
        Some(Failure {
            check,
            message,
            journal: Vec::new(),
        })
    }

    /// Takes generations out of the profile, where an installer runs next anyway. A way back takes the
    /// shortest way.
    async fn make_room(&self, order: &Order) {
        if order.action == Action::Test || order.no_check {
            return;
        }
        let settings = boot::Settings::new(&self.config);
        let prune = self.prune();
        let room = boot::make_room(&settings, &prune, &order.system);
        self.takes_away(room, Some(order.system.clone())).await;
    }

    /// Has generations taken out of the profile, and tells which went; `system`: what is installed next.
    /// Whether any went.
    async fn takes_away(
        &self,
        room: impl Future<Output = anyhow::Result<()>>,
        system: Option<StorePath>,
    ) -> bool {
        let links = || profile::links(Path::new(PROFILES));
        let before = links();
        if let Err(error) = room.await {
            tracing::warn!("{error:#}");
        }
        fault::point("after", "prune");
        let (mut gone, left) = (before, links());
        gone.retain(|link| !left.contains(link));
        let any = !gone.is_empty();
        self.say(Event::Pruned {
            system,
            gone,
            links: left,
        });
        any
    }

    /// Where what nothing keeps is not enough for a fetch that lacks so many bytes in the store, takes as
    /// many generations out of the profile as it takes. If all of them would not be enough, none goes.
    /// Whether any went.
    ///
    /// # Errors
    /// The Nix daemon does not answer.
    async fn spares_generations(&self, index: &ClosureIndex, bytes: u64) -> anyhow::Result<bool> {
        let (settings, fetch) = (boot::Settings::new(&self.config), &self.config.fetch);
        let mut links = match boot::expendable(&settings, &self.prune()).await {
            Ok(links) => links,
            Err(error) => {
                tracing::warn!("{error:#}");
                return Ok(false);
            }
        };
        let root = |link: &Link| {
            let place = profile::place(Path::new(PROFILES), link.number);
            (place.display().to_string(), link.system.clone())
        };
        let roots: Vec<_> = links.iter().map(root).collect();
        let needed = index.paths.iter().map(|info| info.path.clone()).collect();
        let mut daemon = Connection::open(&fetch.daemon_socket(), fetch.daemon_timeout).await?;
        let Some(count) =
            collect::enough(&mut daemon, Path::new(STORE_DIR), bytes, &roots, &needed).await?
        else {
            return Ok(false);
        };
        links.truncate(count);
        // That took its time, and fewer would not be enough. Where it cannot be told they stay.
        let prune = self.prune();
        let may_go = boot::are_expendable(&settings, &prune, &links);
        Ok(!links.is_empty()
            && may_go.await.unwrap_or(false)
            && self
                .takes_away(boot::take_away(&settings, links), None)
                .await)
    }

    async fn fetch(&self, target: &Target) -> anyhow::Result<()> {
        let index = self.repository.index(target).await?;
        // Whoever switches by hand may have built what nothing keeps yet.
        let collects = self.config.space.collect && switch::in_the_way().await?.is_none();
        let told = Told(self);
        let run = |index| {
            fetching::run(
                &self.config,
                index,
                self.staging.clone(),
                (&self.wrongs, &self.verified),
                self.repository.known_time(),
                collects,
                &told,
            )
        };
        let mut fetched = run(index.clone()).await;
        if collects
            && let Err(error) = &fetched
            && let Some(bytes) = collect::lacking(error, Path::new(STORE_DIR))
            && self.spares_generations(&index, bytes).await?
        {
            fetched = run(index).await;
        }
        let report = fetched?;
        tracing::info!(
            release = %target.release,
            "fetched {} of {} paths, {} bytes moved",
            report.fetched, report.paths, report.wire_bytes
        );
        Ok(())
    }

    fn prune(&self) -> Prune {
        self.prune.borrow().clone()
    }

    /// A directory beside the socket, where the agent and its units both see what it writes.
    fn room(&self) -> PathBuf {
        self.config.socket.with_file_name("successor")
    }

    /// Whether a system can be tried as the robot stands now, and how.
    async fn inspect(&self, target: &Target) -> anyhow::Result<Event> {
        let Some(mut held) = fetching::hold(&self.config, &target.system).await? else {
            tracing::warn!(system = %target.system, "it is not in the store any more");
            return Ok(Event::Vanished);
        };
        if self.config.verify.before_trial && !self.verified.has(&target.system) {
            tracing::info!(system = %target.system, "it was not read in this boot yet, and is now");
            return Ok(Event::Vanished);
        }
        let current = nixos::system(nixos::CURRENT)
            .with_context(|| format!("{} leads to no system", nixos::CURRENT))?;
        let booted = nixos::boot_parts(nixos::BOOTED.as_ref());
        let new = nixos::boot_parts(target.system.to_string().as_ref());
        let obstacles =
            doctor::obstacles(&self.config, &target.system, &current, self.prune()).await;
        let unfit = match nixos::unfit(&current, &target.system)? {
            None => {
                successor::refuses(&target.system, &current, target.moves, &self.room()).await?
            }
            why => why,
        };
        let unfit = match unfit {
            None if self.config.fetch.signatures == SignaturePolicy::Nix => {
                let known = held.path_info(&target.system).await?;
                known.and_then(|known| {
                    successor::unbelieving(&target.system, &current, &known, target.moves)
                })
            }
            unfit => unfit,
        };
        let unanchored = repository::usable_anchor(&self.config.root).err();
        *self.unanchored.lock().await =
            unanchored.map(|why| (target.system.clone(), format!("{why:#}")));
        self.look().await;
        // What it names before a trial is what the trial is measured by.
        let default = boot::default(&boot::Settings::new(&self.config)).await?;
        let named = nixos::system(nixos::PROFILE).into_iter().chain(default);
        Ok(Event::Inspected {
            named: named.collect(),
            reboot: reboot::reasons(&booted, &new, target.reboot),
            unfit,
            no_boot: obstacles.boot,
            no_room: obstacles.room,
            current,
        })
    }
}
