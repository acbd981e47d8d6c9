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
use std::{io, process::ExitStatus, time::Duration};
use surefoot_api::{
    HeldLease, Name, Why,
    method::{EndLease, Lease},
};
use surefoot_base::units::parse_duration;
use tokio::{
    process::{Child, Command},
    signal::unix::{self, SignalKind, signal},
};

/// How long it is believed if nothing else is said.
const TTL: Duration = Duration::from_secs(30);

/// Say whether the robot is busy: then nothing is switched and nothing reboots.
///
/// For the robot's own software. With a command: for as long as it runs; it is not started
/// while an update is under way (exit status 3), and its exit status is passed on. The robot is free
/// again if that is 0; whoever fails or is killed may have left a load in the gripper, so the robot then
/// stays busy until the lease is taken again, or ended with --end.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  The robot is busy while a program runs:
      surefoot lease gripper -- ./unload-the-truck
  Say that the gripper is free, for ten minutes:
      surefoot lease gripper --free --ttl 10min
  Say that it is free after all, since its holder died:
      sudo surefoot lease gripper --end")]
pub(crate) struct LeaseArgs {
    /// What speaks, e.g. gripper or mission.
    name: Name,
    /// Say that the robot is free: what a lease that the configuration requires must say again and
    /// again.
    #[arg(long, conflicts_with = "end")]
    free: bool,
    /// Say nothing more: the robot is free.
    #[arg(long)]
    end: bool,
    /// How long it is believed without a command, at most 1h [default: 30s]. Say it again before: what is
    /// busy stays so after that.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "command")]
    ttl: Option<Duration>,
    /// Why, for people.
    #[arg(long, value_name = "TEXT")]
    why: Option<Why>,
    /// The robot is free whatever becomes of the command.
    #[arg(long, requires = "command")]
    free_on_failure: bool,
    #[command(flatten)]
    socket: SocketArgs,
    /// Say it for as long as this command runs, and end with its exit status.
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "end")]
    command: Vec<String>,
}

/// Runs it.
pub(super) fn run(args: LeaseArgs, output: Output) -> anyhow::Result<()> {
    let (socket, name) = (args.socket, args.name);
    if args.end {
        return print_done(&socket.call(&EndLease { name })?, output);
    }
    let mut said = Lease {
        name,
        busy: !args.free,
        ttl: None,
        why: args.why,
    };
    let Some((program, arguments)) = args.command.split_first() else {
        said.ttl = Some(args.ttl.unwrap_or(TTL));
        return print_done(&socket.call(&said)?, output);
    };
    let name = said.name.clone();
    let held = HeldLease::take(socket.socket, said, {
        let name = name.clone();
        move |news| match news {
            Ok(()) => notice(&format!("the lease '{name}' is held again")),
            Err(error) => notice(&format!("the lease '{name}' is not held now: {error}")),
        }
    })?;
    // The caller's own, for as long as it runs and with the caller's terminal: so without limits.
    let mut command = Command::new(program);
    command.args(arguments);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (status, free) = runtime.block_on(async {
        match Running::start(command) {
            // What was not started has left nothing behind.
            Err(error) => (Err(error), true),
            Ok(running) => {
                let status = running.ended().await;
                let free = status.as_ref().is_ok_and(ExitStatus::success);
                (status, free)
            }
        }
    });
    if free || args.free_on_failure {
        if let Err(error) = held.end() {
            notice(&format!("the lease '{name}' was not ended: {error}"));
        }
    } else if !args.free {
        notice(&format!(
            "the robot stays busy, since the command failed; look whether it is free, and then: surefoot lease \
             {name} --end"
        ));
    }
    let status = status.with_context(|| format!("cannot run {program}"))?;
    match ChildExited::of(status) {
        ChildExited(0) => Ok(()),
        exited => Err(exited.into()),
    }
}

/// A command that runs. What would end this program is handed on to it, so that it never runs on without
/// its lease.
struct Running {
    child: Child,
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
}

impl Running {
    fn start(mut command: Command) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            child: command.spawn()?,
        })
    }

    async fn ended(mut self) -> io::Result<ExitStatus> {
        loop {
            tokio::select! {
                status = self.child.wait() => return status,
                _ = self.terminate.recv() => pass_on(&self.child, Signal::SIGTERM),
                // A terminal sends it to the command as well.
                _ = self.interrupt.recv() => {}
                _ = self.hangup.recv() => pass_on(&self.child, Signal::SIGHUP),
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
