//! The trusted set on disk: one atomic step per change, whole after a power cut at any byte.
//!
//! The two slots are `trusted.0` and `trusted.1`. If neither can be read, the way back is the trust
//! anchor that came with the robot.

use crate::{Error, trusted_set::Stored};
use jiff::Timestamp as Time;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use surefoot_base::slots::{self, Disk, Names, RealDisk};
use surefoot_http::headers::Validators;

/// Slots above this size are not read, bytes. None is ever written: the limits of a client add up
/// to less than half, even where each byte is escaped, and a slot is at most about twice as large as
/// its content.
const MAX_SLOT_BYTES: u64 = 256 << 20;

/// First word of each slot, with the number of the format.
pub const MAGIC: &str = "surefoot-trust-2";

const NAMES: Names = Names {
    magic: MAGIC,
    slots: ["trusted.0", "trusted.1"],
    temporary: "trusted.new",
    size: 32 << 10,
};

/// The directory of a client.
pub(crate) fn disk(dir: &Path) -> RealDisk {
    RealDisk {
        dir: dir.to_owned(),
        limit: MAX_SLOT_BYTES,
        mode: 0o644,
        renames: true,
    }
}

/// One slot that holds a body, in memory: for tests/fuzz.
#[cfg(feature = "fuzz")]
pub(crate) struct OneSlot(Vec<u8>);

#[cfg(feature = "fuzz")]
impl OneSlot {
    pub(crate) fn holding(body: &[u8]) -> Self {
        Self(slots::wrap(NAMES.magic, 1, body))
    }
}

#[cfg(feature = "fuzz")]
impl Disk for OneSlot {
    fn read(&self, name: &str) -> std::io::Result<Option<Vec<u8>>> {
        Ok((name == NAMES.slots[0]).then(|| self.0.clone()))
    }

    fn write(&mut self, _: &str, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }

    fn overwrite(&mut self, _: &str, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }

    fn sync(&mut self, _: &str) -> std::io::Result<()> {
        Ok(())
    }

    fn rename(&mut self, _: &str, _: &str) -> std::io::Result<()> {
        Ok(())
    }

    fn sync_dir(&mut self) -> std::io::Result<()> {
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
    /// Fields that another version wrote.
    pub(crate) foreign: Map<String, Value>,
}

/// A state as it is written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
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
    #[serde(flatten)]
    foreign: Map<String, Value>,
}

/// The two slots.
#[derive(Debug)]
pub(crate) struct Slots<D>(slots::Slots<D>);

/// What was found at the start.
pub(crate) type Found = slots::Found<TrustedState>;

impl<D: Disk> Slots<D> {
    /// Reads the slots.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk cannot be read. Damage is not an error.
    pub(crate) fn open(disk: D) -> Result<(Self, Found), Error> {
        let path = disk.path("trusted");
        let (slots, found) = slots::Slots::open(disk, NAMES, decode).map_err(Error::io(path))?;
        Ok((Self(slots), found))
    }

    /// Replaces the older slot. After an error the newer one is still in force.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn save(&mut self, state: &TrustedState) -> Result<(), Error> {
        let path = self.path("trusted");
        self.0.save(&encode(state)?).map_err(Error::io(path))
    }

    /// Where the state lies.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }
}

fn encode(state: &TrustedState) -> Result<Vec<u8>, Error> {
    // Metadata that was read is UTF-8, so the bytes survive as text.
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec()).map_err(|e| Error::malformed("the trusted set", e))
    };
    let maybe = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(text).transpose();
    let wire = Wire {
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
        foreign: state.foreign.clone(),
    };
    serde_json::to_vec(&wire).map_err(|e| Error::malformed("the trusted set", e))
}

fn decode(body: &[u8]) -> Result<TrustedState, String> {
    let wire: Wire = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    Ok(TrustedState {
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
        foreign: wire.foreign,
    })
}

#[cfg(test)]
mod tests {
    use super::super::next;
    use super::*;
    use proptest::prelude::*;

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

    #[test]
    fn a_state_survives_a_real_disk() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Slots::open(disk(dir.path())).unwrap();
        for n in 1..=5 {
            open().0.save(&state(n)).unwrap();
            let (_, found) = open();
            assert_eq!((found.content, found.damage), (Some(state(n)), None));
        }
    }

    #[test]
    fn a_recorded_trusted_set_and_a_later_versions_are_written_again_as_they_were() {
        for slot in [
            include_bytes!("../../../../tests/recorded/0.2/trust/trusted.0").as_slice(),
            include_bytes!("../../../../tests/recorded/0.2/trust/trusted.1"),
        ] {
            let (_, body) = slots::unwrap(MAGIC, slot).unwrap();
            let recorded = decode(body).unwrap();
            assert_eq!(encode(&recorded).unwrap(), body);
            let text: Value = serde_json::from_slice(body).unwrap();
            let later = next::versions(&text, &[]);
            // Two objects have no fields but names of roles and versions of roots.
            let fields = |at: &str| !["/delegated", "/lineage"].contains(&at);
            let later: Vec<_> = later.into_iter().filter(|(at, _)| fields(at)).collect();
            assert_eq!(later.len(), 2);
            for (at, text) in later {
                let read = decode(text.to_string().as_bytes()).unwrap();
                let again = encode(&read).unwrap();
                assert_eq!(
                    serde_json::from_slice::<Value>(&again).unwrap(),
                    text,
                    "{at}"
                );
                assert_eq!(read.stored, recorded.stored, "{at}");
                assert_eq!(read.validators.etag, recorded.validators.etag, "{at}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
