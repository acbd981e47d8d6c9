//! The boot menu: the entries on the boot partition, and which of them the loader takes.

use super::{entry::Entry, variables::Variables};
use crate::{boot::mounts, robot};
use anyhow::Context as _;
use std::{
    fs,
    path::{Path, PathBuf},
};
use surefoot_core::StorePath;

/// The menu of a robot.
#[derive(Debug)]
pub(super) struct Menu {
    /// The root of the robot's files.
    pub(super) root: PathBuf,
    /// Where the boot partition is mounted.
    pub(super) esp: PathBuf,
    /// The loader's variables.
    pub(super) variables: Variables,
}

impl Menu {
    /// Finds it below a root: the loader says so in its variables, and its partition is mounted.
    pub(super) fn find(root: &Path) -> Option<Self> {
        let esp = mounts::POINTS
            .iter()
            .map(|mount| root.join(mount))
            .find(|mount| mount.join("loader/entries").is_dir())?;
        let variables = Variables::new(root);
        variables
            .text("LoaderInfo")?
            .starts_with("systemd-boot")
            .then(|| Self {
                root: root.to_owned(),
                esp,
                variables,
            })
    }

    /// All entries, in the loader's order.
    ///
    /// # Errors
    /// The partition cannot be read.
    pub(super) fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        let directory = self.esp.join("loader/entries");
        let files = fs::read_dir(&directory)
            .with_context(|| format!("cannot list {}", directory.display()))?;
        let mut entries = Vec::new();
        for file in files {
            entries.extend(Entry::read(file?.path()));
        }
        entries.sort_by(|a, b| (&a.order, &a.path).cmp(&(&b.order, &b.path)));
        Ok(entries)
    }

    /// What it is told to start by default: the id of an entry, or a pattern for ids.
    pub(super) fn pattern(&self) -> Option<String> {
        // A variable beats the file (systemd-boot(7)).
        self.variables.text("LoaderEntryDefault").or_else(|| {
            let text = robot::read(&self.esp.join("loader/loader.conf"))?;
            let value = text
                .lines()
                .filter_map(|line| line.trim().strip_prefix("default"))
                .find(|rest| rest.starts_with([' ', '\t']))?;
            Some(value.trim().to_owned())
        })
    }

    /// The entry that it starts by default, if that can be told: the first that its pattern speaks
    /// of, or else the first of all.
    pub(super) fn chosen<'a>(&self, entries: &'a [Entry]) -> Option<&'a Entry> {
        let startable = || entries.iter().filter(|entry| entry.is_startable());
        let pattern = self.pattern();
        let meant = |entry: &&Entry| {
            let pattern = pattern.as_ref();
            pattern.is_some_and(|pattern| entry.matches(pattern))
        };
        let mut found: Vec<_> = startable().filter(meant).collect();
        if found.is_empty() {
            found = startable().collect();
        }
        let (first, others) = found.split_first()?;
        // Which of several it takes depends on its order of entries.
        others
            .iter()
            .take_while(|entry| entry.order == first.order)
            .all(|entry| entry.system == first.system)
            .then_some(*first)
    }

    /// The system that it starts by default, if that can be told.
    ///
    /// # Errors
    /// The partition cannot be read.
    pub(super) fn default(&self) -> anyhow::Result<Option<StorePath>> {
        let entries = self.entries()?;
        Ok(self.chosen(&entries).and_then(|entry| entry.system.clone()))
    }
}
