//! The journal: state, confirmed system, fallbacks, blocked releases and history. Holds lie beside it
//! ([`super::holds`]).
//!
//! It lies in two slots that take turns ([`surefoot_base::slots`]): one line with a checksum and a
//! counter, and then JSON, so that a technician can read it. A slot that is damaged, torn or missing
//! is healed from the other one. Where neither can be read the memory is lost, and the journal says
//! so ([`Journal::lost`]).

use super::{StateDir, holds};
use anyhow::{Context as _, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use surefoot_base::{
    file,
    slots::{Found, Names, RealDisk, Slots},
};
use surefoot_core::{
    journal::{Journal, JournalError, Loss, MAX_JOURNAL_BYTES},
    untold::Untold,
};

const NAMES: Names = Names {
    magic: "surefoot-journal-1",
    slots: ["journal.0", "journal.1"],
    temporary: "journal.new",
    // A robot's first years: a journal of two kilobytes, which evidence and history make longer.
    size: 32 << 10,
};

/// A journal of before there were slots: read once.
const BEFORE_SLOTS: &str = "journal.json";

/// Slots above this size are not read, bytes: one is at most about twice as large as its content.
const MAX_SLOT_BYTES: u64 = 4 * MAX_JOURNAL_BYTES;

/// Looks at slots that the disk does not read, before their content counts as lost, and the time
/// between two of them.
const LOOKS: u32 = 5;
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The journal's slots, once they were read.
#[derive(Debug, Default)]
pub(super) struct Open(Mutex<Option<Slots<RealDisk>>>);

/// The slot that was written last.
pub(crate) fn newest(dir: &Path) -> PathBuf {
    let paths = NAMES.slots.map(|name| dir.join(name));
    let [first, second] = paths;
    let written = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    if written(&second) > written(&first) {
        second
    } else {
        first
    }
}

/// Reads the journal of a state directory and changes nothing. `rooted`: whether there are GC roots
/// of a journal, which tell a first start from a loss.
///
/// # Errors
/// The disk says no, or the format is of the future.
pub(crate) fn read(dir: &Path, rooted: bool) -> anyhow::Result<Journal> {
    Ok(look(dir, rooted)?.journal)
}

/// What stands for a journal that is there and must not be used: only the robot itself tells then what
/// is confirmed.
pub(crate) fn unusable(why: &anyhow::Error) -> Journal {
    Journal {
        lost: Some(Loss {
            why: format!("what the robot remembers cannot be used: {why:#}"),
            seen: Vec::new(),
        }),
        ..Journal::default()
    }
}

/// What was found.
struct Look {
    slots: Slots<RealDisk>,
    journal: Journal,
    /// It is lost because the disk said no, which may pass.
    again: bool,
}

fn look(dir: &Path, rooted: bool) -> anyhow::Result<Look> {
    let Look {
        slots,
        mut journal,
        again,
    } = look_at_slots(dir, rooted)?;
    for hold in holds::read(dir)? {
        journal.holds.retain(|other| other.owner != hold.owner);
        journal.holds.push(hold);
    }
    Ok(Look {
        slots,
        journal,
        again,
    })
}

/// Looks again, after a pause, while what was found may pass.
fn patiently(
    looks: u32,
    mut look: impl FnMut() -> anyhow::Result<Look>,
    mut pause: impl FnMut(),
) -> anyhow::Result<Look> {
    let mut found = look()?;
    for _ in 1..looks {
        if !found.again {
            break;
        }
        pause();
        found = look()?;
    }
    Ok(found)
}

fn look_at_slots(dir: &Path, rooted: bool) -> anyhow::Result<Look> {
    let disk = RealDisk {
        dir: dir.to_owned(),
        limit: MAX_SLOT_BYTES,
        mode: 0o600,
        renames: true,
    };
    // One of a newer format is whole, and not to be passed over for the other slot.
    let decode = |body: &[u8]| match Journal::parse(body) {
        Err(error @ JournalError::Spec(_)) => Ok(Err(error)),
        Err(error) => Err(error.to_string()),
        Ok(journal) => Ok(Ok(journal)),
    };
    let (mut slots, found) = Slots::open(disk, NAMES, decode)
        .with_context(|| format!("cannot read the journal in {}", dir.display()))?;
    let found = pass_over_what_is_untold(found, &mut slots);
    let again = found.unreadable;
    let whole = |slots, journal| Look {
        slots,
        journal,
        again: false,
    };
    let why = match found {
        Found {
            content: Some(read),
            damage,
            ..
        } => {
            if let Some(damage) = damage {
                tracing::warn!("the journal is damaged, and its other slot stands in: {damage}");
            }
            let journal = read.with_context(|| dir.display().to_string())?;
            return Ok(whole(slots, journal));
        }
        Found {
            damage: Some(why), ..
        } => why,
        _ => {
            let path = dir.join(BEFORE_SLOTS);
            // One byte more than is allowed: whether that is too much is the parser's to say.
            match file::read_start(&path, MAX_JOURNAL_BYTES + 1) {
                Err(error) if error.is_missing() && !rooted => {
                    return Ok(whole(slots, Journal::default()));
                }
                Err(error) if error.is_missing() => "there is none".to_owned(),
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot read {}", path.display()));
                }
                Ok(bytes) => match Journal::parse(&bytes) {
                    Ok(journal) => return Ok(whole(slots, journal)),
                    Err(error @ JournalError::Spec(_)) => {
                        return Err(error).with_context(|| path.display().to_string());
                    }
                    Err(error) => format!("{}: {error}", path.display()),
                },
            }
        }
    };
    let journal = Journal {
        lost: Some(Loss::because(&why)),
        ..Journal::default()
    };
    Ok(Look {
        slots,
        journal,
        again,
    })
}

/// What the last request led to is in force only if its caller was told, which nobody knows here: the journal
/// before it is, and says what was asked for.
fn pass_over_what_is_untold(
    mut found: Found<Result<Journal, JournalError>>,
    slots: &mut Slots<RealDisk>,
) -> Found<Result<Journal, JournalError>> {
    let Some(Ok(Journal {
        untold: Some(asked),
        ..
    })) = &found.content
    else {
        return found;
    };
    let asked = asked.clone();
    match found.older.take() {
        Some(Ok(mut older)) if older.untold.is_none() => {
            slots.pass_over();
            older.pass_over(asked);
            found.content = Some(Ok(older));
        }
        _ => {
            let newest = found.content.take();
            found.content = newest.map(|read| read.map(Journal::without_what_is_untold));
        }
    }
    found
}

impl StateDir {
    /// Reads the journal; a new one if there is none, and one that says so if the memory is lost, or
    /// is not to be used: then nothing can be remembered either ([`StateDir::unusable`]). What was lost
    /// stays beside it, as `journal.0.broken`, say. `rooted` as in [`read`].
    pub(crate) fn load(&mut self, rooted: bool) -> Journal {
        let pause = || std::thread::sleep(LOOK_AGAIN);
        match patiently(LOOKS, || look(&self.dir, rooted), pause) {
            Ok(found) => self.take(found),
            Err(error) => {
                let journal = unusable(&error);
                self.unusable.get_or_insert(format!("{error:#}"));
                journal
            }
        }
    }

    fn take(&self, found: Look) -> Journal {
        let Look { slots, journal, .. } = found;
        if let Some(loss) = &journal.lost
            && journal.confirmed.is_none()
        {
            tracing::error!("{}", loss.why);
            for name in NAMES.slots.into_iter().chain([BEFORE_SLOTS]) {
                let (path, aside) = (self.dir.join(name), self.dir.join(format!("{name}.broken")));
                // For people only: a disk that says no must not keep the agent from its work. What was
                // found first is what was lost.
                if !aside.exists() {
                    let _ = fs::copy(&path, aside);
                }
            }
        }
        *self
            .journal
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(slots);
        journal
    }

    /// Writes the older slot: one write, fsynced ([`surefoot_base::slots`]). New holds are on the
    /// disk before, and ended ones until after that. Where there is no room for that, the reserve is
    /// given free.
    ///
    /// # Errors
    /// The disk says no, or the journal has grown larger than is ever read: then the one before is
    /// still there.
    pub(crate) fn save(&self, journal: &Journal) -> anyhow::Result<()> {
        self.with_room(|| self.write(journal, None))
    }

    /// The same of what a request has led to, before its caller was told: to be saved again once that has
    /// happened, or the one before instead. Holds that it ends are there until then.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn save_untold(&self, journal: &Journal, untold: &Untold) -> anyhow::Result<()> {
        self.with_room(|| self.write(journal, Some(untold)))
    }

    fn write(&self, journal: &Journal, untold: Option<&Untold>) -> anyhow::Result<()> {
        holds::write(&self.dir, &journal.holds)?;
        let without_holds = Journal {
            holds: Vec::new(),
            untold: untold.cloned(),
            ..journal.clone()
        };
        let body = (without_holds.to_bytes()).context("cannot write the journal")?;
        ensure!(
            body.len() as u64 <= MAX_JOURNAL_BYTES,
            "the journal would have {} bytes; at most {MAX_JOURNAL_BYTES} are read",
            body.len()
        );
        let mut open = self
            .journal
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let slots = match &mut *open {
            Some(slots) => slots,
            none => none.insert(look(&self.dir, false)?.slots),
        };
        slots
            .save(&body)
            .with_context(|| format!("cannot write the journal in {}", self.dir.display()))?;
        if untold.is_some() {
            return Ok(());
        }
        // The journal is written; what stays lying about must not make anybody write it again.
        if let Err(error) = holds::remove_all_but(&self.dir, &journal.holds) {
            tracing::warn!("a hold that ended will be one again after a restart: {error:#}");
        }
        // Older than what was just written, and never to be taken for it: the slots come first.
        match fs::remove_file(self.dir.join(BEFORE_SLOTS)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!("cannot remove the old {BEFORE_SLOTS}: {error}");
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_core::{
        formats::Formats,
        hold::Hold,
        machine::{Request, state::State},
    };

    fn kept(dir: &Path, units: u64) -> Journal {
        let mut state = StateDir::open(dir, 0).unwrap();
        let mut journal = state.load(false);
        journal.units = units;
        state.save(&journal).unwrap();
        journal
    }

    fn rollback() -> Untold {
        let request = Request::Rollback {
            to: None,
            force: false,
            end_holds: false,
            why: "drops boxes".into(),
            by: "ada".into(),
        };
        request.untold(None).unwrap()
    }

    #[test]
    fn what_nobody_was_told_of_was_never_asked_and_its_holds_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let before = Journal {
            holds: vec![Hold {
                owner: "ada".into(),
                why: "arm inside a patient".into(),
                since: None,
                expiry: None,
                counted: None,
            }],
            ..kept(dir.path(), 1)
        };
        let mut state = StateDir::open(dir.path(), 0).unwrap();
        state.load(false);
        state.save(&before).unwrap();
        let asked = Journal {
            units: 2,
            holds: Vec::new(),
            ..before.clone()
        };
        for _ in 0..3 {
            state.save_untold(&asked, &rollback()).unwrap();
            // The agent is killed: what was before is in force, and says what was asked for. What it saves
            // next heals both slots.
            let found = state.load(false);
            assert_eq!(found.unheard, Some(rollback()));
            assert_eq!(found.holds, before.holds);
            let found = Journal {
                unheard: None,
                ..found
            };
            assert_eq!(found, before);
            state.save(&before).unwrap();
            assert_eq!(read(dir.path(), false).unwrap(), before);
        }
        // Its caller was told.
        state.save_untold(&asked, &rollback()).unwrap();
        state.save(&asked).unwrap();
        assert_eq!(read(dir.path(), false).unwrap(), asked);
    }

    #[test]
    fn where_what_was_before_is_damaged_the_robot_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let before = kept(dir.path(), 1);
        let mut state = StateDir::open(dir.path(), 0).unwrap();
        state.load(false);
        let unknown = serde_json::json!({"name": "dancing"});
        let asked = Journal {
            state: serde_json::from_value(unknown).unwrap(),
            ..before.clone()
        };
        let older = newest(dir.path());
        state.save_untold(&asked, &rollback()).unwrap();
        fs::write(older, "rust").unwrap();
        let found = read(dir.path(), false).unwrap();
        assert!(found.untold.is_none() && found.lost.is_none());
        assert!(
            matches!(found.state, State::Unknown(_)),
            "{:?}",
            found.state
        );
    }

    #[test]
    fn systems_name_the_formats_that_are_written() {
        let Formats {
            journal,
            hold,
            trust,
        } = Formats::ours();
        for (magic, what, named) in [
            (NAMES.magic, "journal", journal),
            (holds::MAGIC, "hold", hold),
            (surefoot_trust::STORED_AS, "trust", trust),
        ] {
            let mut named = named
                .iter()
                .map(|format| format!("surefoot-{what}-{format}"));
            assert!(named.any(|named| magic == named), "{magic}");
        }
    }

    #[test]
    fn a_recorded_state_directory_is_read_and_both_its_slots_are_as_good() {
        let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/recorded/0.2/state");
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("holds")).unwrap();
        for file in ["journal.0", "journal.1", "holds/hold-1"] {
            fs::copy(recorded.join(file), dir.path().join(file)).unwrap();
        }
        let journal = read(dir.path(), true).unwrap();
        assert_eq!((journal.units, journal.blocked.len()), (9, 1));
        assert_eq!(journal.holds[0].owner, "ada");
        // What is written now, torn anywhere, leaves what was recorded.
        let mut state = StateDir::open(dir.path(), 0).unwrap();
        let mut next = state.load(true);
        assert_eq!(next, journal);
        next.units = 10;
        state.save(&next).unwrap();
        let path = dir.path().join("journal.0");
        let whole = fs::read(&path).unwrap();
        for length in (0..whole.len()).step_by(97) {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(read(dir.path(), true).unwrap(), journal, "{length} bytes");
        }
        fs::write(&path, whole).unwrap();
        assert_eq!(read(dir.path(), true).unwrap(), next);
    }

    #[test]
    fn a_journal_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        for n in 1..=5 {
            let journal = kept(dir.path(), n);
            assert_eq!(journal.state, State::Idle);
            assert_eq!(read(dir.path(), true).unwrap(), journal);
        }
        // Nothing else is left lying about: the slots and the lock.
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
        assert!(newest(dir.path()).exists());
    }

    #[test]
    fn a_bit_that_flipped_anywhere_and_any_torn_slot_heals_from_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (kept(dir.path(), 1), kept(dir.path(), 2));
        for (slot, other) in [("journal.1", &old), ("journal.0", &new)] {
            let path = dir.path().join(slot);
            let whole = fs::read(&path).unwrap();
            // Of the spaces that make it as long as it is, some are as good as all.
            let line = whole.iter().position(|byte| *byte == b'\n').unwrap();
            let (from, to) = (120, line - 10);
            for at in (0..whole.len()).filter(|at| !(from..to).contains(at) || at % 97 == 0) {
                let mut bent = whole.clone();
                bent[at] ^= 1 << (at % 8);
                fs::write(&path, bent).unwrap();
                assert_eq!(read(dir.path(), true).unwrap(), *other, "byte {at}");
            }
            for length in (0..whole.len()).step_by(331) {
                fs::write(&path, &whole[..length]).unwrap();
                assert_eq!(read(dir.path(), true).unwrap(), *other, "{length} bytes");
            }
            fs::remove_file(&path).unwrap();
            assert_eq!(read(dir.path(), true).unwrap(), *other);
            fs::write(&path, whole).unwrap();
        }
    }

    #[test]
    fn holds_outlast_a_lost_journal() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = StateDir::open(dir.path(), 0).unwrap();
        let mut journal = state.load(false);
        journal.holds.push(Hold {
            owner: "ada".into(),
            why: "surgery: arm inside a patient".into(),
            since: None,
            expiry: None,
            counted: None,
        });
        state.save(&journal).unwrap();
        assert_eq!(read(dir.path(), true).unwrap(), journal);
        for slot in NAMES.slots {
            fs::write(dir.path().join(slot), b"").unwrap();
        }
        let lost = state.load(true);
        assert!(lost.lost.is_some());
        assert_eq!(lost.holds, journal.holds);
        journal.holds.clear();
        state.save(&journal).unwrap();
        assert_eq!(read(dir.path(), true).unwrap(), journal);
    }

    #[test]
    fn a_memory_that_is_lost_is_said_and_what_was_there_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        kept(dir.path(), 1);
        kept(dir.path(), 2);
        for slot in NAMES.slots {
            fs::write(dir.path().join(slot), b"rust").unwrap();
        }
        let mut state = StateDir::open(dir.path(), 0).unwrap();
        let lost = state.load(true);
        assert!(lost.lost.as_ref().unwrap().why.contains("journal.1"));
        assert_eq!(
            fs::read(dir.path().join("journal.0.broken")).unwrap(),
            b"rust"
        );
        state.save(&lost).unwrap();
        assert_eq!(read(dir.path(), true).unwrap(), lost);
        // Without a journal, its roots tell a loss from a first start.
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path(), false).unwrap(), Journal::default());
        assert!(read(dir.path(), true).unwrap().lost.is_some());
    }

    #[test]
    fn a_journal_of_before_the_slots_is_read_once_and_a_newer_one_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let before = dir.path().join(BEFORE_SLOTS);
        let mut journal = Journal {
            units: 7,
            ..Journal::default()
        };
        fs::write(&before, serde_json::to_vec(&journal).unwrap()).unwrap();
        let mut state = StateDir::open(dir.path(), 0).unwrap();
        assert_eq!(state.load(true), journal);
        state.save(&journal).unwrap();
        assert!(!before.exists());
        assert_eq!(read(dir.path(), true).unwrap(), journal);
        journal.spec = 2;
        state.save(&journal).unwrap();
        let error = format!("{:#}", read(dir.path(), true).unwrap_err());
        assert!(error.contains("format 2"), "{error}");
    }

    #[test]
    fn a_newer_journal_and_a_directory_that_cannot_be_used_are_said_and_there_is_one_agent() {
        let dir = tempfile::tempdir().unwrap();
        let newer = Journal {
            spec: 99,
            ..Journal::default()
        };
        let mut state = StateDir::open(dir.path(), 0).unwrap();
        state.save(&newer).unwrap();
        let journal = state.load(true);
        assert!(state.unusable().unwrap().contains("format 99"));
        assert!(journal.lost.unwrap().why.contains("format 99"));
        assert!(!state.is_usable(true));
        drop(state);
        for slot in NAMES.slots {
            let _ = fs::remove_file(dir.path().join(slot));
        }
        assert!(StateDir::open(dir.path(), 0).unwrap().is_usable(true));
        // Holds that cannot be listed.
        fs::write(dir.path().join("holds"), "").unwrap();
        let mut state = StateDir::open(dir.path(), 0).unwrap();
        state.load(true);
        assert!(state.unusable().unwrap().contains("cannot list"));
        // A directory that cannot be made.
        let missing = dir.path().join("holds/state");
        let state = StateDir::open(&missing, 0).unwrap();
        assert!(state.unusable().unwrap().contains("cannot make"));
        StateDir::open(&missing, 0).unwrap_err();
    }

    #[test]
    fn what_the_disk_does_not_read_is_looked_at_again_before_it_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let found = |again| Look {
            again,
            ..look(dir.path(), false).unwrap()
        };
        for (good_at, looks) in [(1, 1), (3, 3), (9, LOOKS)] {
            let (mut looked, mut pauses) = (0, 0);
            let look = || {
                looked += 1;
                Ok(found(looked < good_at))
            };
            patiently(LOOKS, look, || pauses += 1).unwrap();
            assert_eq!((looked, pauses), (looks, looks - 1));
        }
    }

    #[test]
    fn a_journal_that_nobody_could_read_again_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let before = kept(dir.path(), 1);
        let mut state = StateDir::open(dir.path(), 0).unwrap();
        let mut journal = state.load(true);
        let limit = usize::try_from(MAX_JOURNAL_BYTES).unwrap();
        journal.lost = Some(Loss::because(&"y".repeat(limit)));
        let error = state.save(&journal).unwrap_err().to_string();
        assert!(error.contains("at most"), "{error}");
        assert_eq!(read(dir.path(), true).unwrap(), before);
    }
}
