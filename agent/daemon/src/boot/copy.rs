//! The essentials of the journal a second time, on the boot partition: read only where the journal is lost.
//!
//! They lie in `surefoot/` at the root of the file system that has the kernels, where that is another one
//! than the state directory's. FAT has no journal, and the robot needs that partition to start: so its
//! two files have a fixed size, are made while the robot rests, and are written in their own places from
//! then on. Nothing there is renamed, made or removed beside anybody else's work.

use super::{aim, settings::Settings};
use crate::{robot::nixos, state::journal};
use anyhow::{Context as _, ensure};
use nix::unistd::{AccessFlags, access};
use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};
use surefoot_api::finding::{Finding, Subject};
use surefoot_base::{
    file,
    slots::{Found, Names, RealDisk, Slots},
    space,
};
use surefoot_core::{essentials::Essentials, journal::Journal, machine::state::State};

/// The directory, at the root of the boot partition.
const DIR: &str = "surefoot";

const NAMES: Names = Names {
    magic: "surefoot-essentials-1",
    slots: ["essentials.0", "essentials.1"],
    temporary: "essentials.new",
    size: 32 << 10,
};

/// Slots above this size are not read, bytes.
const MAX_SLOT_BYTES: u64 = 64 << 10;

/// What is left free on the boot partition, bytes: entries and kernels come first.
const ROOM: u64 = 4 << 20;

/// Where the copy lies; `None` where no file system but the state directory's has the kernels.
pub(super) fn place(settings: &Settings) -> Option<PathBuf> {
    let loader = settings.find_loader();
    // A loader that nobody here knows has its files there as well.
    let kernels = loader.map_or_else(|| PathBuf::from("/boot"), |loader| loader.kernels());
    on_another_disk(&kernels, &settings.state_dir)
}

fn on_another_disk(kernels: &Path, state_dir: &Path) -> Option<PathBuf> {
    let device = |path: &Path| fs::metadata(path).ok().map(|meta| meta.dev());
    let there = space::existing(kernels);
    let boot = device(there)?;
    if Some(boot) == device(space::existing(state_dir)) {
        return None;
    }
    let same = there
        .ancestors()
        .take_while(|path| device(path) == Some(boot));
    // Where the root itself is that file system, no boot partition is mounted.
    let root = same.last().filter(|root| root.parent().is_some())?;
    Some(root.join(DIR))
}

fn open(dir: &Path) -> anyhow::Result<(Slots<RealDisk>, Found<Essentials>)> {
    let disk = RealDisk {
        dir: dir.to_owned(),
        limit: MAX_SLOT_BYTES,
        mode: 0o600,
        renames: false,
    };
    Slots::open(disk, NAMES, Essentials::parse)
        .with_context(|| format!("cannot read {}", dir.display()))
}

/// What was kept there, if it can be read.
pub(super) fn read(settings: &Settings) -> Option<Essentials> {
    let (_, found) = open(&place(settings)?).ok()?;
    found.content
}

/// Copies what the journal says now, and prints it. What is there already is not written again.
///
/// # Errors
/// The robot does not rest, there is no place or no room for it, or the disk says no.
pub(super) fn remember(settings: &Settings) -> anyhow::Result<()> {
    // Whoever switches may be writing there, checking that file system or mounting it.
    drop(nixos::lock_switches().context("another switch runs")?);
    ensure!(!aim::is_recorded(settings), "a boot on trial is under way");
    let dir = place(settings).context("no partition but the state directory's has the kernels")?;
    let journal = journal::read(&settings.state_dir, true)?;
    ensure!(rests(&journal), "the robot does not rest");
    let essentials = Essentials::of(&journal);
    write(&dir, &essentials).with_context(|| format!("cannot write {}", dir.display()))?;
    println!("{}", serde_json::to_string(&essentials)?);
    Ok(())
}

fn write(dir: &Path, essentials: &Essentials) -> anyhow::Result<()> {
    let (mut slots, found) = open(dir)?;
    if found.damage.is_none() && found.content.as_ref() == Some(essentials) {
        return Ok(());
    }
    if NAMES.slots.iter().any(|slot| !dir.join(slot).exists()) {
        let free = space::free(space::existing(dir))?;
        let needed = ROOM + 2 * NAMES.size as u64;
        ensure!(
            free >= needed,
            "{free} bytes are free, and {needed} are needed"
        );
    }
    file::make_dirs(dir)?;
    slots.save(&essentials.to_bytes()?)?;
    Ok(())
}

/// Whether the journal is one to be copied: nothing is under way, and it is not itself a loss that the
/// copy is to help with.
pub(super) fn rests(journal: &Journal) -> bool {
    journal.state == State::Idle && journal.lost.is_none() && journal.confirmed.is_some()
}

/// What there is to say of the copy.
pub(super) fn finding(settings: &Settings) -> Finding {
    let what = "copy of the memory";
    let warn = |dir: &Path, why: &str| {
        Finding::warn(
            Subject::Agent,
            what,
            format!("there is none in {}: {why}", dir.display()),
            "see to it that the boot partition is mounted read-write and has room; the agent makes the copy \
             when it rests",
        )
    };
    let Some(dir) = place(settings) else {
        return Finding::ok(
            Subject::Agent,
            what,
            "none: the kernels lie on the same file system as the state directory, or the boot partition is \
             not mounted",
        );
    };
    let mounted = space::existing(&dir);
    match open(&dir) {
        Ok((
            _,
            Found {
                content: Some(_), ..
            },
        )) => Finding::ok(
            Subject::Agent,
            what,
            format!(
                "what is confirmed and what failed is kept in {} too",
                dir.display()
            ),
        ),
        Ok((
            _,
            Found {
                damage: Some(why), ..
            },
        )) => warn(&dir, &why),
        Err(error) => warn(&dir, &format!("{error:#}")),
        Ok(_) => match (access(mounted, AccessFlags::W_OK), space::free(mounted)) {
            (Err(error), _) => warn(&dir, error.desc()),
            (_, Ok(free)) if free < ROOM => warn(&dir, &format!("{free} bytes are free")),
            _ => Finding::ok(
                Subject::Agent,
                what,
                format!(
                    "not yet in {}: it is made when the robot rests",
                    dir.display()
                ),
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_core::{StorePath, journal::Loss, machine::state::Generation};

    fn journal(system: &str) -> Journal {
        let base = format!("7rjj86a9d9vvbjg8c7i4r1f5vpm3k2d1-{system}");
        Journal {
            confirmed: Some(Generation {
                system: StorePath::from_base_name(&base).unwrap(),
                release: None,
                since: None,
            }),
            ..Journal::default()
        }
    }

    #[test]
    fn it_is_written_in_its_place_and_only_when_it_has_changed() {
        let boot = tempfile::tempdir().unwrap();
        let dir = boot.path().join(DIR);
        let stamp = || {
            NAMES.slots.map(|slot| {
                let meta = fs::metadata(dir.join(slot)).ok()?;
                Some((meta.ino(), meta.len(), fs::read(dir.join(slot)).unwrap()))
            })
        };
        let copy = |system: &str| write(&dir, &Essentials::of(&journal(system))).unwrap();
        copy("a");
        copy("b");
        let before = stamp();
        copy("b");
        assert_eq!(stamp(), before);
        copy("c");
        let after = stamp();
        for (before, after) in before.iter().zip(&after) {
            let (before, after) = (before.as_ref().unwrap(), after.as_ref().unwrap());
            assert_eq!((before.0, before.1), (after.0, 32 << 10));
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);
        // Damage is mended in its place, too, though nothing has changed.
        let (_, found) = open(&dir).unwrap();
        let newest = found.content.unwrap();
        assert_eq!(newest, Essentials::of(&journal("c")));
        for slot in NAMES.slots {
            let mut bytes = fs::read(dir.join(slot)).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(dir.join(slot), bytes).unwrap();
            copy("c");
            let (_, found) = open(&dir).unwrap();
            assert_eq!(
                (found.content.as_ref(), found.damage),
                (Some(&newest), None)
            );
        }
    }

    #[test]
    fn only_a_journal_at_rest_that_knows_something_is_copied() {
        assert!(rests(&journal("a")));
        assert!(!rests(&Journal::default()));
        let lost = Journal {
            lost: Some(Loss::because("rust")),
            ..journal("a")
        };
        assert!(!rests(&lost));
    }

    #[test]
    fn it_lies_on_another_file_system_or_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            on_another_disk(&dir.path().join("kernels"), dir.path()),
            None
        );
        // Another file system, as every machine has.
        let place = on_another_disk(Path::new("/proc/none/kernels"), dir.path());
        assert_eq!(place, Some("/proc/surefoot".into()));
        // Nothing is mounted: the root itself is not a place.
        assert_eq!(
            on_another_disk(Path::new("/none"), Path::new("/proc")),
            None
        );
    }
}
