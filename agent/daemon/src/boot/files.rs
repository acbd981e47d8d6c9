//! Programs and files as the steps of a boot on trial use them.

use anyhow::{Context as _, ensure};
use std::{path::Path, process::Command};
use surefoot_base::{file, program::words};

/// Runs a program to its end; gives what it printed.
///
/// # Errors
/// It cannot be run, or none of these statuses is its; then with its last words.
pub(super) fn run(command: &mut Command, good: &[i32]) -> anyhow::Result<String> {
    let name = words(command);
    let output = command
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output
            .status
            .code()
            .is_some_and(|code| good.contains(&code)),
        "{name}: {}: {} {}",
        output.status,
        printed.lines().last().unwrap_or_default(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(printed)
}

/// Puts a file in the place of another, whole and for good ([`surefoot_base::file::replace`]).
///
/// # Errors
/// The disk says no; then the old file is as it was.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    file::replace(path, bytes, 0o644).with_context(|| format!("cannot write {}", path.display()))
}
