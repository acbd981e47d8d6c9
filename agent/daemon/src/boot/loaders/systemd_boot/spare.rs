//! The spare entry: one more for the system that starts by default, which NixOS never touches.
//!
//! NixOS' installer writes every entry anew each time, the default's too, and FAT has no journal: a
//! power cut just then may leave the default's entry empty. The loader takes the spare one then.
//! It is written whole and flushed while the default's entry rests.
//!
//! The installer fails on what a power cut leaves of its own work, too (nixpkgs,
//! `systemd-boot-builder.py`: it makes `loader.conf.tmp` only if that is not there, and wants a
//! kernel in every entry that it finds): that is taken away before it runs.

use super::{Entry, SystemdBoot};
use crate::{boot::files::replace, robot};
use anyhow::{Context as _, ensure};
use std::{fs, path::PathBuf};

/// Its first line.
const MARK: &str = "# Surefoot's spare entry, should the default's be lost. Leave it alone.\n";

/// Its name, where the default is not a pattern that it has to match.
const NAME: &str = "surefoot.conf";

/// What is to be done to the boot partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    write: Option<(PathBuf, String)>,
    remove: Vec<PathBuf>,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    /// Carries it out.
    ///
    /// # Errors
    /// The partition cannot be written.
    pub(super) fn carry_out(&self) -> anyhow::Result<()> {
        if let Some((path, text)) = &self.write {
            replace(path, text.as_bytes())?;
            nix::unistd::sync();
        }
        for path in &self.remove {
            fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        nix::unistd::sync();
        Ok(())
    }
}

/// Whether a text is that of a spare entry.
pub(super) fn is_spare(text: &str) -> bool {
    text.starts_with(MARK)
}

impl SystemdBoot {
    /// What has to be done before the installer may run. With `anew`, the spare entry has to start
    /// what starts by default now; without, it may start whatever it does.
    ///
    /// # Errors
    /// The partition cannot be read.
    pub(super) fn plan(&self, anew: bool) -> anyhow::Result<Plan> {
        let entries = self.entries()?;
        let mut plan = Plan {
            write: None,
            remove: self.leftovers(&entries)?,
        };
        if (anew || !entries.iter().any(|entry| self.is_good_spare(entry)))
            && let Some((path, text)) = self.wanted(&entries)
        {
            let stale = entries
                .iter()
                .filter(|entry| entry.spare && entry.path != path);
            plan.remove.extend(stale.map(|entry| entry.path.clone()));
            if robot::read(&path).as_ref() != Some(&text) {
                plan.write = Some((path, text));
            }
        }
        Ok(plan)
    }

    /// The spare entry that the loader takes should the default's be lost.
    ///
    /// # Errors
    /// It would take another one, or none.
    pub(super) fn spare(&self) -> anyhow::Result<Entry> {
        let mut entries = self.entries()?;
        if let Some(default) = self.chosen(&entries)
            && !default.spare
        {
            let path = default.path.clone();
            entries.retain(|entry| entry.path != path);
        }
        let taken = self
            .chosen(&entries)
            .cloned()
            .context("there is no other entry")?;
        ensure!(
            self.is_good_spare(&taken),
            "{} would be taken",
            taken.path.display()
        );
        Ok(taken)
    }

    /// Whether an entry is a spare one with all that it starts.
    fn is_good_spare(&self, entry: &Entry) -> bool {
        let there = |path: &String| {
            fs::metadata(self.esp.join(path.trim_start_matches('/'))).is_ok_and(|m| m.len() > 0)
        };
        let system = entry.system.as_ref().map(ToString::to_string);
        entry.spare
            && entry.is_startable()
            && entry.files.iter().all(there)
            && system.is_some_and(|path| self.root.join(&path[1..]).exists())
    }

    /// The spare entry as it has to be: a copy of the default's, sorted right behind it. `None` if
    /// the default's own entry is lost, or cannot be told.
    fn wanted(&self, entries: &[Entry]) -> Option<(PathBuf, String)> {
        let default = self.chosen(entries)?;
        if default.spare {
            return None;
        }
        let pattern = self.pattern().filter(|pattern| pattern.contains('*'));
        let name = match &pattern {
            // NixOS counts its generations from one, and clears away no other (nixpkgs,
            // systemd-boot-builder.py).
            Some(pattern) => {
                let name = pattern.replace('*', "0");
                format!("{}.conf", name.strip_suffix(".conf").unwrap_or(&name))
            }
            None => NAME.to_owned(),
        };
        let may_be_taken = |entry: &&Entry| match &pattern {
            Some(pattern) => entry.matches(pattern),
            None => true,
        };
        let first = entries
            .iter()
            .filter(|entry| entry.is_startable() && !entry.spare && !entry.order.unsorted)
            .filter(may_be_taken)
            .map(|entry| entry.order.sort_key.as_str())
            .min();
        let lines = robot::read(&default.path)?;
        let mut text = MARK.to_owned();
        for line in lines.lines().map(str::trim) {
            if let Some(title) = line.strip_prefix("title ") {
                text.push_str(&format!("title {} (kept by Surefoot)\n", title.trim()));
            } else if !line.starts_with("sort-key ") {
                text.push_str(line);
                text.push('\n');
            }
        }
        if let Some(key) = first {
            text.push_str(&format!("sort-key {}\n", before(key)));
        }
        Some((self.esp.join("loader/entries").join(name), text))
    }

    /// What a power cut left of NixOS' work, or of ours.
    fn leftovers(&self, entries: &[Entry]) -> anyhow::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for directory in ["loader", "loader/entries"] {
            let directory = self.esp.join(directory);
            let files = fs::read_dir(&directory)
                .with_context(|| format!("cannot list {}", directory.display()))?;
            for file in files {
                let path = file?.path();
                let left = path
                    .extension()
                    .is_some_and(|extension| extension == "tmp" || extension == "new");
                if left && path.is_file() {
                    found.push(path);
                }
            }
        }
        let empty = entries.iter().filter(|entry| {
            !entry.is_startable() && (entry.id.starts_with("nixos-") || entry.id == NAME)
        });
        found.extend(empty.map(|entry| entry.path.clone()));
        found.sort();
        Ok(found)
    }
}

/// A sort key behind that of the default, and before all others: NixOS gives the default one of its
/// own where it counts tries (`nixor-default` before `nixos`).
fn before(first: &str) -> String {
    if let Some(key) = first.strip_suffix("-default") {
        return format!("{key}-spare");
    }
    let mut characters: Vec<char> = first.chars().collect();
    match characters.pop() {
        // The character before: `nixos` becomes `nixor`.
        Some(last @ '1'..='~') => characters.push(char::from(last as u8 - 1)),
        // Nothing sensible comes before; with a name of its own it is still told apart.
        Some(last) => characters.push(last),
        None => {}
    }
    characters.into_iter().collect::<String>() + "-spare"
}
