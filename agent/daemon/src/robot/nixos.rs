//! Where NixOS has its systems, its switcher's files and its programs, and what a system consists of.

use crate::robot::{self, starts};
use anyhow::Context as _;
use nix::fcntl::{Flock, FlockArg};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};
use surefoot_base::file::{self, ReadError};
use surefoot_core::{
    StorePath,
    formats::{self, Formats},
    journal::Journal,
    reboot::{self, BootParts},
    release::RebootPolicy,
};

/// The system that was booted (nixpkgs `nixos/modules/system/boot/stage-2-init.sh`).
pub(crate) const BOOTED: &str = "/run/booted-system";
/// The system that runs (nixpkgs `nixos/modules/system/activation/activation-script.nix`).
pub(crate) const CURRENT: &str = "/run/current-system";
/// The system profile.
pub(crate) const PROFILE: &str = "/nix/var/nix/profiles/system";

/// Where the switcher keeps its lists and its lock (nixpkgs `switch-to-configuration-ng/src/main.rs`).
pub(crate) const SWITCHER: &str = "/run/nixos";
pub(crate) const LOCK: &str = "switch-to-configuration.lock";

/// The store path that a link leads to, however many links away.
pub(crate) fn system(link: &str) -> Option<StorePath> {
    let target = fs::canonicalize(link).ok()?;
    StorePath::containing(&target).ok()
}

/// Whether a system is one of the specialisations of another one.
pub(crate) fn is_variant(system: &StorePath, of: &StorePath) -> bool {
    let variants = fs::read_dir(Path::new(&of.to_string()).join("specialisation"));
    let mut variants = variants.into_iter().flatten().flatten();
    variants.any(|variant| self::system(&variant.path().to_string_lossy()).as_ref() == Some(system))
}

/// Whether a switch was cut off: it leaves lists of units that it meant to start, and nobody holds
/// its lock (nixpkgs `switch-to-configuration-ng/src/main.rs`).
pub(crate) fn leftovers(dir: &Path) -> bool {
    let listed = ["start-list", "restart-list", "reload-list"]
        .iter()
        .any(|name| fs::metadata(dir.join(name)).is_ok_and(|meta| meta.len() > 0));
    listed && !locked(&dir.join(LOCK))
}

/// Whether somebody holds the switcher's lock, as the kernel says: whoever tries to take it is in the way of a
/// switch that begins.
pub(crate) fn is_switching() -> bool {
    robot::holder(&Path::new(SWITCHER).join(LOCK)).is_some()
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
    lock(private_lock(Path::new(SWITCHER))?)
}

/// The file of the switcher's lock, made if it is not there, for root alone. The switcher makes it so
/// that everybody can read it, and whoever can read a file can hold its lock: any user could keep the
/// robot from switching, the way back included.
///
/// # Errors
/// The file cannot be made, or not be kept to root.
pub(crate) fn private_lock(dir: &Path) -> std::io::Result<File> {
    fs::create_dir_all(dir)?;
    let mut options = File::options();
    let file = (options.append(true).create(true).mode(0o600)).open(dir.join(LOCK))?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(file)
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
        params: robot::read(&toplevel.join("kernel-params")),
        inhibitors: robot::read(&toplevel.join("switch-inhibitors"))
            .and_then(|text| {
                serde_json::from_str::<BTreeMap<String, serde_json::Value>>(&text).ok()
            })
            .map(|map| {
                map.into_iter()
                    .map(|(key, value)| (key, value.to_string()))
                    .collect()
            })
            .unwrap_or_default(),
        agent: starts::way(toplevel),
    }
}

/// Finds a `nixos-rebuild` that knows `--store-path` (26.05 and newer), by reading it: asking an
/// older one could make it build something.
pub(crate) fn rebuild() -> Option<PathBuf> {
    let program = fs::canonicalize("/run/current-system/sw/bin/nixos-rebuild").ok()?;
    let package = program.parent()?.parent()?;
    let mut files = vec![program.clone()];
    for python in fs::read_dir(package.join("lib")).into_iter().flatten() {
        let module = python.ok()?.path().join("site-packages/nixos_rebuild");
        let sources = fs::read_dir(module).into_iter().flatten().flatten();
        files.extend(sources.map(|file| file.path()));
    }
    files
        .iter()
        .filter_map(|file| robot::read(file))
        .any(|text| text.contains("--store-path"))
        .then_some(program)
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

/// Why a system must not be tried on this robot, if so: it would cut off the branch that it sits on.
///
/// # Errors
/// The disk says no to the question: that is the robot's fault, and not the system's.
pub(crate) fn unfit(current: &StorePath, new: &StorePath) -> anyhow::Result<Option<String>> {
    let parts = [
        ("etc/systemd/system/surefootd.service", "the agent's unit"),
        ("etc/surefoot/config.toml", "the agent's configuration"),
    ];
    for (file, what) in parts {
        let has = |system: &StorePath| exists(&Path::new(&system.to_string()).join(file));
        if has(current)? && !has(new)? {
            return Ok(Some(format!(
                "{new} does not contain {what} ({file}): the robot could not be updated any more"
            )));
        }
    }
    let toplevel = PathBuf::from(new.to_string());
    if let Some(why) = starts::loses_agent(Path::new(&current.to_string()), &toplevel)? {
        return Ok(Some(why));
    }
    match missing_parts(&toplevel)? {
        None => lost_on(&toplevel),
        why => Ok(why),
    }
}

fn exists(path: &Path) -> anyhow::Result<bool> {
    file::exists(path).with_context(|| format!("cannot look at {}", path.display()))
}

/// Why the agent of a system could not go on from what this one writes, if so: then neither the trial
/// nor a later way back would know what this robot remembers.
///
/// # Errors
/// The disk says no.
pub(crate) fn lost_on(toplevel: &Path) -> anyhow::Result<Option<String>> {
    let path = toplevel.join(formats::FILE);
    let said = match file::read_if_there(&path, formats::MAX_BYTES) {
        Ok(None) => Ok(Formats::default()),
        Ok(Some(bytes)) => Formats::parse(&bytes).map_err(|error| error.to_string()),
        Err(ReadError::Io(error)) if file::is_of_the_machine(&error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
        Err(error) => Err(error.to_string()),
    };
    Ok(match said {
        Ok(said) => {
            (Formats::ours().lost_on(&said)).map(|why| format!("{}: {why}", toplevel.display()))
        }
        Err(why) => Some(format!(
            "{} cannot be read ({why}): nobody knows whether its agent reads what this one writes",
            path.display()
        )),
    })
}

/// Whether this is a system of NixOS that is there, as far as a look tells.
pub(crate) fn is_there(system: &StorePath) -> bool {
    missing_parts(Path::new(&system.to_string())).is_ok_and(|missing| missing.is_none())
}

/// Fails early, with words, where the robot lacks what every switch needs.
fn missing_parts(toplevel: &Path) -> anyhow::Result<Option<String>> {
    for name in ["bin/switch-to-configuration", "nixos-version"] {
        if !exists(&toplevel.join(name))? {
            return Ok(Some(format!(
                "{} has no {name}: it is not a NixOS system",
                toplevel.display()
            )));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn an_agent_that_does_not_read_what_this_one_writes_is_not_tried() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(formats::FILE);
        let lost_on = |dir: &Path| super::lost_on(dir).unwrap();
        assert_eq!(lost_on(dir.path()), None);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let said = |text: &[u8]| {
            fs::write(&file, text).unwrap();
            lost_on(dir.path())
        };
        assert_eq!(said(br#"{"journal": [2, 1], "weather": "fine"}"#), None);
        assert!(
            said(br#"{"journal": [2]}"#)
                .unwrap()
                .contains("format 2 of the journal")
        );
        let large = vec![b' '; usize::try_from(formats::MAX_BYTES).unwrap() + 1];
        for damaged in [b"".as_slice(), b"\0", &large] {
            assert!(said(damaged).unwrap().contains("cannot be read"));
        }
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(lost_on(dir.path()).unwrap().contains("cannot be read"));
        fs::remove_dir(&file).unwrap();
        symlink(&file, &file).unwrap();
        assert!(lost_on(dir.path()).unwrap().contains("cannot be read"));
    }

    #[test]
    fn a_disk_that_does_not_read_what_a_system_says_is_held_against_no_release() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(formats::FILE);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        // A regular file whose first byte nobody can read: EIO (proc(5)).
        symlink("/proc/self/mem", &file).unwrap();
        let error = format!("{:#}", lost_on(dir.path()).unwrap_err());
        assert!(error.contains("formats.json"), "{error}");
    }

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
            symlink(dir.path().join("bzImage"), toplevel.join("kernel")).unwrap();
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
}
