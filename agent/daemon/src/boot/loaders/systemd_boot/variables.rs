//! The variables of the firmware by which the loader is spoken with (the Boot Loader Interface).

use crate::boot::files::run;
use std::{
    fs,
    path::{Path, PathBuf},
};
use surefoot_base::environment;

/// The vendor of the loader's variables (the Boot Loader Interface).
pub(super) const VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// Where the firmware's variables are mounted.
pub(super) const MOUNT: &str = "/sys/firmware/efi/efivars";

/// Bits of `LoaderFeatures` (systemd, `src/fundamental/efivars-fundamental.h`).
pub(super) const ONE_SHOT: u64 = 1 << 3;
pub(super) const COUNTING: u64 = 1 << 4;
pub(super) const PREFERRED: u64 = 1 << 19;

/// The loader's variables.
#[derive(Debug)]
pub(super) struct Variables {
    directory: PathBuf,
}

impl Variables {
    /// Those of the robot below a root.
    pub(super) fn new(root: &Path) -> Self {
        Self {
            directory: root.join(&MOUNT[1..]),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}-{VENDOR}"))
    }

    /// A variable's text, or `None` if it is not set.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let bytes = fs::read(self.file(name)).ok()?;
        // Four bytes of attributes, then UTF-16.
        let units: Vec<u16> = bytes
            .get(4..)?
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .take_while(|unit| *unit != 0)
            .collect();
        let text = String::from_utf16_lossy(&units);
        (!text.is_empty()).then_some(text)
    }

    /// What the loader says that it can do (the Boot Loader Interface, `LoaderFeatures`).
    pub(super) fn features(&self) -> Option<u64> {
        let bytes = fs::read(self.file("LoaderFeatures")).ok()?;
        Some(u64::from_le_bytes(bytes.get(4..12)?.try_into().ok()?))
    }

    /// The entry that the next boot starts, if that is set.
    pub(super) fn one_shot(&self) -> Option<String> {
        self.text("LoaderEntryOneShot")
    }
}

/// Has the next boot start an entry; the empty id clears that.
///
/// # Errors
/// bootctl(1) cannot be run, or the firmware refuses.
pub(super) fn set_one_shot(id: &str) -> anyhow::Result<()> {
    run(environment::command("bootctl"), ["set-oneshot", id], &[0]).map(|_| ())
}
