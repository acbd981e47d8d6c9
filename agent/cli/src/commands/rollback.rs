//! `surefoot rollback`: going back, with or without a running agent.

use crate::{
    agent::{
        made,
        socket::{SocketArgs, print_done},
        standalone,
    },
    output::Output,
};
use surefoot_api::{CallError, RollbackTo, Why, method};

/// Go back to an earlier confirmed system, or end a running trial.
///
/// What is left is blocked: the agent does not try it again until something about it changes.
/// If no agent answers, root can still roll back: that works on the journal and the system
/// directly.
#[derive(Debug, clap::Args)]
pub(crate) struct RollbackArgs {
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
    socket: SocketArgs,
}

/// Runs it.
pub(super) fn run(args: RollbackArgs, output: Output) -> anyhow::Result<()> {
    let rollback = method::Rollback {
        why: args.why,
        to: args.to,
        force: args.force,
        made: Some(made::now()),
    };
    match args.socket.call(&rollback) {
        Ok(done) => print_done(&done, output),
        Err(silence @ (CallError::NotThere { .. } | CallError::Gone { .. })) => {
            standalone::rollback(&rollback, silence, output)
        }
        Err(error) => Err(error.into()),
    }
}
