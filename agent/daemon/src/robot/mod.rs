//! What the robot is and does at this moment. Nothing here changes it, but for what is asked of
//! systemd by name.

pub(crate) mod clock;
pub(crate) mod contents;
pub(crate) mod health;
pub(crate) mod identity;
pub(crate) mod kept_away;
pub(crate) mod network;
mod nix_conf;
pub(crate) mod nixos;
pub(crate) mod process;
pub(crate) mod profile;
pub(crate) mod proof;
pub(crate) mod said;
pub(crate) mod starts;
pub(crate) mod successor;
pub(crate) mod systemd;
pub(crate) mod transient;
pub(crate) mod units;
pub(crate) mod world;

use std::{fs, path::Path};
use surefoot_base::{file, locks};

/// Files larger than this are not read, bytes.
const MAX_FILE: u64 = 1 << 20;

/// Reads a small file; `None` if it is missing, too large or no text.
pub(crate) fn read(path: &Path) -> Option<String> {
    file::read_text(path, MAX_FILE).ok()
}

/// The process that took the lock on a file; `None` if nobody did who can be seen.
pub(crate) fn holding(path: &Path) -> Option<u32> {
    let file = fs::metadata(path).ok()?;
    locks::holder(&read(Path::new("/proc/locks"))?, &file)
}

/// Who holds the lock on a file, in words; `None` if nobody does who can be seen.
pub(crate) fn holder(path: &Path) -> Option<String> {
    let process = holding(path)?;
    let name = read(Path::new(&format!("/proc/{process}/comm")));
    let name = name.map_or_else(
        || "which has ended and left it to others".to_owned(),
        |name| name.trim().to_owned(),
    );
    Some(format!(
        "process {process} ({name}) holds {}",
        path.display()
    ))
}
