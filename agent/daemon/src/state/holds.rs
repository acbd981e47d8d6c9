//! Holds, each in a small file of its own (`holds/hold-1`, …): they outlast a lost journal, and one
//! that cannot be read is a hold, until a technician ends it.

use anyhow::Context as _;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Once,
};
use surefoot_base::{file, slots};
use surefoot_core::{
    foreign::{self, Foreign},
    hold::Hold,
};

/// Where they lie, in the state directory.
const DIR: &str = "holds";

/// First word of a file.
pub(super) const MAGIC: &str = "surefoot-hold-1";

/// Files above this size are not read, bytes: a hold has an owner and a reason of one line.
const MAX_BYTES: u64 = 1 << 20;

/// What the owner of a hold begins with of which only the file is left.
const UNREADABLE: &str = "a hold that cannot be read";

/// The holds of a state directory.
///
/// # Errors
/// The directory cannot be listed.
pub(super) fn read(state_dir: &Path) -> anyhow::Result<Vec<Hold>> {
    let files = files(state_dir)?.into_values();
    Ok(files.map(|(hold, _)| hold).collect())
}

/// The holds by their files, each with what another version of the agent wrote there.
fn files(state_dir: &Path) -> anyhow::Result<BTreeMap<PathBuf, (Hold, Foreign)>> {
    let dir = state_dir.join(DIR);
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries.and_then(Iterator::collect::<io::Result<Vec<_>>>),
    };
    let entries = entries.with_context(|| format!("cannot list {}", dir.display()))?;
    let paths = entries.into_iter().map(|entry| entry.path());
    let whole = paths.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !name.starts_with(file::TEMPORARY)
    });
    Ok(whole
        .map(|path| {
            let hold = hold(&path);
            let hold = hold.unwrap_or_else(|why| (unreadable(&path, &why), Foreign::default()));
            (path, hold)
        })
        .collect())
}

fn hold(path: &Path) -> Result<(Hold, Foreign), String> {
    let bytes = file::read(path, MAX_BYTES).map_err(|error| error.to_string())?;
    let (_, body) = slots::unwrap(MAGIC, &bytes)?;
    foreign::read(body).map_err(|error| error.to_string())
}

/// What stands for a hold of which only the file is left.
fn unreadable(path: &Path, why: &str) -> Hold {
    Hold {
        owner: unreadable_owner(path),
        why: format!("{why}; a technician can end it with `surefoot resume`"),
        since: None,
        expiry: None,
        counted: None,
    }
}

fn unreadable_owner(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!("{UNREADABLE} ({name})")
}

/// Writes the holds that are new or were changed. One that cannot be read is left as it lies: it may
/// be read again one day. Where one is only counted again in a new boot, a disk that says no keeps the
/// agent from nothing: what lies there is counted again by the next one.
///
/// # Errors
/// The disk says no.
pub(super) fn write(state_dir: &Path, holds: &[Hold]) -> anyhow::Result<()> {
    write_by(state_dir, holds, |path, bytes| {
        file::replace(path, bytes, 0o600)
    })
}

fn write_by(
    state_dir: &Path,
    holds: &[Hold],
    replace: impl Fn(&Path, &[u8]) -> io::Result<()>,
) -> anyhow::Result<()> {
    static SAID: Once = Once::new();
    let dir = state_dir.join(DIR);
    let mut there = files(state_dir)?;
    let readable = holds
        .iter()
        .filter(|hold| !hold.owner.starts_with(UNREADABLE));
    for hold in readable {
        let of_owner = (there.iter()).find(|(_, (known, _))| known.owner == hold.owner);
        let is_rebased = of_owner.is_some_and(|(_, (known, _))| hold.is_rebased(known));
        let (path, foreign) = match of_owner {
            Some((_, (known, _))) if known == hold => continue,
            Some((path, (_, foreign))) => (path.clone(), foreign.clone()),
            None => {
                let path = (1_u32..)
                    .map(|n| dir.join(format!("hold-{n}")))
                    .find(|path| !there.contains_key(path));
                (
                    path.context("there are too many holds")?,
                    Foreign::default(),
                )
            }
        };
        let body = foreign::to_bytes(hold, &foreign).context("cannot write a hold")?;
        let written = file::make_dirs(&dir)
            .and_then(|()| replace(&path, &slots::wrap(MAGIC, 0, &body)))
            .with_context(|| format!("cannot write {}", path.display()));
        match written {
            Err(error) if is_rebased => {
                SAID.call_once(|| tracing::warn!("{error:#}; the hold stays as it was"));
                continue;
            }
            written => written?,
        }
        there.insert(path, (hold.clone(), foreign));
    }
    Ok(())
}

/// Removes the files of holds that ended.
///
/// # Errors
/// The disk says no.
pub(super) fn remove_all_but(state_dir: &Path, holds: &[Hold]) -> anyhow::Result<()> {
    for (path, (known, _)) in files(state_dir)? {
        let unreadable = unreadable_owner(&path);
        let kept = |hold: &Hold| hold.owner == known.owner || hold.owner == unreadable;
        if !holds.iter().any(kept) {
            fs::remove_file(&path)
                .and_then(|()| file::sync_parent(&path))
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::next;
    use serde_json::Value;
    use std::time::Duration;
    use surefoot_core::{
        hold::Expiry,
        time::{BootId, Instant},
    };

    fn hold_of(owner: &str, why: &str) -> Hold {
        Hold {
            owner: owner.into(),
            why: why.into(),
            since: None,
            expiry: None,
            counted: None,
        }
    }

    fn all(dir: &Path) -> Vec<Hold> {
        read(dir).unwrap()
    }

    #[test]
    fn holds_are_kept_changed_and_ended() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(all(dir), []);
        let ada = hold_of("ada", "surgery");
        let bob = Hold {
            counted: Some("uid 1000".into()),
            ..hold_of("../bob", "demo")
        };
        for holds in [
            vec![ada.clone(), bob.clone()],
            vec![hold_of("ada", "still surgery"), bob.clone()],
            vec![bob.clone()],
            vec![ada, bob],
            vec![],
        ] {
            write(dir, &holds).unwrap();
            remove_all_but(dir, &holds).unwrap();
            assert_eq!(all(dir), holds);
        }
    }

    #[test]
    fn on_a_full_disk_a_hold_that_is_only_counted_again_keeps_nothing_from_being_written() {
        let dir = tempfile::tempdir().unwrap();
        let full = |_: &Path, _: &[u8]| Err(io::ErrorKind::StorageFull.into());
        let (before, boot) = (Instant(7), |name: &str| BootId(name.to_owned()));
        let old = Hold {
            expiry: Some(Expiry {
                length: Duration::from_secs(60),
                boot: boot("a"),
                from: before,
            }),
            ..hold_of("anna", "a vase")
        };
        write(dir.path(), std::slice::from_ref(&old)).unwrap();
        let mut rebased = old.clone();
        rebased.rebase(&boot("b"), Instant(1));
        write_by(dir.path(), std::slice::from_ref(&rebased), full).unwrap();
        assert_eq!(all(dir.path()), [old]);
        // What anybody asks for is said to have failed: a new one, another reason, a longer time.
        let longer = |hold: &Hold, from| {
            let mut hold = hold.clone();
            let expiry = hold.expiry.as_mut().unwrap();
            expiry.from = Instant(from);
            hold
        };
        write(dir.path(), std::slice::from_ref(&rebased)).unwrap();
        let other = Hold {
            why: "two vases".into(),
            ..rebased.clone()
        };
        for asked in [hold_of("ben", "x"), other, longer(&rebased, 2)] {
            write_by(dir.path(), &[asked], full).unwrap_err();
        }
        assert_eq!(all(dir.path()), [rebased]);
    }

    #[test]
    fn what_another_version_wrote_of_a_hold_stays_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let path = dir.join(DIR).join("hold-1");
        let mut ada = hold_of("ada", "surgery");
        ada.expiry = Some(Expiry {
            length: Duration::from_secs(60),
            boot: BootId("1".into()),
            from: Instant(1),
        });
        write(dir, std::slice::from_ref(&ada)).unwrap();
        let text = || -> Value {
            let bytes = fs::read(&path).unwrap();
            serde_json::from_slice(slots::unwrap(MAGIC, &bytes).unwrap().1).unwrap()
        };
        let mut newer = text();
        newer["arm"] = serde_json::json!({"side": "left"});
        newer["expiry"]["unless"] = "dawn".into();
        let body = serde_json::to_vec(&newer).unwrap();
        fs::write(&path, slots::wrap(MAGIC, 0, &body)).unwrap();
        assert_eq!(all(dir), [ada.clone()]);
        ada.why = "still surgery".into();
        write(dir, std::slice::from_ref(&ada)).unwrap();
        newer["why"] = "still surgery".into();
        assert_eq!(text(), newer);
        // Of another shape, it holds all the same, and stays as it is.
        newer["expiry"] = "at dawn".into();
        let body = serde_json::to_vec(&newer).unwrap();
        fs::write(&path, slots::wrap(MAGIC, 0, &body)).unwrap();
        let holds = all(dir);
        assert_eq!(holds[0].owner, "a hold that cannot be read (hold-1)");
        write(dir, &holds).unwrap();
        remove_all_but(dir, &holds).unwrap();
        assert_eq!(text(), newer);
    }

    #[test]
    fn a_recorded_hold_holds_whatever_a_later_version_makes_of_it() {
        let recorded = include_bytes!("../../../../tests/recorded/0.2/state/holds/hold-1");
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let path = dir.join(DIR).join("hold-1");
        write(dir, &[hold_of("ada", "")]).unwrap();
        let written = || fs::read(&path).unwrap();
        fs::write(&path, recorded).unwrap();
        let before = all(dir).remove(0);
        assert_eq!((&*before.owner, before.ends().is_some()), ("ada", true));
        // Written again because its reason changed, and changed back.
        for why in ["still surgery", before.why.as_str()] {
            let mut hold = before.clone();
            hold.why = why.into();
            write(dir, &[hold]).unwrap();
        }
        assert_eq!(written(), recorded);

        let body = slots::unwrap(MAGIC, recorded).unwrap().1;
        let text: Value = serde_json::from_slice(body).unwrap();
        let (objects, _) = next::places(&text, &[]);
        let fields = objects.iter().flat_map(|at| {
            let fields = text.pointer(at).unwrap().as_object().unwrap().keys();
            fields.map(move |field| format!("{at}/{field}"))
        });
        let other_shape = fields.map(|at| {
            let mut next = text.clone();
            *next.pointer_mut(&at).unwrap() = serde_json::json!([{"quite": "new"}]);
            (at, next)
        });
        for (at, next) in next::versions(&text, &[]).into_iter().chain(other_shape) {
            let bytes = slots::wrap(MAGIC, 0, next.to_string().as_bytes());
            fs::write(&path, &bytes).unwrap();
            let holds = all(dir);
            assert_eq!(holds.len(), 1, "{at}");
            assert!(holds[0] == before || holds[0].ends().is_none(), "{at}");
            write(dir, &holds).unwrap();
            remove_all_but(dir, &holds).unwrap();
            assert_eq!(written(), bytes, "{at}");
        }
    }

    #[test]
    fn a_hold_with_any_bit_flipped_or_torn_is_a_hold_until_it_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        write(dir, &[hold_of("ada", "surgery: arm inside a patient")]).unwrap();
        let path = dir.join(DIR).join("hold-1");
        let whole = fs::read(&path).unwrap();
        let bent = (0..whole.len()).map(|at| {
            let mut bent = whole.clone();
            bent[at] ^= 1 << (at % 8);
            bent
        });
        let torn = (0..whole.len()).map(|length| whole[..length].to_vec());
        for bytes in bent.chain(torn) {
            fs::write(&path, bytes).unwrap();
            let holds = all(dir);
            assert_eq!(holds.len(), 1);
            assert_eq!(holds[0].owner, "a hold that cannot be read (hold-1)");
            assert_eq!(holds[0].ends(), None);
            // It is left as it is, for people, while it holds.
            write(dir, &holds).unwrap();
            remove_all_but(dir, &holds).unwrap();
            assert_eq!(all(dir), holds);
        }
        // One that can be read again is not taken for ended.
        let unreadable = all(dir);
        fs::write(&path, whole).unwrap();
        write(dir, &unreadable).unwrap();
        remove_all_but(dir, &unreadable).unwrap();
        assert_eq!(all(dir)[0].owner, "ada");
        remove_all_but(dir, &[]).unwrap();
        assert_eq!(all(dir), []);
    }
}
