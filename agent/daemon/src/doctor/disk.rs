//! Where the agent's memory lies: whether it can be written, outlasts a boot, and finds room on a full
//! disk.

use crate::state::reserve;
use nix::{
    sys::statfs::{BTRFS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, statfs},
    unistd::{AccessFlags, access},
};
use std::{os::unix::fs::MetadataExt as _, path::Path};
use surefoot_api::finding::{Finding, Subject};
use surefoot_base::{space, units::short_bytes};

const AGENT: Subject = Subject::Agent;

/// ZFS and bcachefs, as `statfs(2)` names them: each write takes other blocks.
const ELSEWHERE: [i64; 2] = [0x2fc1_2fc1, 0xca45_1a4e];

/// What a way back may write besides the state directory.
const PLACES: [&str; 2] = ["/nix/var/nix", "/etc"];

/// Looks at the state directory. `lacking`: what the agent says of its reserve.
pub(super) fn findings(state_dir: &Path, size: u64, lacking: Option<&str>) -> Vec<Finding> {
    vec![
        memory(state_dir),
        kept(state_dir, size, lacking, &PLACES.map(Path::new)),
    ]
}

fn memory(dir: &Path) -> Finding {
    let what = "state directory";
    let shown = dir.display();
    if let Err(errno) = access(
        dir,
        AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK,
    ) {
        return Finding::fail(
            AGENT,
            what,
            format!("{shown} cannot be written: {}", errno.desc()),
            "nothing is updated until it can; look at the file system (findmnt, dmesg)",
        );
    }
    match statfs(dir).map(|stat| stat.filesystem_type()) {
        Ok(TMPFS_MAGIC) => Finding::warn(
            AGENT,
            what,
            format!(
                "{shown} lies in memory (tmpfs): a reboot forgets what failed here, and every hold"
            ),
            "mount a disk there, or set state_dir to a directory on one",
        ),
        Ok(OVERLAYFS_SUPER_MAGIC) => Finding::ok(
            AGENT,
            what,
            format!(
                "{shown} can be written; it outlasts a reboot if the overlay's upper layer does"
            ),
        ),
        _ => Finding::ok(AGENT, what, format!("{shown} can be written")),
    }
}

fn kept(dir: &Path, size: u64, lacking: Option<&str>, places: &[&Path]) -> Finding {
    let what = "reserve";
    let free = || space::free(space::existing(dir)).map_or_else(|_| "?".to_owned(), short_bytes);
    if size == 0 {
        return Finding::ok(
            AGENT,
            what,
            "none is wanted (state_reserve): a way back on a full disk may fail",
        );
    }
    if !reserve::at(dir, size).is_there() {
        let why = lacking.unwrap_or("the agent makes it when it runs and nothing else goes on");
        return Finding::warn(
            AGENT,
            what,
            format!("missing: {why}; {} are free", free()),
            "make room on that file system: a way back on a full disk may fail",
        );
    }
    let device = |path: &Path| std::fs::metadata(path).map(|meta| meta.dev()).ok();
    let elsewhere: Vec<String> = places
        .iter()
        .filter(|place| device(place).is_some_and(|there| Some(there) != device(dir)))
        .map(|place| place.display().to_string())
        .collect();
    let mut found = format!(
        "{} are kept for a way back on a full disk",
        short_bytes(size)
    );
    if !elsewhere.is_empty() {
        found += &format!(
            "; they do not help where {} is full, which is another file system",
            elsewhere.join(" or ")
        );
    }
    let kind = statfs(dir).map(|stat| stat.filesystem_type());
    let copies = kind.is_ok_and(|kind| {
        // The type of the number differs between platforms.
        kind == BTRFS_SUPER_MAGIC
            || ELSEWHERE
                .iter()
                .any(|magic| i128::from(kind.0) == i128::from(*magic))
    });
    if copies {
        found += "; this file system may want room for every write, snapshots of it above all: then the \
                  reserve is what helps, once";
    }
    Finding::ok(AGENT, what, found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_api::finding::Level;

    #[test]
    fn a_reserve_is_found_or_missed_and_where_it_does_not_help_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let here = [dir.path()];
        let found = kept(dir.path(), 5, Some("only 3 B are free"), &here);
        assert_eq!(found.level, Level::Warn);
        assert!(found.found.contains("only 3 B are free"), "{found}");
        std::fs::write(dir.path().join("reserve"), "12345").unwrap();
        let found = kept(dir.path(), 5, None, &here);
        assert_eq!(found.level, Level::Ok);
        assert!(!found.found.contains("do not help"), "{found}");
        let found = kept(dir.path(), 5, None, &[Path::new("/proc"), dir.path()]);
        assert!(found.found.contains("where /proc is full"), "{found}");
        assert!(
            kept(dir.path(), 0, None, &here)
                .found
                .contains("none is wanted")
        );
    }

    #[test]
    fn a_state_directory_that_cannot_be_written_is_a_fault() {
        let dir = tempfile::tempdir().unwrap();
        assert_ne!(memory(dir.path()).level, Level::Fail);
        let missing = memory(&dir.path().join("missing"));
        assert_eq!(missing.level, Level::Fail);
        assert!(missing.found.contains("cannot be written"), "{missing}");
        // Nobody can write there, root neither.
        assert_eq!(memory(Path::new("/proc/1")).level, Level::Fail);
    }
}
