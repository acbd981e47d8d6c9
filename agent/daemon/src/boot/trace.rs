//! What a boot on trial left behind: who ended it, and its last words.

use crate::robot::{
    self,
    kept_away::{self, DEADLINE},
    systemd,
};
use std::{
    fs,
    path::{Path, PathBuf},
};
use surefoot_base::file;
use surefoot_core::{health::JOURNAL_LINES, machine::state::Cause, resolver::Trace, time::BootId};

/// Where the kernel's last words are: as the firmware or memory kept them, and where
/// systemd-pstore(8) moves them.
const PSTORE: [&str; 2] = ["/sys/fs/pstore", "/var/lib/systemd/pstore"];

/// `WDIOF_CARDRESET` of linux/watchdog.h: the last reset was the watchdog's.
const CARD_RESET: u32 = 0x20;

/// How much of a dump is read, bytes.
const MAX_DUMP: u64 = 1 << 20;

/// Lines of evidence: what the journal keeps of them, or it would cut off how the crash begins.
const LINES: usize = JOURNAL_LINES;

/// Where systemd-pstore(8) writes the parts of a dump one after the other.
const WHOLE: &str = "dmesg.txt";

/// How a kernel begins to say what is wrong: what follows are registers and the stack.
const HEADLINES: [&str; 4] = ["sysrq: ", "BUG: ", "Oops", "Kernel panic"];

/// The crash dumps that are there.
pub(super) fn dumps() -> Vec<String> {
    PSTORE
        .iter()
        .flat_map(|directory| fs::read_dir(directory).into_iter().flatten().flatten())
        .map(|entry| entry.path().to_string_lossy().into_owned())
        .collect()
}

/// Those of them that are not newer than a file.
pub(super) fn dumps_until(file: &Path) -> Vec<String> {
    let written = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let until = written(file);
    let mut dumps = dumps();
    dumps.retain(|dump| until.is_none() || written(Path::new(dump)) <= until);
    dumps
}

/// Looks for traces of the boot between `before` and `now`.
pub(super) async fn find(
    state_dir: &Path,
    old_dumps: &[String],
    started: Option<bool>,
    before: &BootId,
    now: &BootId,
) -> Trace {
    let new_dumps: Vec<String> = dumps()
        .into_iter()
        .filter(|dump| !old_dumps.contains(dump))
        .collect();
    let ended = if state_dir.join(DEADLINE).exists() {
        Some(Cause::Deadline)
    } else if !new_dumps.is_empty() {
        Some(Cause::Panic)
    } else if reset_by_watchdog(Path::new("/sys/class/watchdog")) {
        Some(Cause::Watchdog)
    } else {
        None
    };
    let mut log = systemd::last_words(before, now).await;
    log.extend(crash(new_dumps));
    let surplus = log.len().saturating_sub(LINES);
    log.drain(..surplus);
    Trace {
        // What left a mark was started, whatever the loader says.
        started: if ended.is_some() { Some(true) } else { started },
        ended,
        log,
        kept_away: kept_away::is_on_disk(state_dir),
    }
}

/// What dumps say of a crash: one may lie in several, by the second in which its parts were written.
/// The kernel writes its last lines first (fs/pstore/platform.c), so what is named later is older.
fn crash(mut dumps: Vec<String>) -> Vec<String> {
    dumps.sort_by(|a, b| b.cmp(a));
    telling(dumps.iter().flat_map(|dump| lines(dump.as_ref())).collect())
}

/// From the line on that names a crash, or else the last lines.
fn telling(mut lines: Vec<String>) -> Vec<String> {
    let named = |line: &String| HEADLINES.iter().any(|headline| line.contains(headline));
    let start = match lines.iter().position(named) {
        Some(start) => start,
        None => lines.len().saturating_sub(LINES),
    };
    lines.drain(..start);
    lines.truncate(LINES);
    lines
}

/// The lines of a dump: a file, or a tree of them, as systemd-pstore(8) sorts them.
fn lines(dump: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    if let Ok(entries) = fs::read_dir(dump) {
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        if let Some(whole) = paths.iter().find(|path| path.ends_with(WHOLE)) {
            paths = vec![whole.clone()];
        }
        paths.sort_by(|a, b| b.cmp(a));
        lines.extend(paths.iter().flat_map(|path| self::lines(path)));
    } else if let Ok(bytes) = file::read_start(dump, MAX_DUMP) {
        lines.extend(text(&bytes));
    }
    lines
}

/// The lines of one file. What a dying kernel wrote need not be text.
fn text(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().map(|line| line.chars().take(500).collect());
    lines.collect()
}

/// Reads bytes as a crash dump.
#[cfg(feature = "fuzz")]
pub(super) fn fuzz(bytes: &[u8]) {
    let evidence = telling(text(bytes));
    assert!(evidence.len() <= LINES && evidence.iter().all(|line| line.len() <= 4 * 500));
}

fn reset_by_watchdog(class: &Path) -> bool {
    fs::read_dir(class)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|device| robot::read(&device.path().join("bootstatus")))
        .filter_map(|text| text.trim().parse::<u32>().ok())
        .any(|status| status & CARD_RESET != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_are_read_wherever_they_were_sorted() {
        let dump = tempfile::tempdir().unwrap();
        let nested = dump.path().join("1700000000");
        fs::create_dir(&nested).unwrap();
        fs::write(nested.join("dmesg.txt"), b"sysrq: Trigger a crash\n\xff\n").unwrap();
        let crash = || crash(vec![dump.path().to_string_lossy().into_owned()]);
        let lines = crash();
        assert_eq!(lines[0], "sysrq: Trigger a crash");
        assert_eq!(lines.len(), 2);
        let stack: String = (0..50).map(|n| format!("frame {n}\n")).collect();
        let text = format!("eth0 is up\nBUG: unable to handle page fault\n{stack}");
        fs::write(nested.join("dmesg.txt"), text).unwrap();
        let lines = crash();
        assert_eq!(lines[0], "BUG: unable to handle page fault");
        assert_eq!(lines.len(), LINES);
        fs::write(nested.join("dmesg.txt"), stack).unwrap();
        assert_eq!(crash().last().unwrap(), "frame 49");
    }

    #[test]
    fn a_crash_that_lies_in_two_dumps_is_told_from_its_headline_on() {
        let root = tempfile::tempdir().unwrap();
        let dumps = ["2", "1"].map(|second| root.path().join(second));
        for dump in &dumps {
            fs::create_dir(dump).unwrap();
        }
        let boot: String = (0..50).map(|n| format!("device {n}\n")).collect();
        fs::write(dumps[0].join("dmesg.txt"), boot).unwrap();
        fs::write(
            dumps[1].join("dmesg.txt"),
            "sysrq: Trigger a crash\nframe\n",
        )
        .unwrap();
        let lines = crash(
            dumps
                .map(|dump| dump.to_string_lossy().into_owned())
                .to_vec(),
        );
        assert_eq!(lines, ["sysrq: Trigger a crash", "frame"]);
    }

    #[test]
    fn a_crash_is_told_in_its_order_whatever_its_parts_are_called() {
        let root = tempfile::tempdir().unwrap();
        let part = |number: u32, text: &str| {
            let name = format!("dmesg-efi_pstore-1795736871{number:02}001");
            let path = root.path().join(name);
            fs::write(&path, text).unwrap();
            path.to_string_lossy().into_owned()
        };
        let parts = vec![
            part(1, "Call Trace:\n end\n"),
            part(2, "eth0 is up\nKernel panic - not syncing\n"),
            part(3, "boot\n"),
        ];
        let told = ["Kernel panic - not syncing", "Call Trace:", " end"];
        assert_eq!(crash(parts), told);
        let directory = vec![root.path().to_string_lossy().into_owned()];
        assert_eq!(crash(directory.clone()), told);
        // The same, put together.
        fs::write(root.path().join(WHOLE), told.join("\n")).unwrap();
        assert_eq!(crash(directory), told);
    }

    #[test]
    fn a_watchdog_remembers_its_reset() {
        let class = tempfile::tempdir().unwrap();
        let device = class.path().join("watchdog0");
        fs::create_dir(&device).unwrap();
        assert!(!reset_by_watchdog(class.path()));
        fs::write(device.join("bootstatus"), "0\n").unwrap();
        assert!(!reset_by_watchdog(class.path()));
        fs::write(device.join("bootstatus"), "32\n").unwrap();
        assert!(reset_by_watchdog(class.path()));
    }
}
