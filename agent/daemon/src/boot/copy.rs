//! The essentials of the journal a second time, on the boot partition: read only where the journal is lost.
//!
//! They lie in `surefoot/` at the root of the file system that has the kernels, where that is another one
//! than the state directory's. FAT has no journal, and the robot needs that partition to start: so its
//! two files have a fixed size, are made while the robot rests, and are written in their own places from
//! then on. Nothing there is renamed, made or removed beside anybody else's work.

use super::{aim, settings::Settings};
use crate::{robot::nixos, state::journal};
use anyhow::{Context as _, anyhow, bail, ensure};
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
use surefoot_core::{
    essentials::{Essentials, EssentialsError},
    journal::Journal,
    machine::state::State,
};

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

const NO_PLACE: &str = "no partition but the state directory's has the kernels";

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

/// What lies there: essentials, or ones that only a newer agent reads.
type Copy = Result<Essentials, EssentialsError>;

fn open(dir: &Path) -> anyhow::Result<(Slots<RealDisk>, Found<Copy>)> {
    let decode = |body: &[u8]| match Essentials::parse(body) {
        newer @ Err(EssentialsError::Spec(_)) => Ok(newer),
        Err(error) => Err(error.to_string()),
        read => Ok(read),
    };
    let disk = RealDisk {
        dir: dir.to_owned(),
        limit: MAX_SLOT_BYTES,
        mode: 0o600,
        renames: false,
    };
    Slots::open(disk, NAMES, decode).with_context(|| format!("cannot read {}", dir.display()))
}

/// What was kept there; `None` if nothing was, or nothing is left of it.
///
/// # Errors
/// There is no place, or nobody can tell yet what it has: the disk says no, or a newer agent wrote it.
pub(super) fn read(settings: &Settings) -> anyhow::Result<Option<Essentials>> {
    let dir = place(settings).context(NO_PLACE)?;
    read_in(&dir).with_context(|| dir.display().to_string())
}

fn read_in(dir: &Path) -> anyhow::Result<Option<Essentials>> {
    let (_, found) = open(dir)?;
    match (found.content, found.damage) {
        (None, Some(why)) if found.unreadable => Err(anyhow!(why)),
        (content, _) => Ok(content.transpose()?),
    }
}

/// Copies what the journal says now, and prints it. What is there already is not written again.
///
/// # Errors
/// The robot does not rest, there is no place or no room for it, or the disk says no.
pub(super) fn remember(settings: &Settings) -> anyhow::Result<()> {
    // Whoever switches may be writing there, checking that file system or mounting it.
    drop(nixos::lock_switches().context("another switch runs")?);
    ensure!(!aim::is_recorded(settings), "a boot on trial is under way");
    let dir = place(settings).context(NO_PLACE)?;
    let journal = journal::read(&settings.state_dir, true)?;
    ensure!(rests(&journal), "the robot does not rest");
    let essentials = Essentials::of(&journal);
    write(&dir, &essentials).with_context(|| format!("cannot write {}", dir.display()))?;
    println!("{}", serde_json::to_string(&essentials)?);
    Ok(())
}

fn write(dir: &Path, essentials: &Essentials) -> anyhow::Result<()> {
    let (mut slots, found) = open(dir)?;
    match found.content {
        Some(Err(newer)) => bail!(newer),
        Some(Ok(copy)) if found.damage.is_none() && copy == *essentials => return Ok(()),
        _ => {}
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

/// Whether the journal is one to be copied: nothing is under way, it is not itself a loss that the copy is
/// to help with, and it knows all that the copy before it knew.
pub(super) fn rests(journal: &Journal) -> bool {
    let is_whole = journal.lost.is_none() && !journal.copy_unread;
    journal.state == State::Idle && is_whole && journal.confirmed.is_some()
}

/// What to do about a copy that is not made.
const MEND: &str = "see to it that the boot partition is mounted read-write and has room; the agent makes the copy when \
                    it rests";

/// What to do about one that the disk does not give back, and that may be whole.
const FORGET: &str = "check that file system (fsck), and look at the disk; where the copy cannot be read by then either, \
                      remove its two files: the agent makes them anew when it rests";

/// What there is to say of the copy.
pub(super) fn finding(settings: &Settings) -> Finding {
    let what = "copy of the memory";
    let warn = |dir: &Path, why: &str| {
        Finding::warn(
            Subject::Agent,
            what,
            format!("there is none in {}: {why}", dir.display()),
            MEND,
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
    let fixed = access(mounted, AccessFlags::W_OK).err();
    match open(&dir) {
        Ok((
            _,
            Found {
                content: Some(Err(newer)),
                ..
            },
        )) => warn(&dir, &newer.to_string()),
        Ok((
            _,
            Found {
                content: Some(Ok(_)),
                ..
            },
        )) => match fixed {
            Some(error) => Finding::warn(
                Subject::Agent,
                what,
                format!(
                    "the one in {} is not kept up to date: {}",
                    dir.display(),
                    error.desc()
                ),
                MEND,
            ),
            None => Finding::ok(
                Subject::Agent,
                what,
                format!(
                    "what is confirmed and what failed is kept in {} too",
                    dir.display()
                ),
            ),
        },
        Ok((
            _,
            Found {
                damage: Some(why),
                unreadable,
                ..
            },
        )) => Finding::warn(
            Subject::Agent,
            what,
            format!("there is none in {}: {why}", dir.display()),
            if unreadable { FORGET } else { MEND },
        ),
        Err(error) => warn(&dir, &format!("{error:#}")),
        Ok(_) => match (fixed, space::free(mounted)) {
            (Some(error), _) => warn(&dir, error.desc()),
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
        let newest = found.content.unwrap().unwrap();
        assert_eq!(newest, Essentials::of(&journal("c")));
        for slot in NAMES.slots {
            let mut bytes = fs::read(dir.join(slot)).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(dir.join(slot), bytes).unwrap();
            copy("c");
            let (_, found) = open(&dir).unwrap();
            assert_eq!(found.content.unwrap().unwrap(), newest);
            assert_eq!(found.damage, None);
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
        let unread = Journal {
            copy_unread: true,
            ..journal("a")
        };
        assert!(!rests(&unread));
    }

    #[test]
    fn what_a_newer_agent_wrote_is_neither_taken_for_nothing_nor_written_over() {
        let boot = tempfile::tempdir().unwrap();
        let dir = boot.path().join(DIR);
        assert!(read_in(&dir).unwrap().is_none());
        let (old, new) = (journal("a"), journal("b"));
        write(&dir, &Essentials::of(&old)).unwrap();
        let (mut slots, _) = open(&dir).unwrap();
        slots.save(br#"{"spec":2,"blocked":"all"}"#).unwrap();
        let before = NAMES.slots.map(|slot| fs::read(dir.join(slot)).unwrap());
        for error in [
            read_in(&dir).unwrap_err(),
            write(&dir, &Essentials::of(&new)).unwrap_err(),
        ] {
            assert!(format!("{error:#}").contains("format 2"), "{error:#}");
        }
        let after = NAMES.slots.map(|slot| fs::read(dir.join(slot)).unwrap());
        assert_eq!(after, before);
        // A slot that is damaged leaves what the other one has.
        fs::write(dir.join(NAMES.slots[1]), "rust").unwrap();
        assert_eq!(read_in(&dir).unwrap(), Some(Essentials::of(&old)));
        fs::write(dir.join(NAMES.slots[0]), "rust").unwrap();
        assert_eq!(read_in(&dir).unwrap(), None);
        write(&dir, &Essentials::of(&new)).unwrap();
        assert_eq!(read_in(&dir).unwrap(), Some(Essentials::of(&new)));
    }

    #[test]
    fn a_copy_of_a_size_that_none_has_is_none_and_is_made_anew() {
        let boot = tempfile::tempdir().unwrap();
        let dir = boot.path().join(DIR);
        fs::create_dir(&dir).unwrap();
        for slot in NAMES.slots {
            fs::write(dir.join(slot), vec![0; 70 << 10]).unwrap();
        }
        assert_eq!(read_in(&dir).unwrap(), None);
        let essentials = Essentials::of(&journal("a"));
        write(&dir, &essentials).unwrap();
        assert_eq!(read_in(&dir).unwrap(), Some(essentials));
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
