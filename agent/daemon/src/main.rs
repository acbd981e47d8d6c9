//! `surefootd`: over-the-air NixOS updates that always keep their footing.

#[allow(dead_code, unused_imports, reason = "read by the agent")]
mod config;
#[allow(dead_code, unused_imports, reason = "served by the agent")]
mod control;

use clap::Parser;
use std::process::ExitCode;

/// Over-the-air NixOS updates for robots that always keep their footing: the daemon.
#[derive(Debug, Parser)]
#[command(name = "surefootd", version, about, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    config: config::ConfigArgs,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(code) = cli.config.answer() {
        return code;
    }
    match config::load(&cli.config.config) {
        Ok(_) => ExitCode::SUCCESS,
        Err(problems) => {
            eprintln!("{problems}");
            ExitCode::FAILURE
        }
    }
}
