//! Aiming the next boot at a system: the deadline, the one-shot, and what is remembered of them; and
//! taking each of them back.

use super::{deadline, files::replace, kernels::check_copy, settings::Settings, trace};
use crate::robot;
use crate::robot::kept_away::{self, DEADLINE};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{fs, io::ErrorKind, path::Path, time::Duration};
use surefoot_base::file;
use surefoot_core::StorePath;

/// What was aimed at, in the state directory, for the boot that comes back.
pub(super) const AIM: &str = "boot-trial.json";

/// What was aimed at.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Aim {
    /// The system.
    pub(super) system: StorePath,
    /// The loader's mark, which is its own business.
    pub(super) mark: Box<RawValue>,
    /// Crash dumps that were there before.
    pub(super) pstore: Vec<String>,
}

/// Arms the deadline, then has the loader start this system with the next boot.
///
/// # Errors
/// What is wrong, and with which file. What was done is taken back by [`remove_deadline`] and
/// [`take_back_one_shot`].
pub(super) fn aim(
    settings: &Settings,
    system: &StorePath,
    previous: &StorePath,
    within: Duration,
) -> anyhow::Result<()> {
    let loader = settings
        .find_loader()
        .context("no boot loader was found that can start a system once")?;
    loader.falls_back_to(previous)?;
    for part in ["kernel", "initrd"] {
        let file = fs::canonicalize(Path::new(&system.to_string()).join(part))
            .with_context(|| format!("{system} has no {part}"))?;
        check_copy(&loader.kernels(), &file)?;
    }
    let back = (!loader.is_guarded()).then_some(previous);
    let marker = settings.state_dir.join(DEADLINE);
    deadline::install(system, within, &marker, back)?;
    let _ = fs::remove_file(marker);
    kept_away::forget_on_disk(&settings.state_dir);
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

/// Takes the deadline away.
///
/// # Errors
/// What is wrong, and with which file.
pub(super) fn remove_deadline(settings: &Settings) -> anyhow::Result<()> {
    // The power was cut between the one-shot and the record of it: it goes before its deadline.
    let loader = (!is_recorded(settings)).then(|| settings.find_loader());
    let taken_back = loader
        .flatten()
        .map_or(Ok(()), |loader| loader.take_back(None));
    deadline::remove()?;
    taken_back?;
    remove(&settings.state_dir.join(DEADLINE))
}

/// Takes back a one-shot that was not used, and what the loader changed for it.
///
/// # Errors
/// What is wrong, and with which file.
pub(super) fn take_back_one_shot(settings: &Settings) -> anyhow::Result<()> {
    let aim = read(settings);
    if let Some(loader) = settings.find_loader() {
        loader.take_back(aim.as_ref().map(|aim| &*aim.mark))?;
    }
    // What the loader changed is on the disk before the record of it goes.
    nix::unistd::sync();
    remove(&settings.state_dir.join(AIM))
}

/// Removes a file for good, if it is there. Not by sync(2), which waits for every disk: also for one that
/// has died.
fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| file::sync_parent(path)),
    }
    .with_context(|| format!("cannot remove {}", path.display()))
}

/// Whether something was aimed at, and not taken back.
pub(super) fn is_recorded(settings: &Settings) -> bool {
    settings.state_dir.join(AIM).exists()
}

/// What was aimed at; `None` if nothing was, or nobody can read it.
pub(super) fn read(settings: &Settings) -> Option<Aim> {
    let text = robot::read(&settings.state_dir.join(AIM))?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_read_as_it_was_written_whatever_the_loader() {
        let system = "/nix/store/7rjj86a9d9vvbjg8c7i4r1f5vpm3k2d1-a";
        for mark in [
            r#"{"entry":"/boot/loader/entries/a+1.conf","before":"/boot/loader/entries/a.conf"}"#,
            r#"{"entry":null,"before":null}"#,
        ] {
            let text = format!(r#"{{"system":"{system}","mark":{mark},"pstore":["/p"]}}"#);
            let aim: Aim = serde_json::from_str(&text).unwrap();
            assert_eq!(aim.system.to_string(), system);
            assert_eq!(aim.mark.get(), mark);
            assert_eq!(serde_json::to_string(&aim).unwrap(), text);
        }
    }
}
