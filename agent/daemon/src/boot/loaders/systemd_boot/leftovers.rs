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
    let empty = entries.iter().filter(|entry| {
        !entry.is_startable() && (entry.id.starts_with("nixos-") || entry.id == spare::NAME)
    });
    found.extend(empty.map(|entry| entry.path.clone()));
    found.sort();
    Ok(found)
}
