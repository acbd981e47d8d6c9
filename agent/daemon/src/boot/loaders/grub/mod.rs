//! GRUB: one menu, `grub.cfg`, and a block of variables, `grubenv`. Its one-shot is the variable
//! `next_entry`, which NixOS' menu takes and clears (nixpkgs, `install-grub.pl`).
//!
//! GRUB must be able to clear it, or every boot is the trial's: it writes to plain partitions only,
//! not to LVM, RAID, btrfs or ZFS (GRUB manual, "Environment block").

mod environment;
mod file_system;
mod menu;
#[cfg(test)]
mod tests;

use crate::boot::loader::{Known, Loader, OneShot, writable};
use anyhow::{Context as _, ensure};
use environment::Environment;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};
use surefoot_api::finding::{Finding, Subject, obstacle};
use surefoot_core::StorePath;

const LOADER: Subject = Subject::Loader;

/// What becomes of a trial whose entry GRUB cannot load.
const UNLOADABLE: &str = "an entry that cannot be loaded";

/// How it is found.
pub(super) const KNOWN: Known = Known {
    name: "GRUB",
    absent: "there is no /boot/grub with grub.cfg and grubenv",
    find: |root| Some(Box::new(Grub::find(root)?)),
};

/// GRUB's directory on the robot.
#[derive(Debug)]
struct Grub {
    directory: PathBuf,
    environment: Environment,
}

/// Nothing has to be remembered of an aim: the block of variables tells.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Mark {
    /// Empty, as ever in this file.
    #[serde(skip_deserializing)]
    entry: (),
    /// Likewise.
    #[serde(skip_deserializing)]
    before: (),
}

impl Grub {
    /// Finds it below a root: a menu and an environment block.
    fn find(root: &Path) -> Option<Self> {
        let directory = root.join("boot/grub");
        let environment = Environment {
            file: directory.join("grubenv"),
        };
        let is_there = directory.join("grub.cfg").is_file() && environment.file.is_file();
        is_there.then_some(Self {
            directory,
            environment,
        })
    }

    fn menu(&self) -> anyhow::Result<String> {
        let path = self.directory.join("grub.cfg");
        // With many generations it is long.
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }
}

/// Reads a text as a menu, and as an environment block.
#[cfg(feature = "fuzz")]
pub(super) fn fuzz(text: &str) {
    assert!(menu::entries(text).len() <= text.matches("menuentry ").count());
    assert!(environment::variables(text).len() <= text.matches('=').count());
}

impl Loader for Grub {
    fn name(&self) -> &'static str {
        KNOWN.name
    }

    fn default(&self) -> anyhow::Result<Option<StorePath>> {
        Ok(menu::default(&self.menu()?))
    }

    fn check(&self) -> Vec<Finding> {
        let judge = |what: &str, result: anyhow::Result<String>, advice: &str| match result {
            Ok(found) => Finding::ok(LOADER, what, found),
            Err(error) => Finding::fail(LOADER, what, format!("{error:#}"), advice),
        };
        let block = self.environment.variables().map(|variables| {
            format!(
                "{} is whole and has {} variables",
                self.environment.file.display(),
                variables.len()
            )
        });
        let place = file_system::of(&self.directory);
        let journaled = place
            .as_ref()
            .ok()
            .map(|(kind, _)| file_system::journaled(kind));
        let findings = vec![
            judge(
                "GRUB's environment block",
                block,
                "make a new one with grub-editenv",
            ),
            writable("GRUB's directory", &self.directory),
            judge(
                "GRUB's menu",
                self.menu().and_then(|menu| menu::clears_one_shot(&menu)),
                "install the boot loader of a system with a recent NixOS",
            ),
            self.menu()
                .and_then(|menu| menu::falls_back(&menu))
                .map_or_else(
                    |error| {
                        Finding::warn(
                            LOADER,
                            UNLOADABLE,
                            format!("{error:#}"),
                            "set boot.loader.grub.extraConfig = \"set fallback=0\"",
                        )
                    },
                    |found| Finding::ok(LOADER, UNLOADABLE, found),
                ),
            judge(
                "file system of /boot/grub",
                place.and_then(|(kind, device)| file_system::plain(&kind, &device)),
                "put /boot on a plain partition with ext4",
            ),
        ];
        findings.into_iter().chain(journaled).collect()
    }

    fn kernels(&self) -> PathBuf {
        self.directory.with_file_name("kernels")
    }
}

impl OneShot for Grub {
    type Mark = Mark;

    fn aim(&self, system: &StorePath, _previous: &StorePath) -> anyhow::Result<Mark> {
        if let Some(obstacle) = obstacle(&self.check()) {
            anyhow::bail!(obstacle);
        }
        let entry = menu::entries(&self.menu()?)
            .into_iter()
            .find(|entry| entry.system.as_ref() == Some(system))
            .with_context(|| format!("no menu entry has init={system}/init"))?;
        ensure!(
            !entry.title.contains(['\\', '\n']),
            "GRUB cannot be given the title {:?}",
            entry.title
        );
        self.environment.set_next(Some(&entry.title))?;
        let found = self.environment.next()?;
        ensure!(
            found.as_ref() == Some(&entry.title),
            "the one-shot was not kept: grubenv says {found:?}"
        );
        Ok(Mark::default())
    }

    fn started(&self, _mark: &Mark) -> Option<bool> {
        // It clears the variable before it starts the entry.
        self.environment.next().ok().map(|next| next.is_none())
    }

    fn take_back(&self, _mark: Option<&Mark>) -> anyhow::Result<()> {
        if self.environment.next()?.is_some() {
            self.environment.set_next(None)?;
        }
        Ok(())
    }
}
