//! `surefoot`: what people type, on the robot and at the publisher's desk.

mod commands;
mod errors;
mod keyring;
mod output;
mod standalone;
mod web_servers;

use commands::{fetch, man, publish, repo};

use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

/// Over-the-air NixOS updates for robots that always keep their footing.
#[derive(Debug, Parser)]
#[command(name = "surefoot", version, about, max_term_width = 100)]
struct Cli {
    /// Print one JSON object instead of text for people.
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Robot(commands::Command),
    /// Bring a closure into the local Nix store, as the daemon does.
    Fetch(Box<fetch::Args>),
    /// Add a release to a channel of a signed repository.
    Publish(Box<publish::Args>),
    /// Make and keep a signed repository: a directory of static files.
    #[command(subcommand)]
    Repo(repo::Command),
    #[command(flatten)]
    Shell(man::Command),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Robot(command) => commands::run(command, cli.json),
        Command::Fetch(args) => fetch::run(*args, cli.json),
        Command::Publish(args) => publish::run(*args, cli.json),
        Command::Repo(command) => repo::run(command, cli.json),
        Command::Shell(command) => man::run(command, Cli::command()),
    };
    errors::report(result, cli.json)
}
