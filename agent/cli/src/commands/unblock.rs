//! `surefoot unblock`: a blocked release is tried again.

use crate::{
    agent::socket::{SocketArgs, print_done},
    output::Output,
};
use surefoot_api::{RollbackTo, Why, method};

/// Have a blocked release tried again, at the next check that finds it offered.
///
/// `surefoot status` lists what is blocked and why. A release that failed here may fail again; the robot
/// comes back from that as it did before.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r#"Examples:
  Have release 42 tried again:
      surefoot unblock 42 --why "the camera was unplugged""#)]
pub(crate) struct UnblockArgs {
    /// Which one: a release, or the store path of its system.
    #[arg(value_name = "RELEASE")]
    what: RollbackTo,
    /// Why, for those who come after: it stands in the history.
    #[arg(long, value_name = "TEXT")]
    why: Why,
    #[command(flatten)]
    socket: SocketArgs,
}

/// Runs it.
pub(super) fn run(args: UnblockArgs, output: Output) -> anyhow::Result<()> {
    let unblock = method::Unblock {
        what: args.what,
        why: args.why,
    };
    print_done(&args.socket.call(&unblock)?, output)
}
