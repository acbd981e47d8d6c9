//! Looking at the robot: which systems it runs and names, and what a system needs a boot for.

use crate::activate;
use nix::fcntl::{Flock, FlockArg};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};
use surefoot_core::{
    StorePath,
    journal::Journal,
    reboot::{self, BootParts},
    release::RebootPolicy,
    resolver::{SwitchUnit, Trace, World},
    switch::Order,
    time::{BootId, Instant},
};

/// The system that was booted (nixpkgs `nixos/modules/system/boot/stage-2-init.sh`).
pub(crate) const BOOTED: &str = "/run/booted-system";
/// The system that runs (nixpkgs `nixos/modules/system/activation/activation-script.nix`).
pub(crate) const CURRENT: &str = "/run/current-system";
/// The system profile.
pub(crate) const PROFILE: &str = "/nix/var/nix/profiles/system";

/// Where the switcher keeps its lists and its lock (nixpkgs `switch-to-configuration-ng/src/main.rs`).
const SWITCHER: &str = "/run/nixos";
const LOCK: &str = "switch-to-configuration.lock";

/// Files larger than this are not read, bytes.
const MAX_FILE: u64 = 1 << 20;

/// The store path that a link leads to, however many links away.
pub(crate) fn system(link: &str) -> Option<StorePath> {
    let target = fs::canonicalize(link).ok()?;
    StorePath::containing(&target).ok()
}

/// This boot's name; empty if the kernel does not tell.
pub(crate) fn boot_id() -> BootId {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    BootId(text.trim().to_owned())
}

/// Time since the boot, suspend included.
pub(crate) fn now() -> Instant {
    use nix::time::{ClockId, clock_gettime};
    let time =
        clock_gettime(ClockId::CLOCK_BOOTTIME).or_else(|_| clock_gettime(ClockId::CLOCK_MONOTONIC));
    Instant(time.map_or(0, |time| {
        let (seconds, nanos) = (time.tv_sec(), time.tv_nsec());
        u64::try_from(seconds).unwrap_or(0) * 1000 + u64::try_from(nanos).unwrap_or(0) / 1_000_000
    }))
}

/// Looks at everything that says which system runs, ran, or will, and at the switch that the
/// journal names.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn world(order: Option<&Order>) -> anyhow::Result<World> {
    let switch = match order {
        None => SwitchUnit::Gone,
        Some(order) => activate::look(order).await?,
    };
    Ok(World {
        boot: boot_id(),
        booted: system(BOOTED),
        current: system(CURRENT),
        profile: system(PROFILE),
        default: None,
        trace: Trace::default(),
        dead_man: activate::dead_man_armed().await?,
        leftovers: leftovers(Path::new(SWITCHER)),
        switch,
    })
}

/// Whether a switch was cut off: it leaves lists of units that it meant to start, and nobody holds
/// its lock (nixpkgs `switch-to-configuration-ng/src/main.rs`).
fn leftovers(dir: &Path) -> bool {
    let listed = ["start-list", "restart-list", "reload-list"]
        .iter()
        .any(|name| fs::metadata(dir.join(name)).is_ok_and(|meta| meta.len() > 0));
    listed && !locked(&dir.join(LOCK))
}

fn locked(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| lock(file).is_err())
}

fn lock(file: File) -> std::io::Result<Flock<File>> {
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno.into())
}

/// Keeps every switch from beginning.
///
/// # Errors
/// One runs.
pub(crate) fn lock_switches() -> std::io::Result<Flock<File>> {
    fs::create_dir_all(SWITCHER)?;
    let path = Path::new(SWITCHER).join(LOCK);
    lock(File::options().append(true).create(true).open(path)?)
}

/// What of a toplevel only a boot can bring in.
pub(crate) fn boot_parts(toplevel: &Path) -> BootParts {
    let resolved = |name: &str| {
        let path = fs::canonicalize(toplevel.join(name)).ok()?;
        Some(path.to_string_lossy().into_owned())
    };
    BootParts {
        kernel: resolved("kernel"),
        initrd: resolved("initrd"),
        modules: resolved("kernel-modules"),
        params: read(&toplevel.join("kernel-params")),
        inhibitors: read(&toplevel.join("switch-inhibitors"))
            .and_then(|text| {
                serde_json::from_str::<BTreeMap<String, serde_json::Value>>(&text).ok()
            })
            .map(|map| {
                map.into_iter()
                    .map(|(key, value)| (key, value.to_string()))
                    .collect()
            })
            .unwrap_or_default(),
    }
}

/// The systems that are kept for a way back and that only a boot leads to from what was booted.
pub(crate) fn by_boot(journal: &Journal) -> Vec<StorePath> {
    let booted = boot_parts(Path::new(BOOTED));
    let kept = journal.fallbacks.iter().chain(&journal.confirmed);
    kept.map(|generation| &generation.system)
        .filter(|system| {
            let parts = boot_parts(Path::new(&system.to_string()));
            !reboot::reasons(&booted, &parts, RebootPolicy::Auto).is_empty()
        })
        .cloned()
        .collect()
}

/// Reads a small file; `None` if it is missing, too large or no text.
pub(crate) fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    let size = file.take(MAX_FILE + 1).read_to_string(&mut text).ok()?;
    (size as u64 <= MAX_FILE).then_some(text)
}

/// The agent's own program, if the running system names another one in its unit: then it is time
/// to let that one go on.
pub(crate) fn replaced_by() -> Option<PathBuf> {
    let unit = read(Path::new("/etc/systemd/system/surefootd.service"))
        .or_else(|| read(Path::new("/run/systemd/system/surefootd.service")))?;
    let program = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="))?
        .trim_start_matches(['-', '@', ':', '+', '!'])
        .split_whitespace()
        .next()?;
    let wanted = fs::canonicalize(program).ok()?;
    let own = fs::canonicalize("/proc/self/exe").ok()?;
    (wanted != own).then_some(wanted)
}

/// Fails early, with words, where the robot lacks what every switch needs.
pub(crate) fn missing_parts(toplevel: &Path) -> Option<String> {
    ["bin/switch-to-configuration", "nixos-version"]
        .iter()
        .find(|name| !toplevel.join(name).exists())
        .map(|name| {
            format!(
                "{} has no {name}: it is no NixOS system",
                toplevel.display()
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leftovers_are_lists_that_nobody_works_on() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!leftovers(dir.path()));
        fs::write(dir.path().join("start-list"), "").unwrap();
        assert!(!leftovers(dir.path()));
        fs::write(dir.path().join("start-list"), "arm.service\n").unwrap();
        assert!(leftovers(dir.path()));
        let lock = File::create(dir.path().join("switch-to-configuration.lock")).unwrap();
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).unwrap();
        assert!(
            !leftovers(dir.path()),
            "a running switch was taken for a dead one"
        );
        drop(lock);
        assert!(leftovers(dir.path()));
    }

    #[test]
    fn boot_parts_follow_links_and_read_parameters() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        for toplevel in [&a, &b] {
            fs::create_dir(toplevel).unwrap();
            std::os::unix::fs::symlink(dir.path().join("bzImage"), toplevel.join("kernel"))
                .unwrap();
            fs::write(toplevel.join("kernel-params"), "quiet").unwrap();
        }
        fs::write(dir.path().join("bzImage"), "k").unwrap();
        assert_eq!(boot_parts(&a), boot_parts(&b));
        fs::write(b.join("kernel-params"), "debug").unwrap();
        fs::write(b.join("switch-inhibitors"), "{\"dbus\": \"broker\"}").unwrap();
        let parts = boot_parts(&b);
        assert_eq!(parts.params.as_deref(), Some("debug"));
        assert_eq!(parts.inhibitors["dbus"], "\"broker\"");
        assert_eq!(boot_parts(&dir.path().join("none")), BootParts::default());
    }

    #[test]
    fn the_clock_of_a_boot_runs() {
        assert!(now() > Instant(0));
        assert!(!boot_id().0.is_empty());
    }
}
