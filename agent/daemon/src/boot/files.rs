//! Programs and files as the steps of a boot on trial use them.

use crate::robot::systemd;
use anyhow::{Context as _, ensure};
use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::Command,
};

/// A program, found where NixOS and others have theirs.
pub(super) fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", systemd::PATH);
    command
}

/// Runs a program to its end; gives what it printed.
///
/// # Errors
/// It cannot be run, or none of these statuses is its; then with its last words.
pub(super) fn run(command: &mut Command, good: &[i32]) -> anyhow::Result<String> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let name = words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
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

/// Replaces a file as one step.
pub(super) fn replace(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let work = || -> std::io::Result<()> {
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync_parent(path)
    };
    work().with_context(|| format!("cannot write {}", path.display()))
}

pub(super) fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}
