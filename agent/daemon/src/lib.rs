//! `surefootd`: over-the-air NixOS updates that always keep their footing.
//!
//! A library for the sake of its program and of the fuzz targets alone.
//!
//! The daemon decides nothing: `surefoot-core` does. The [`agent`] is the loop that joins it to what it needs:
//!
//! - [`robot`]: what is. Systems, units, health, clocks.
//! - [`state`]: what is remembered, over restarts and power cuts.
//! - [`switch`] and [`boot`]: what is done, to the running system and to the boot loader.
//! - [`prove`]: what is asked of this program before it may stay.
//! - [`worker`]: carries out what was decided, by these, by [`fetching`], [`repository`] and [`gates`].
//! - [`control`], [`status`], [`doctor`], [`systems`]: what people and programs are told.
//! - [`config`]: what it was told.

mod agent;
mod boot;
mod config;
mod control;
mod doctor;
mod fault;
mod fetching;
mod fresh;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod gates;
mod inputs;
mod log;
mod memory;
mod metrics;
mod prove;
mod repository;
mod robot;
mod scrub;
mod stalls;
mod state;
mod status;
mod still;
mod switch;
mod systems;
mod tally;
mod trouble;
mod turns;
mod worker;

use agent::{Agent, End, Signal, Start};
use anyhow::Context as _;
use clap::Parser;
use nix::sys::stat::{Mode, umask};
use state::StateDir;
use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use surefoot_api::{Made, RollbackTo, StorePath, Why};
use surefoot_core::{
    machine::{Refusal, Request},
    made::Way,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tracing::Metadata;
use tracing_subscriber::{
    Layer as _,
    filter::{Targets, filter_fn},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// How long a thread stays that has nothing to do.
const THREADS_STAY: Duration = Duration::from_secs(1);

/// Over-the-air NixOS updates for robots that always keep their footing: the daemon.
#[derive(Debug, Parser)]
#[command(name = "surefootd", version, about, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    config: config::ConfigArgs,

    /// Go back to the system that was confirmed before, and exit: for when no daemon runs
    #[arg(long, requires = "why", conflicts_with = "config_only")]
    rollback: bool,

    /// Why, for those who come after
    #[arg(long, value_name = "TEXT", requires = "rollback")]
    why: Option<Why>,

    /// Which system: its store path, or the release that brought it
    #[arg(long, value_name = "GENERATION", requires = "rollback")]
    to: Option<RollbackTo>,

    /// Although a lease says that the robot is busy: look at the robot before
    #[arg(long, requires = "rollback")]
    force: bool,

    /// End every hold first, whoever holds: as `surefoot resume`, which needs the daemon
    #[arg(long, requires = "rollback")]
    resume: bool,

    /// The system that ran when somebody asked for it: nothing is done if another one runs by now
    #[arg(long, value_name = "SYSTEM", requires = "rollback")]
    seen: Option<StorePath>,

    /// Look the robot over and print what was found as JSON, without a daemon: as `surefoot doctor`
    #[arg(long, conflicts_with_all = ["rollback", "config_only"])]
    doctor: bool,

    /// List the systems that are on the robot as JSON, without a daemon: as `surefoot systems`
    #[arg(long, conflicts_with_all = ["rollback", "doctor", "config_only"])]
    systems: bool,

    /// Say what differs between two of them instead, or from what runs
    #[arg(long, value_names = ["A", "B"], num_args = 1..=2, requires = "systems")]
    diff: Vec<RollbackTo>,

    /// Say whether this agent, as it stands here, could bring the robot the release after this system,
    /// which is on trial
    #[arg(long, value_name = "SYSTEM", hide = true, conflicts_with_all = ["rollback", "doctor", "config_only"])]
    prove: Option<StorePath>,

    /// Read every path of the systems that are kept, and print what was found as `--doctor` does
    #[arg(long, requires = "doctor")]
    deep: bool,

    /// What the daemon has done in a unit of its own, with more rights than it has itself
    #[arg(long, value_name = "JSON", hide = true)]
    boot_step: Option<boot::BootStep>,
}

/// The program `surefootd`: reads its arguments, and does what they say.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(code) = cli.config.answer() {
        return code;
    }
    if let Some(step) = &cli.boot_step {
        return match step.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    // As in the unit: what is written is root's, whatever the caller of `sudo surefootd` uses.
    umask(Mode::from_bits_truncate(0o077));
    if let Some(system) = &cli.prove {
        return prove::answer(system, &cli.config.config);
    }
    let (config, refused) = match config::salvage(&cli.config.config) {
        Ok((config, refused)) => (Arc::new(config), refused),
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(problems) = &refused {
        eprintln!(
            "The configuration cannot be used as it is. What can be read of it counts, and defaults for \
             the rest:\n{problems}"
        );
    }
    let refused = refused.map(|problems| problems.brief());
    log();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Those that wait for the disk, of which an idle agent has no need.
        .thread_keep_alive(THREADS_STAY)
        .build()
        .context("cannot start");
    let result = runtime.and_then(|runtime| runtime.block_on(run(&cli, config, refused)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if cli.rollback {
                eprintln!("surefootd: {error:#}");
            } else {
                tracing::error!("{error:#}");
            }
            // As the command line's: 3 is a refusal.
            ExitCode::from(if error.is::<Refusal>() { 3 } else { 1 })
        }
    }
}

/// Under systemd the log goes to the journal with its fields; elsewhere to standard error.
fn log() {
    let filter = std::env::var("SUREFOOT_LOG")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| Targets::new().with_default(tracing::Level::INFO))
        .with_target(log::OUTCOME, tracing::Level::INFO);
    let registry = tracing_subscriber::registry().with(filter);
    let journald = std::env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    match journald {
        Some(layer) => {
            // Programs know outcomes by `MESSAGE_ID`, which has no prefix.
            let is_outcome = |metadata: &Metadata<'_>| metadata.target() == log::OUTCOME;
            let outcomes = tracing_journald::layer().ok().map(|layer| {
                layer
                    .with_field_prefix(None)
                    .with_syslog_identifier("surefootd".to_owned())
                    .with_filter(filter_fn(is_outcome))
            });
            registry
                .with(outcomes)
                .with(
                    layer
                        .with_syslog_identifier("surefootd".to_owned())
                        .with_filter(filter_fn(move |metadata| !is_outcome(metadata))),
                )
                .init();
        }
        None => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_ansi(std::io::stderr().is_terminal())
                    // Nor does it end where nobody reads any more.
                    .log_internal_errors(false)
                    .with_writer(std::io::stderr),
            )
            .init(),
    }
}

async fn run(
    cli: &Cli,
    config: Arc<config::Config>,
    refused: Option<String>,
) -> anyhow::Result<()> {
    if cli.deep {
        return doctor::deep(config).await;
    }
    if cli.doctor {
        return doctor::without_agent(config, refused).await;
    }
    if cli.systems {
        return systems::without_agent(config, &cli.diff).await;
    }
    let state = StateDir::open(&config.state_dir, config.state_reserve.0)?;
    robot::transient::end_all().await;
    if let (true, Some(why)) = (cli.rollback, &cli.why) {
        return roll_back(cli, config, state, why).await;
    }
    let listening = control::listen(&config.socket, &control::Roles::resolve(&config.control).0)?;
    let agent = Agent::start(Arc::clone(&config), state, Start::Daemon { refused }).await?;
    let (requests_in, requests) = mpsc::channel(16);
    tokio::spawn(control::serve(listening, agent.handle(requests_in)));
    tokio::spawn(metrics::keep(agent.told()));
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let end = agent.run(requests, signals()?, &cli.config.config).await?;
    match end {
        End::Renewed => tracing::info!("exiting, so that the new agent starts"),
        End::Recovered => {
            tracing::info!("it need not stand still any more: exiting, so that it starts anew");
        }
        End::Stopped => {}
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    robot::transient::end_all().await;
    Ok(())
}

/// A rollback without a daemon, by the same machine and the same hands.
async fn roll_back(
    cli: &Cli,
    config: Arc<config::Config>,
    state: StateDir,
    why: &Why,
) -> anyhow::Result<()> {
    // What it does may end the connection that root is logged in over.
    let _hangup = signal(SignalKind::hangup())?;
    let agent = Agent::start(config, state, Start::Once).await?;
    let rollback = Request::Rollback {
        to: cli.to.clone(),
        // What was said before the agent ended still counts: busy stays busy, and silence means it where a
        // lease is required.
        force: cli.force,
        end_holds: cli.resume,
        why: why.to_string(),
        by: "root".to_owned(),
    };
    let made = Made {
        running: cli.seen.clone(),
        ..Made::default()
    };
    let way = Way {
        made: Some(made),
        waited: false,
    };
    let said = agent.run_once(rollback, &way).await?;
    let _ = writeln!(std::io::stdout(), "{said}");
    Ok(())
}

fn signals() -> anyhow::Result<mpsc::Receiver<Signal>> {
    let (say, signals) = mpsc::channel(4);
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            let signal = tokio::select! {
                _ = hangup.recv() => Signal::Reload,
                _ = terminate.recv() => Signal::Stop,
                _ = interrupt.recv() => Signal::Stop,
            };
            if say.send(signal).await.is_err() {
                return;
            }
        }
    });
    Ok(signals)
}
