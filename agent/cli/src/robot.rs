//! Commands of the robot side.

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {}

/// Runs one.
pub(crate) fn run(command: Command, _json: bool) -> anyhow::Result<()> {
    match command {}
}
