//! Aiming the next boot at a system, and taking that back.

use super::{
    deadline, files::replace, kernels::check_copy, loader::Mark, loaders, settings::Settings, trace,
};
use crate::robot;
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::{fs, path::Path, time::Duration};
use surefoot_core::StorePath;

/// What was aimed at, in the state directory, for the boot that comes back.
pub(super) const AIM: &str = "boot-trial.json";

/// What was aimed at.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Aim {
    /// The system.
    pub(super) system: StorePath,
    /// The loader's marks.
    pub(super) mark: Mark,
    /// Crash dumps that were there before.
    pub(super) pstore: Vec<String>,
}

pub(super) fn aim(
    settings: &Settings,
    system: &StorePath,
    previous: &StorePath,
    within: Duration,
) -> anyhow::Result<()> {
    let loader =
        loaders::find(settings).context("no boot loader was found that can start a system once")?;
    loader.falls_back_to(previous)?;
    for part in ["kernel", "initrd"] {
        let file = fs::canonicalize(Path::new(&system.to_string()).join(part))
            .with_context(|| format!("{system} has no {part}"))?;
        check_copy(&loader.kernels(), &file)?;
    }
    let back = (!loader.is_guarded()).then_some(previous);
    deadline::install(
        system,
        within,
        &settings.state_dir.join(trace::DEADLINE),
        back,
    )?;
    let _ = fs::remove_file(settings.state_dir.join(trace::DEADLINE));
    // The deadline must be on the disk before anything can boot into the trial.
    nix::unistd::sync();
    let mark = loader.aim(system, previous)?;
    let aim = Aim {
        system: system.clone(),
        mark,
        pstore: trace::dumps(),
    };
    replace(&settings.state_dir.join(AIM), &serde_json::to_vec(&aim)?)?;
    nix::unistd::sync();
    println!("the next boot is {system}, by {}", loader.name());
    Ok(())
}

pub(super) fn forget(settings: &Settings) -> anyhow::Result<()> {
    deadline::remove()?;
    let aim = read(settings);
    if let Some(loader) = loaders::find(settings) {
        loader.forget(aim.as_ref().map(|aim| &aim.mark))?;
    }
    for name in [AIM, trace::DEADLINE] {
        match fs::remove_file(settings.state_dir.join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    nix::unistd::sync();
    Ok(())
}

pub(super) fn read(settings: &Settings) -> Option<Aim> {
    let text = robot::read(&settings.state_dir.join(AIM))?;
    serde_json::from_str(&text).ok()
}
