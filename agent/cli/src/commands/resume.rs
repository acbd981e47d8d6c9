//! `surefoot resume`: the end of holds.

use crate::{
    agent::{
        made,
        socket::{SocketArgs, print_done},
    },
    output::Output,
};
use surefoot_api::method;

/// End holds: your own, or as a technician everybody's.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  End your holds:
      surefoot resume")]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    socket: SocketArgs,
}

/// Runs it.
pub(super) fn run(args: &ResumeArgs, output: Output) -> anyhow::Result<()> {
    print_done(
        &args.socket.call(&method::Resume {
            made: Some(made::now()),
        })?,
        output,
    )
}
