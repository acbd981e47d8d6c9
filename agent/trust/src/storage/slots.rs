//! The trusted set on disk: one atomic step per change, whole after a power cut at any byte.
//!
//! Two slots, `trusted.0` and `trusted.1`, take turns: the older one is replaced (temporary file,
//! fsync, rename, fsync of the directory), the newer one is never touched. Each carries a counter
//! and the SHA-256 of its content, so corruption is noticed; the other slot then stands in. If
//! neither can be read, the way back is the trust anchor that came with the robot.

use super::disk::Disk;
use crate::{Error, keys::sha256_hex, trusted_set::Stored};
use jiff::Timestamp as Time;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io, path::PathBuf};
use surefoot_http::headers::Validators;

/// First word of a slot.
const MAGIC: &str = "surefoot-trust-1";

const SLOTS: [&str; 2] = ["trusted.0", "trusted.1"];
const TEMPORARY: &str = "trusted.new";

/// One slot that holds a body, in memory: for tests/fuzz.
#[cfg(feature = "fuzz")]
pub(crate) struct OneSlot(Vec<u8>);

#[cfg(feature = "fuzz")]
impl OneSlot {
    pub(crate) fn holding(body: &[u8]) -> Self {
        let mut slot = header(body);
        slot.extend_from_slice(body);
        Self(slot)
    }
}

#[cfg(feature = "fuzz")]
impl Disk for OneSlot {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok((name == SLOTS[0]).then(|| self.0.clone()))
    }

    fn write(&mut self, _: &str, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn sync(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn rename(&mut self, _: &str, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        name.into()
    }
}

/// What is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TrustedState {
    /// The trusted set.
    pub(crate) stored: Stored,
    /// SHA-256 of each root since the anchor, by version: tells whether an anchor belongs to this
    /// line of roots.
    pub(crate) lineage: BTreeMap<u64, String>,
    /// Of the timestamp in the set.
    pub(crate) validators: Validators,
    /// Where those validators hold.
    pub(crate) url: String,
    /// The last reading of a trusted clock.
    pub(crate) seen: Option<Time>,
}

/// A state as it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    counter: u64,
    root: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    targets: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    delegated: BTreeMap<String, String>,
    lineage: BTreeMap<u64, String>,
    #[serde(default)]
    validators: Validators,
    #[serde(default)]
    url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen: Option<Time>,
}

/// The two slots.
#[derive(Debug)]
pub(crate) struct Slots<D> {
    disk: D,
    counter: u64,
    /// The slot that is written next.
    next: usize,
}

/// What was found at the start.
#[derive(Debug)]
pub(crate) struct Found {
    /// The newest state that is whole.
    pub(crate) state: Option<TrustedState>,
    /// A slot that could not be read, and why: something was lost, and somebody should know.
    pub(crate) damage: Option<String>,
}

impl<D: Disk> Slots<D> {
    /// Reads the slots.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk cannot be read. Damage is no error.
    pub(crate) fn open(disk: D) -> Result<(Self, Found), Error> {
        let mut damage = None;
        let mut states = [None, None];
        for (slot, name) in SLOTS.iter().enumerate() {
            let read = match disk.read(name) {
                Ok(Some(bytes)) => decode(&bytes),
                Ok(None) => continue,
                Err(error) if is_damage(&error) => Err(error.to_string()),
                Err(error) => return Err(Error::io(disk.path(name))(error)),
            };
            match read {
                Ok(read) => states[slot] = Some(read),
                Err(why) => damage = Some(format!("{}: {why}", disk.path(name).display())),
            }
        }
        let counter = |slot: usize| states[slot].as_ref().map(|(counter, _)| *counter);
        // The newer one, and a damaged or missing one is written first.
        let newest = usize::from(counter(1) > counter(0));
        let newest_counter = counter(newest).unwrap_or(0);
        let state = states[newest].take().map(|(_, state)| state);
        let slots = Self {
            disk,
            counter: newest_counter,
            next: if state.is_some() { 1 - newest } else { 0 },
        };
        Ok((slots, Found { state, damage }))
    }

    /// Replaces the older slot. After an error the newer one is still in force.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn save(&mut self, state: &TrustedState) -> Result<(), Error> {
        let counter = self.counter.saturating_add(1);
        let bytes = encode(counter, state)?;
        let name = SLOTS[self.next];
        let disk = &mut self.disk;
        let saved = disk
            .write(TEMPORARY, &bytes)
            .and_then(|()| disk.sync(TEMPORARY))
            .and_then(|()| disk.rename(TEMPORARY, name))
            .and_then(|()| disk.sync_dir());
        saved.map_err(|e| Error::io(self.disk.path(name))(e))?;
        self.counter = counter;
        self.next = 1 - self.next;
        Ok(())
    }

    /// Where the state lies.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.disk.path(name)
    }
}

/// Whether a disk says that it cannot give back what was written: a bad block, a checksum that is
/// wrong, or a file that nobody here wrote. What may pass, as want of memory, is not that.
fn is_damage(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let damage = [Errno::EIO, Errno::EUCLEAN, Errno::EBADMSG];
    error.kind() == io::ErrorKind::InvalidData
        || damage
            .iter()
            .any(|errno| error.raw_os_error() == Some(*errno as i32))
}

fn encode(counter: u64, state: &TrustedState) -> Result<Vec<u8>, Error> {
    // Metadata that was read is UTF-8, so the bytes survive as text.
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec()).map_err(|e| Error::malformed("the trusted set", e))
    };
    let maybe = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(text).transpose();
    let wire = Wire {
        counter,
        root: text(&state.stored.root)?,
        timestamp: maybe(&state.stored.timestamp)?,
        snapshot: maybe(&state.stored.snapshot)?,
        targets: maybe(&state.stored.targets)?,
        delegated: state
            .stored
            .delegated
            .iter()
            .map(|(name, bytes)| Ok((name.clone(), text(bytes)?)))
            .collect::<Result<_, Error>>()?,
        lineage: state.lineage.clone(),
        validators: state.validators.clone(),
        url: state.url.clone(),
        seen: state.seen,
    };
    let body = serde_json::to_string(&wire).map_err(|e| Error::malformed("the trusted set", e))?;
    let mut bytes = header(body.as_bytes());
    bytes.extend_from_slice(body.as_bytes());
    Ok(bytes)
}

/// The line before a body.
fn header(body: &[u8]) -> Vec<u8> {
    format!("{MAGIC} {}\n", sha256_hex(body)).into_bytes()
}

fn decode(bytes: &[u8]) -> Result<(u64, TrustedState), String> {
    let at = bytes
        .iter()
        .position(|b| *b == b'\n')
        .ok_or("it has no header")?;
    let (line, body) = bytes.split_at(at + 1);
    if line != header(body) {
        return Err("its content does not match its checksum".into());
    }
    let wire: Wire = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let state = TrustedState {
        stored: Stored {
            root: wire.root.into_bytes(),
            timestamp: wire.timestamp.map(String::into_bytes),
            snapshot: wire.snapshot.map(String::into_bytes),
            targets: wire.targets.map(String::into_bytes),
            delegated: wire
                .delegated
                .into_iter()
                .map(|(name, text)| (name, text.into_bytes()))
                .collect(),
        },
        lineage: wire.lineage,
        validators: wire.validators,
        url: wire.url,
        seen: wire.seen,
    };
    Ok((wire.counter, state))
}

#[cfg(test)]
mod tests {
    use super::{super::disk::RealDisk, *};
    use proptest::prelude::*;
    use std::fs;

    fn state(n: u64) -> TrustedState {
        TrustedState {
            stored: Stored {
                root: format!("root {n} ä").into_bytes(),
                timestamp: Some(b"t".to_vec()),
                ..Stored::default()
            },
            lineage: BTreeMap::from([(n, "00".into())]),
            seen: Some(Time::UNIX_EPOCH),
            ..TrustedState::default()
        }
    }

    /// A disk that forgets what was not synced, as cruelly as the rules allow.
    #[derive(Debug, Clone, Default)]
    struct SimDisk {
        /// Names as they are seen, and the content behind them.
        seen: BTreeMap<String, usize>,
        /// Names as they are on the disk.
        synced: BTreeMap<String, usize>,
        /// Contents, and how many of their bytes are on the disk.
        contents: Vec<(Vec<u8>, usize)>,
        /// Power goes off at this operation.
        cut_at: Option<usize>,
        operations: usize,
        /// A file that the disk cannot read any more, and what it says.
        bad: Option<(&'static str, i32)>,
    }

    impl SimDisk {
        fn operation(&mut self) -> io::Result<()> {
            if self.cut_at == Some(self.operations) {
                return Err(io::Error::other("power cut"));
            }
            self.operations += 1;
            Ok(())
        }

        /// What is there when power comes back. `names`: whether renames that were not synced
        /// happened; `bytes`: how much of a content that was not synced did.
        fn reboot(&self, names: bool, bytes: usize) -> Self {
            let listed = if names { &self.seen } else { &self.synced };
            let contents = self
                .contents
                .iter()
                .map(|(content, synced)| {
                    let there = (*synced).max(bytes.min(content.len()));
                    (content[..there].to_vec(), there)
                })
                .collect();
            Self {
                seen: listed.clone(),
                synced: listed.clone(),
                contents,
                ..Self::default()
            }
        }
    }

    impl Disk for SimDisk {
        fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
            match self.bad {
                Some((bad, errno)) if bad == name => Err(io::Error::from_raw_os_error(errno)),
                _ => Ok(self.seen.get(name).map(|at| self.contents[*at].0.clone())),
            }
        }

        fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
            // The content is there before the cut, to be torn at any byte.
            self.contents.push((bytes.to_vec(), 0));
            self.seen.insert(name.into(), self.contents.len() - 1);
            self.operation()
        }

        fn sync(&mut self, name: &str) -> io::Result<()> {
            self.operation()?;
            let content = &mut self.contents[self.seen[name]];
            content.1 = content.0.len();
            Ok(())
        }

        fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
            self.operation()?;
            let content = self.seen.remove(from).unwrap();
            self.seen.insert(to.into(), content);
            Ok(())
        }

        fn sync_dir(&mut self) -> io::Result<()> {
            self.operation()?;
            self.synced = self.seen.clone();
            Ok(())
        }

        fn path(&self, name: &str) -> PathBuf {
            name.into()
        }
    }

    #[test]
    fn after_a_power_cut_anywhere_it_is_the_old_set_or_the_new_one() {
        let mut cuts = 0;
        // Disks that were written so often; the first time there is no old set.
        for saves in 0..=3 {
            let mut disk = SimDisk::default();
            for n in 1..=saves {
                let (mut slots, _) = Slots::open(disk).unwrap();
                slots.save(&state(n)).unwrap();
                disk = slots.disk;
            }
            disk.operations = 0;
            let (old, new) = ((saves > 0).then(|| state(saves)), Some(state(9)));
            let length = encode(saves + 1, &state(9)).unwrap().len();
            for cut in 0..=4 {
                for names in [false, true] {
                    for bytes in 0..=length {
                        let mut victim = disk.clone();
                        victim.cut_at = Some(cut);
                        let (mut slots, found) = Slots::open(victim).unwrap();
                        assert_eq!(found.state, old);
                        let saved = slots.save(&state(9));
                        assert_eq!(saved.is_ok(), cut == 4);
                        let rebooted = slots.disk.reboot(names, bytes);
                        let (mut slots, found) = Slots::open(rebooted).unwrap();
                        assert!(
                            found.state == new || (cut < 4 && found.state == old),
                            "save {saves}, cut {cut}, names {names}, {bytes} bytes"
                        );
                        assert_eq!(found.damage, None);
                        // And life goes on.
                        slots.save(&state(10)).unwrap();
                        let (_, found) = Slots::open(slots.disk.reboot(false, 0)).unwrap();
                        assert_eq!(found.state, Some(state(10)));
                        cuts += 1;
                    }
                }
            }
        }
        assert!(cuts > 4000);
    }

    #[test]
    fn corruption_of_any_byte_is_noticed_and_the_other_slot_stands_in() {
        let (mut slots, _) = Slots::open(SimDisk::default()).unwrap();
        slots.save(&state(1)).unwrap();
        slots.save(&state(2)).unwrap();
        let disk = slots.disk;
        for (slot, other) in [("trusted.1", state(1)), ("trusted.0", state(2))] {
            let content = disk.seen[slot];
            for at in 0..disk.contents[content].0.len() {
                for bit in [0x01, 0x20, 0x80] {
                    let mut bent = disk.clone();
                    bent.contents[content].0[at] ^= bit;
                    let (mut slots, found) = Slots::open(bent).unwrap();
                    assert!(found.damage.unwrap().starts_with(slot), "byte {at}");
                    assert_eq!(found.state, Some(other.clone()));
                    // The damaged slot is the one that is written next.
                    slots.save(&state(3)).unwrap();
                    let (_, found) = Slots::open(slots.disk).unwrap();
                    assert_eq!((found.state, found.damage), (Some(state(3)), None));
                }
            }
        }
    }

    #[test]
    fn a_slot_on_a_bad_block_is_damage_and_want_of_memory_is_not() {
        use nix::errno::Errno;
        let (mut slots, _) = Slots::open(SimDisk::default()).unwrap();
        slots.save(&state(1)).unwrap();
        slots.save(&state(2)).unwrap();
        let mut disk = slots.disk;
        for (slot, left) in [("trusted.1", 1), ("trusted.0", 2)] {
            disk.bad = Some((slot, Errno::EIO as i32));
            let (mut slots, found) = Slots::open(disk.clone()).unwrap();
            assert!(found.damage.unwrap().starts_with(slot));
            assert_eq!(found.state, Some(state(left)));
            // It is written anew, on other blocks.
            slots.save(&state(3)).unwrap();
            slots.disk.bad = None;
            let (_, found) = Slots::open(slots.disk).unwrap();
            assert_eq!(found.state, Some(state(3)));
        }
        disk.bad = Some(("trusted.1", Errno::ENOMEM as i32));
        assert!(matches!(Slots::open(disk), Err(Error::Io { .. })));
    }

    #[test]
    fn a_state_survives_a_real_disk() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Slots::open(RealDisk(dir.path().to_owned())).unwrap();
        let (mut slots, found) = open();
        assert_eq!((found.state, found.damage), (None, None));
        for n in 1..=5 {
            slots.save(&state(n)).unwrap();
            assert_eq!(open().1.state, Some(state(n)));
        }
        // Nothing but the two slots is left.
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        for slot in SLOTS {
            fs::write(dir.path().join(slot), "garbage").unwrap();
        }
        let (_, found) = open();
        assert!(found.state.is_none() && found.damage.is_some());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
            let body = String::from_utf8_lossy(&bytes).into_owned();
            let _ = decode(format!("{MAGIC} {}\n{body}", sha256_hex(body.as_bytes())).as_bytes());
        }
    }
}
