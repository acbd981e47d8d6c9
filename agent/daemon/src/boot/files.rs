//! Programs and files as the steps of a boot on trial use them.

use anyhow::{Context as _, ensure};
use std::{ffi::OsStr, path::Path, process::Command, time::Duration};
use surefoot_base::{
    file,
    program::{self, Limits, words},
};

/// What a program may take. The unit that a step runs in ends before that.
const LIMITS: Limits = Limits {
    time: Duration::from_secs(120),
    output: 1 << 20,
};

/// Runs a program with these arguments to its end; gives what it printed. Not for the daemon itself.
///
/// # Errors
/// It cannot be run, or none of these statuses is its; then with its last words.
pub(super) fn run(
    mut command: Command,
    args: impl IntoIterator<Item: AsRef<OsStr>>,
    good: &[i32],
) -> anyhow::Result<String> {
    command.args(args);
    let name = words(&command);
    let ended =
        program::run_blocking(command, LIMITS).with_context(|| format!("cannot run {name}"))?;
    ensure!(
        (ended.status.code()).is_some_and(|code| good.contains(&code)),
        "{name}: {}: {} {}",
        ended.status,
        ended.stdout.last_words(),
        ended.stderr.last_words()
    );
    (ended.stdout.whole()).with_context(|| format!("cannot understand {name}"))
}

/// Puts a file in the place of another, whole and for good ([`surefoot_base::file::replace`]).
///
/// # Errors
/// The disk says no; then the old file is as it was.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    file::replace(path, bytes, 0o644).with_context(|| format!("cannot write {}", path.display()))
}
