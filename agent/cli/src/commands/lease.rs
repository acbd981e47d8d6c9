//! `surefoot lease`: the robot's own software says whether it is busy.

use crate::{
    agent::socket::{SocketArgs, print_done},
    errors::ChildExited,
    output::{Output, notice},
};
use anyhow::Context as _;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{process::ExitStatus, time::Duration};
use surefoot_api::{
    Name, Why,
    method::{self, Done},
};
use surefoot_base::units::parse_duration;
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

/// Say for some time whether the robot is busy: then nothing is switched and nothing reboots.
///
/// For the robot's own software. With a command: for as long as it runs; it is not started
/// while an update is under way (exit status 3), and its exit status is passed on.
#[derive(Debug, clap::Args)]
pub(crate) struct LeaseArgs {
    /// What speaks, e.g. gripper or mission.
    name: Name,
    /// Say that the robot is free: what a lease that the configuration requires must say again and
    /// again.
    #[arg(long, conflicts_with = "end")]
    free: bool,
    /// Say nothing more.
    #[arg(long)]
    end: bool,
    /// How long it is believed, at most 1h; say it again before.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    ttl: Duration,
    /// Why, for people.
    #[arg(long, value_name = "TEXT")]
    why: Option<Why>,
    #[command(flatten)]
    socket: SocketArgs,
    /// Say it for as long as this command runs, and end with its exit status.
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "end")]
    command: Vec<String>,
}

/// A lease that is renewed.
#[derive(Debug, Clone)]
struct Lease {
    socket: SocketArgs,
    said: method::Lease,
}

/// Runs it.
pub(super) fn run(args: LeaseArgs, output: Output) -> anyhow::Result<()> {
    let lease = Lease {
        said: method::Lease {
            name: args.name,
            busy: !args.free,
            ttl: args.ttl,
            why: args.why,
        },
        socket: args.socket,
    };
    if args.end {
        return print_done(&lease.end()?, output);
    }
    let said = lease.say()?;
    let Some((program, arguments)) = args.command.split_first() else {
        return print_done(&said, output);
    };
    let mut command = Command::new(program);
    command.args(arguments);
    let status = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(lease.held_while(command, args.ttl / 3));
    // The robot is not to wait for the end of its time; the command's end is what counts.
    if let Err(error) = lease.end() {
        notice(&error.to_string());
    }
    let status = status.with_context(|| format!("cannot run {program}"))?;
    match ChildExited::of(status) {
        ChildExited(0) => Ok(()),
        exited => Err(exited.into()),
    }
}

impl Lease {
    fn say(&self) -> anyhow::Result<Done> {
        Ok(self.socket.call(&self.said)?)
    }

    fn end(&self) -> anyhow::Result<Done> {
        let name = self.said.name.clone();
        Ok(self.socket.call(&method::EndLease { name })?)
    }

    /// Renews it until a command has ended. What would end this program is handed on to the command,
    /// so that it never runs on without its lease.
    async fn held_while(
        &self,
        mut command: Command,
        every: Duration,
    ) -> std::io::Result<ExitStatus> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut child = command.spawn()?;
        let mut renewal = tokio::time::interval(every);
        renewal.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        renewal.tick().await;
        let mut silent = false;
        loop {
            tokio::select! {
                status = child.wait() => return status,
                _ = terminate.recv() => pass_on(&child, Signal::SIGTERM),
                // A terminal sends it to the command as well.
                _ = interrupt.recv() => {}
                _ = hangup.recv() => pass_on(&child, Signal::SIGHUP),
                _ = renewal.tick() => {
                    let lease = self.clone();
                    let renewed = tokio::task::spawn_blocking(move || lease.say()).await;
                    let failed = match renewed {
                        Ok(Ok(_)) => None,
                        Ok(Err(error)) => Some(error.to_string()),
                        Err(error) => Some(error.to_string()),
                    };
                    if let Some(why) = failed.as_ref().filter(|_| !silent) {
                        notice(&format!("the lease '{}' could not be renewed: {why}", self.said.name));
                    }
                    silent = failed.is_some();
                }
            }
        }
    }
}

fn pass_on(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid {
        // It may just have ended.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}
