//! `surefoot watch`: every change.

use crate::{
    agent::{
        follow::{Screen, reconnect},
        socket::SocketArgs,
    },
    output::Output,
};
use surefoot_api::CallError;

/// Say it again on every change, until interrupted.
#[derive(Debug, clap::Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    socket: SocketArgs,
}

/// Prints every change until interrupted.
pub(super) fn run(args: &WatchArgs, output: Output) -> anyhow::Result<()> {
    let mut agent = args.socket.connect()?.watch()?;
    let mut screen = Screen::new(output);
    loop {
        match agent.next_status() {
            Ok(status) => {
                output.object(&status)?;
                screen.show(&status)?;
            }
            Err(CallError::Gone { .. }) => {
                screen.say(
                    "the agent hung up: it restarts, or others need the connection; connecting again",
                );
                agent = reconnect(&args.socket, None)?.watch()?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
