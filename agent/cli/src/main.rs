//! `surefoot`: what people type, on the robot and at the publisher's desk.

mod agent;
mod commands;
mod deltas;
mod desk;
mod differences;
mod errors;
mod files;
mod keyring;
mod output;
mod place;
mod report;
#[cfg(test)]
mod samples;
mod web_servers;

use clap::{CommandFactory, Parser};
use output::Output;
use std::process::ExitCode;

/// Update robots that run NixOS over the air, and publish what they update to.
#[derive(Debug, Parser)]
#[command(name = "surefoot", version, max_term_width = 100)]
struct Cli {
    /// Print one JSON object instead of text for people.
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    commands::answer_shell(Cli::command);
    let cli = Cli::parse();
    let output = Output::new(cli.json);
    let result = commands::run(cli.command, Cli::command, output);
    errors::report(result, output)
}
