//! `surefoot keep`: a system that stays.

use crate::{
    agent::socket::{SocketArgs, print_done},
    output::Output,
};
use surefoot_api::{RollbackTo, method};

/// Keep a system: its generation stays in the boot menu, and nothing collects it.
///
/// The agent takes generations away that it made itself, oldest first, when the next release is
/// installed. What the robot may still have to start stays by itself.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  Keep release 41 whatever comes:
      surefoot keep 41
  It may go again:
      surefoot keep 41 --undo")]
pub(crate) struct KeepArgs {
    /// Which one: a release, the number of a generation, or a store path.
    #[arg(value_name = "RELEASE|GENERATION")]
    what: RollbackTo,
    /// No longer: it may go when room is needed.
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    socket: SocketArgs,
}

/// Runs it.
pub(super) fn run(args: KeepArgs, output: Output) -> anyhow::Result<()> {
    let keep = method::Keep {
        what: args.what,
        undo: args.undo,
    };
    print_done(&args.socket.call(&keep)?, output)
}
