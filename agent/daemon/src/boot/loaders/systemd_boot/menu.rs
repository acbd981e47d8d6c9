//! The boot menu: the entries on the boot partition, and which of them the loader takes.

use super::{
    entry::Entry,
    variables::{PREFERRED, Variables},
};
use crate::{boot::mounts, robot};
use anyhow::Context as _;
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};
use surefoot_core::StorePath;

/// The menu of a robot.
#[derive(Debug)]
pub(super) struct Menu {
    /// The root of the robot's files.
    pub(super) root: PathBuf,
    /// Where the partition is mounted that has the loader and its `loader.conf`: the ESP.
    pub(super) esp: PathBuf,
    /// Where the partition is mounted that has NixOS' entries and kernels: XBOOTLDR where there is one,
    /// the ESP otherwise.
    pub(super) boot: PathBuf,
    /// The loader's variables.
    pub(super) variables: Variables,
}

/// What it is told to start by default: the id of an entry, or a pattern for ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) pattern: String,
    /// Whether an entry of which no try is left is passed over.
    with_tries: bool,
}

impl Wish {
    /// Whether it speaks of an entry.
    pub(super) fn takes(&self, entry: &Entry) -> bool {
        !(self.with_tries && entry.order.used_up) && entry.matches(&self.pattern)
    }
}

impl Menu {
    /// Finds it below a root: the loader says so in its variables, and its partitions are mounted.
    pub(super) fn find(root: &Path) -> Option<Self> {
        let variables = Variables::new(root);
        if !variables.text("LoaderInfo")?.starts_with("systemd-boot") {
            return None;
        }
        let points = mounts::POINTS.iter().map(|mount| root.join(mount));
        let points: Vec<_> = points
            .filter(|mount| mount.join("loader").is_dir())
            .collect();
        let has = |path: &str| points.iter().find(|mount| mount.join(path).exists());
        let nixos = points.iter().find(|mount| {
            let found = entries_of(mount).unwrap_or_default();
            found.iter().any(|entry| entry.system.is_some())
        });
        let boot = nixos.or_else(|| has("loader/entries"))?.clone();
        Some(Self {
            root: root.to_owned(),
            esp: has("loader/loader.conf").unwrap_or(&boot).clone(),
            boot,
            variables,
        })
    }

    /// Where its partitions are mounted.
    pub(super) fn partitions(&self) -> impl Iterator<Item = &Path> {
        let esp = (self.esp != self.boot).then_some(&*self.esp);
        [&*self.boot].into_iter().chain(esp)
    }

    /// All entries, in the loader's order.
    ///
    /// # Errors
    /// A partition cannot be read.
    pub(super) fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for partition in self.partitions() {
            entries.extend(entries_of(partition)?);
        }
        entries.sort_by(|a, b| (&a.order, &a.path).cmp(&(&b.order, &b.path)));
        Ok(entries)
    }

    /// What it is told to start by default, in the order in which it looks for an entry: what is preferred
    /// before the default, and each as a variable before the file (loader.conf(5) of systemd 260, The Boot
    /// Loader Interface).
    pub(super) fn wishes(&self) -> Vec<Wish> {
        let text = robot::read(&self.esp.join("loader/loader.conf")).unwrap_or_default();
        let configured = |key: &str| {
            let rest = |line: &str| Some(line.trim().strip_prefix(key)?.to_owned());
            let mut rests = text.lines().filter_map(rest);
            let rest = rests.find(|rest| rest.starts_with([' ', '\t']))?;
            Some(rest.trim().to_owned())
        };
        let preferred = [
            self.variables.text("LoaderEntryPreferred"),
            configured("preferred"),
        ];
        let default = [
            self.variables.text("LoaderEntryDefault"),
            configured("default"),
        ];
        let known = (self.variables.features()).is_some_and(|features| features & PREFERRED != 0);
        let preferred = preferred.into_iter().flatten().filter(|_| known);
        let wish = |with_tries| {
            move |pattern| Wish {
                pattern,
                with_tries,
            }
        };
        (preferred.map(wish(true)))
            .chain(default.into_iter().flatten().map(wish(false)))
            .collect()
    }

    /// The entry that it starts by default, if that can be told: the first that a wish speaks of, or
    /// else the first of all.
    pub(super) fn chosen<'a>(&self, entries: &'a [Entry]) -> Option<&'a Entry> {
        let startable = || entries.iter().filter(|entry| entry.is_startable());
        let granted = |wish: Wish| {
            let found: Vec<_> = startable().filter(|entry| wish.takes(entry)).collect();
            (!found.is_empty()).then_some(found)
        };
        let found = (self.wishes().into_iter())
            .find_map(granted)
            .unwrap_or_else(|| startable().collect());
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

/// The entries of one partition.
fn entries_of(partition: &Path) -> anyhow::Result<Vec<Entry>> {
    let directory = partition.join("loader/entries");
    let files = match fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        files => files.with_context(|| format!("cannot list {}", directory.display()))?,
    };
    let mut entries = Vec::new();
    for file in files {
        entries.extend(Entry::read(file?.path()));
    }
    Ok(entries)
}
