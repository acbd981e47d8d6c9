//! The campaign: lives many robots' lives, and says which one broke a promise.
//!
//! `surefoot-sim [--steps N | --robots N] [--seed N]` lives one robot after another, from this seed
//! on, until so many things have happened, or so many robots have lived; `--seed N --log` lives one and
//! shows all that happened. `--list` names the properties.

use std::{process::ExitCode, time::Instant};
use surefoot_sim::{properties, run::Run};

const USAGE: &str = "surefoot-sim [--steps N | --robots N] [--seed N] | --seed N --log | --list";

struct Options {
    steps: u64,
    seed: u64,
    /// How many robots live at most.
    robots: u64,
    log: bool,
    list: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        steps: 1_000_000,
        seed: 0,
        robots: u64::MAX,
        log: false,
        list: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || {
            let text = args.next().ok_or(format!("{arg} needs a number"))?;
            text.parse::<u64>()
                .map_err(|error| format!("{arg} {text}: {error}"))
        };
        match arg.as_str() {
            "--steps" => options.steps = number()?,
            "--seed" => options.seed = number()?,
            "--robots" => {
                options.robots = number()?;
                options.steps = u64::MAX;
            }
            "--log" => options.log = true,
            "--list" => options.list = true,
            _ => return Err(format!("'{arg}' is not known\n{USAGE}")),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    if options.list {
        for property in properties::ALL {
            println!("{}: {}", property.name, property.promise);
        }
        return ExitCode::SUCCESS;
    }
    // A broken promise is a panic, and is told below.
    std::panic::set_hook(Box::new(|_| {}));
    if options.log {
        return show(options.seed);
    }
    campaign(&options)
}

fn show(seed: u64) -> ExitCode {
    let mut run = Run::new(seed);
    let lived = run.live();
    print!("{}", run.robot.log);
    match lived {
        Ok(()) => {
            println!("seed {seed}: every promise was kept");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("seed {seed}: {}", failure.summary());
            ExitCode::FAILURE
        }
    }
}

fn campaign(options: &Options) -> ExitCode {
    let began = Instant::now();
    let (mut steps, mut runs, mut seed) = (0, 0_u64, options.seed);
    while steps < options.steps && runs < options.robots {
        let mut run = Run::new(seed);
        let lived = run.live();
        steps += run.steps;
        runs += 1;
        if let Err(failure) = lived {
            println!("seed {seed}: {}", failure.summary());
            println!("broken after {runs} robots; `surefoot-sim --seed {seed} --log` shows it");
            return ExitCode::FAILURE;
        }
        seed = seed.wrapping_add(1);
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{steps} steps, {runs} robots (seeds {} to {}), {seconds:.1} s: every promise was kept",
        options.seed,
        seed.wrapping_sub(1)
    );
    ExitCode::SUCCESS
}
