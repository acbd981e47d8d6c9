//! What a power cut left of NixOS' work, or of ours.
//!
//! The installer fails on what a power cut leaves of its own work (nixpkgs,
//! `systemd-boot-builder.py`: it makes `loader.conf.tmp` only if that is not there, and wants a
//! kernel in every entry that it finds): that is taken away before it runs.

use super::{entry::Entry, menu::Menu, spare};
use anyhow::Context as _;
use std::{fs, io::ErrorKind, path::PathBuf};
use surefoot_base::file::TEMPORARY;

/// All of it.
///
/// # Errors
/// The partition cannot be read.
pub(super) fn find(menu: &Menu, entries: &[Entry]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let directories = (menu.partitions())
        .flat_map(|mount| ["loader", "loader/entries"].map(|directory| mount.join(directory)));
    for directory in directories {
        let files = match fs::read_dir(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            files => files.with_context(|| format!("cannot list {}", directory.display()))?,
        };
        for file in files {
            let path = file?.path();
            let is_temporary = path
                .extension()
                .is_some_and(|extension| extension == "tmp" || extension == "new")
                || path
                    .file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY));
            if is_temporary && path.is_file() {
                found.push(path);
            }
        }
    }
    let empty = entries
        .iter()
        .filter(|entry| !entry.is_startable() && (entry.is_nixos() || entry.id == spare::NAME));
    found.extend(empty.map(|entry| entry.path.clone()));
    found.extend(dead(menu, entries));
    found.extend(doubles(menu, entries));
    found.sort();
    found.dedup();
    Ok(found)
}

/// NixOS' entries whose kernel is gone, or what goes with it, but never the default's: a builder that
/// could not read an entry's name took away what it starts.
fn dead(menu: &Menu, entries: &[Entry]) -> Vec<PathBuf> {
    let default = menu.chosen(entries).map(|entry| entry.path.clone());
    let is_gone = |path: PathBuf| {
        let found = fs::metadata(path);
        found.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    };
    (entries.iter())
        .filter(|entry| entry.is_nixos() && Some(&entry.path) != default.as_ref())
        .filter(|entry| entry.files.iter().any(|file| is_gone(entry.locate(file))))
        .map(|entry| entry.path.clone())
        .collect()
}

/// Entries of which there is another one with the same id and no count of tries: the loader would take
/// either. That one was written last, by an installer that counts none. What a one-shot speaks of is left.
fn doubles(menu: &Menu, entries: &[Entry]) -> Vec<PathBuf> {
    let one_shot = menu.variables.one_shot();
    let is_double = |entry: &&Entry| {
        let plain = entry.path.with_file_name(&entry.id);
        entry.is_nixos()
            && entry.path != plain
            && one_shot.as_ref() != Some(&entry.id)
            && (entries.iter()).any(|other| other.path == plain && other.is_startable())
    };
    let doubles = entries.iter().filter(is_double);
    doubles.map(|entry| entry.path.clone()).collect()
}
