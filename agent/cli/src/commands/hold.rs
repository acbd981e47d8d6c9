//! `surefoot hold`: no other system for some time.

use crate::{
    agent::socket::{SocketArgs, print_done},
    output::Output,
};
use std::time::Duration;
use surefoot_api::{Why, method};
use surefoot_base::units::parse_duration;

/// Keep the robot from switching to another system. Checks and downloads go on.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r#"Examples:
  Nothing is switched for two hours:
      surefoot hold --why "arm is being calibrated" --for 2h"#)]
pub(crate) struct HoldArgs {
    /// Why, for those who come after.
    #[arg(long, value_name = "TEXT")]
    why: Why,
    /// How long, e.g. 30min, 4h, 2d. [default: until somebody resumes]
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    time: Option<Duration>,
    #[command(flatten)]
    socket: SocketArgs,
}

/// Runs it.
pub(super) fn run(args: HoldArgs, output: Output) -> anyhow::Result<()> {
    let hold = method::Hold {
        why: args.why,
        length: args.time,
    };
    print_done(&args.socket.call(&hold)?, output)
}
