//! The robot side: what technicians, and the robot's own software, ask of the agent.

mod doctor;
pub(crate) mod fetch;
mod lease;
pub(crate) mod man;
pub(crate) mod publish;
pub(crate) mod repo;
mod status;
#[cfg(test)]
mod tests;
mod update;

use crate::{
    output::{Style, clean, print, print_json},
    standalone,
};
use serde_json::json;
use std::{path::PathBuf, time::Duration};
use surefoot_api::{CallError, Client, RollbackTo, SOCKET, Why, method};
use surefoot_base::units::parse_duration;

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Say what the robot runs, what the agent is doing, and why.
    Status(Socket),
    /// Say it again on every change, until interrupted.
    Watch(Socket),
    /// Look for an update now, and try at once what waits for a next attempt.
    Update(Update),
    /// Go back to an earlier confirmed system, or end a running trial.
    ///
    /// What is left is blocked: the agent does not try it again until something about it changes.
    /// If no agent answers, root can still roll back: that works on the journal and the system
    /// directly.
    Rollback(Rollback),
    /// Keep the robot from switching to another system. Checks and downloads go on.
    Hold(Hold),
    /// End holds: your own, or as a technician everybody's.
    Resume(Socket),
    /// Say for some time whether the robot is busy: then nothing is switched and nothing reboots.
    ///
    /// For the robot's own software. With a command: for as long as it runs; it is not started
    /// while an update is under way (exit status 3), and its exit status is passed on.
    Lease(lease::Args),
    /// Say what happened, newest first.
    History(History),
    /// Look the robot over: would it come back from a bad system, can it be updated?
    ///
    /// Nothing is changed. Exit status 1 if something does not work; warnings do not count. If no
    /// agent answers, root can still have the robot looked over; what only the agent knows is
    /// missing then.
    Doctor(Socket),
}

/// Where the agent is.
#[derive(Debug, clap::Args)]
pub(crate) struct Socket {
    /// The agent's control socket.
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    socket: PathBuf,
}

/// Arguments of `surefoot update`.
#[derive(Debug, clap::Args)]
pub(crate) struct Update {
    /// Follow it to its end: exit 0 if the robot runs what it should, 1 if not, 3 if it is held.
    #[arg(long)]
    wait: bool,
    /// Follow it no longer than this, e.g. 30min; it goes on by itself.
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = parse_duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    socket: Socket,
}

/// Arguments of `surefoot rollback`.
#[derive(Debug, clap::Args)]
pub(crate) struct Rollback {
    /// Why, for those who come after: it stands in the history and with the blocked release.
    #[arg(long, value_name = "TEXT")]
    why: Why,
    /// Where to, of the systems that `surefoot status` lists: a release, or a store path.
    /// [default: the one before, or out of the running trial]
    #[arg(long, value_name = "GENERATION")]
    to: Option<RollbackTo>,
    /// Although a lease says that the robot is busy.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    socket: Socket,
}

/// Arguments of `surefoot hold`.
#[derive(Debug, clap::Args)]
pub(crate) struct Hold {
    /// Why, for those who come after.
    #[arg(long, value_name = "TEXT")]
    why: Why,
    /// How long, e.g. 30min, 4h, 2d. [default: until somebody resumes]
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    time: Option<Duration>,
    #[command(flatten)]
    socket: Socket,
}

/// Arguments of `surefoot history`.
#[derive(Debug, clap::Args)]
pub(crate) struct History {
    /// The newest N only.
    #[arg(short = 'n', long = "limit", value_name = "N")]
    limit: Option<u32>,
    #[command(flatten)]
    socket: Socket,
}

/// Runs one.
pub(crate) fn run(command: Command, json: bool) -> anyhow::Result<()> {
    match command {
        Command::Status(Socket { socket }) => {
            let status = Client::connect(&socket)?.call(&method::Status {})?.status;
            if json {
                print_json(&status)
            } else {
                print(&status::status(&status, Style::detect()))
            }
        }
        Command::Watch(Socket { socket }) => update::watch(&socket, json),
        Command::Update(args) if args.wait => {
            update::update(&args.socket.socket, args.timeout, json)
        }
        Command::Update(args) => done(
            Client::connect(&args.socket.socket)?.call(&method::Update {})?,
            json,
        ),
        Command::Rollback(args) => rollback(args, json),
        Command::Hold(args) => {
            let hold = method::Hold {
                why: args.why,
                length: args.time,
            };
            done(Client::connect(&args.socket.socket)?.call(&hold)?, json)
        }
        Command::Resume(Socket { socket }) => {
            done(Client::connect(&socket)?.call(&method::Resume {})?, json)
        }
        Command::Lease(args) => lease::run(args, json),
        Command::Doctor(Socket { socket }) => doctor::run(&socket, json),
        Command::History(args) => {
            let history = method::History {
                limit: args.limit.map(u64::from),
            };
            let entries = Client::connect(&args.socket.socket)?
                .call(&history)?
                .entries;
            if json {
                print_json(&json!({ "entries": entries }))
            } else {
                print(&status::history(&entries, Style::detect()))
            }
        }
    }
}

fn rollback(args: Rollback, json: bool) -> anyhow::Result<()> {
    let rollback = method::Rollback {
        why: args.why,
        to: args.to,
        force: args.force,
    };
    let answer = Client::connect(&args.socket.socket).and_then(|mut agent| agent.call(&rollback));
    match answer {
        Ok(answer) => done(answer, json),
        Err(silence @ (CallError::NotThere { .. } | CallError::Gone { .. })) => {
            let to = rollback.to.as_ref().map(ToString::to_string);
            standalone::rollback(rollback.why.as_str(), to.as_deref(), json, silence)
        }
        Err(error) => Err(error.into()),
    }
}

fn done(method::Done { message }: method::Done, json: bool) -> anyhow::Result<()> {
    if json {
        print_json(&json!({ "message": message }))
    } else {
        print(&format!("{}\n", clean(&message)))
    }
}
