//! The logs of switches, a file each: `switches/UNIT-HASH.log`, where the hash is that of the system
//! that was switched to. They are for people, and nothing is decided by them.

use super::journal;
use anyhow::Context as _;
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};
use surefoot_base::{file, space};
use surefoot_core::{StorePath, switch::Order};

/// Where they lie in the state directory.
const DIRECTORY: &str = "switches";

/// How many are kept.
const MAX_LOGS: usize = 16;

/// They take none of the last room on a disk, bytes.
const ROOM: u64 = 16 << 20;

/// Keeps the log of a switch, in the place of an older one where there are too many. Root may read
/// it: services print what is nobody else's business.
///
/// # Errors
/// The disk says no, or is nearly full. Then there is no such file.
pub(crate) fn keep(state_dir: &Path, order: &Order, text: &str) -> anyhow::Result<()> {
    let directory = state_dir.join(DIRECTORY);
    let path = directory.join(name(order));
    let kept = write(&directory, &path, text);
    kept.with_context(|| {
        format!(
            "the log of {} is not kept in {}",
            order.unit,
            path.display()
        )
    })
}

fn write(directory: &Path, path: &Path, text: &str) -> anyhow::Result<()> {
    let free = space::free(space::existing(directory))?;
    anyhow::ensure!(free >= ROOM, "only {free} bytes are free");
    fs::create_dir_all(directory)?;
    file::replace_unsynced(path, text.as_bytes(), 0o600)?;
    let state_dir = directory.parent().unwrap_or(directory);
    // What cannot be read blocks nothing: then the newest are kept.
    let blocked = journal::read(state_dir, false).map(|journal| journal.blocked);
    let blocked: HashSet<String> = (blocked.unwrap_or_default().iter())
        .map(|blocked| ending(&blocked.system))
        .collect();
    prune(directory, &blocked);
    Ok(())
}

/// The newest log of a switch to this system, if one is kept.
pub(crate) fn of(state_dir: &Path, system: &StorePath) -> Option<PathBuf> {
    let ending = ending(system);
    let logs = list(&state_dir.join(DIRECTORY));
    logs.into_iter()
        .filter(|(_, path)| has_ending(path, &ending))
        .max()
        .map(|(_, path)| path)
}

fn name(order: &Order) -> String {
    let unit = order.unit.trim_end_matches(".service");
    format!("{unit}{}", ending(&order.system))
}

/// What the logs of switches to this system end in.
fn ending(system: &StorePath) -> String {
    format!("-{}.log", system.hash_part())
}

fn has_ending(path: &Path, ending: &str) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().ends_with(ending)
}

/// What lies there, with its age.
fn list(directory: &Path) -> Vec<(SystemTime, PathBuf)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let dated = entries.filter_map(|entry| {
        let modified = entry.metadata().ok()?.modified().ok()?;
        Some((modified, entry.path()))
    });
    dated.collect()
}

/// Removes the oldest ones that are too many: first those of switches to systems that are not
/// blocked.
fn prune(directory: &Path, blocked: &HashSet<String>) {
    let mut logs: Vec<_> = (list(directory).into_iter())
        .map(|(at, path)| {
            let needed = blocked.iter().any(|ending| has_ending(&path, ending));
            (needed, at, path)
        })
        .collect();
    logs.sort();
    logs.truncate(logs.len().saturating_sub(MAX_LOGS));
    for (_, _, path) in logs {
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!("{}: {error}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use surefoot_core::switch::Action;

    fn system(n: usize) -> StorePath {
        StorePath::from_base_name(&format!("{n:032}-nixos")).unwrap()
    }

    fn order(unit: usize, to: usize) -> Order {
        Order {
            unit: format!("surefoot-trial-{unit}.service"),
            system: system(to),
            action: Action::Test,
            default: None,
            remove: None,
            timeout: Duration::ZERO,
            no_check: false,
        }
    }

    #[test]
    fn the_newest_log_of_a_system_is_found_and_only_root_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(of(dir.path(), &system(1)), None);
        for unit in [1, 2] {
            keep(dir.path(), &order(unit, 1), &format!("said {unit}")).unwrap();
        }
        let path = of(dir.path(), &system(1)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "said 2");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(of(dir.path(), &system(2)), None);
    }

    #[test]
    fn there_are_only_so_many_and_those_of_blocked_systems_stay_longest() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..MAX_LOGS + 5 {
            keep(dir.path(), &order(n, n), "said").unwrap();
        }
        let count = || list(&dir.path().join(DIRECTORY)).len();
        assert_eq!(count(), MAX_LOGS);
        assert_eq!(of(dir.path(), &system(0)), None);
        let oldest = of(dir.path(), &system(5)).unwrap();
        let blocked = HashSet::from([ending(&system(5))]);
        for n in 100..100 + MAX_LOGS {
            fs::write(dir.path().join(DIRECTORY).join(name(&order(n, n))), "").unwrap();
        }
        prune(&dir.path().join(DIRECTORY), &blocked);
        assert_eq!(count(), MAX_LOGS);
        assert!(oldest.exists());
        // Not even those of blocked systems grow without end.
        let all = (0..200).map(|n| ending(&system(n))).collect();
        fs::write(dir.path().join(DIRECTORY).join(name(&order(199, 199))), "").unwrap();
        prune(&dir.path().join(DIRECTORY), &all);
        assert_eq!(count(), MAX_LOGS);
        assert!(!oldest.exists());
    }

    #[test]
    fn what_cannot_be_written_is_said_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(DIRECTORY), "").unwrap();
        let error = format!("{:#}", keep(dir.path(), &order(1, 1), "said").unwrap_err());
        assert!(
            error.starts_with("the log of surefoot-trial-1.service is not kept"),
            "{error}"
        );
        assert_eq!(of(dir.path(), &system(1)), None);
    }
}
