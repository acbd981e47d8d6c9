//! Whether a system would start its agent at a boot, by the unit files that it brings.
//!
//! A live trial cannot show this: the agent that drives it is neither stopped nor started by the switch, so a
//! system that masks the agent's unit, or that has nothing pull it in, looks healthy until its next boot.

use anyhow::Context as _;
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};
use surefoot_base::{
    environment::{self, MAX_UNIT},
    file::{self, ReadError},
};
use surefoot_core::store_path::STORE_DIR;

const UNIT: &str = "surefootd.service";

/// Characters of the hash in a path of the store.
const HASH: usize = 32;

/// Where a system has its units (nixpkgs `nixos/lib/systemd-lib.nix`).
pub(crate) const UNITS: &str = "etc/systemd/system";

/// Drop-ins of every service (systemd.unit(5)).
const OF_ALL: &str = "service.d";

/// What a boot starts.
const GOAL: &str = "default.target";

/// Directories of what a unit pulls in, and the keys that do the same (systemd.unit(5)).
const DIRECTORIES: [&str; 3] = ["wants", "requires", "upholds"];
const KEYS: [&str; 4] = ["Wants", "Requires", "BindsTo", "Upholds"];

/// Why the new system would not start its agent at a boot although the present one does, if so.
///
/// # Errors
/// The disk says no, which is the robot's fault.
pub(super) fn loses_agent(current: &Path, new: &Path) -> anyhow::Result<Option<String>> {
    let lost = "the robot could not be updated any more after its next boot";
    if has_program(current)? && !has_program(new)? {
        return Ok(Some(format!(
            "the agent's unit of {} ({UNITS}/{UNIT}) is masked or starts no program: {lost}",
            new.display()
        )));
    }
    if is_pulled_in(current)? && !is_pulled_in(new)? {
        return Ok(Some(format!(
            "nothing that {} starts at a boot pulls in its agent's unit ({UNIT}): {lost}",
            new.display()
        )));
    }
    Ok(None)
}

/// What of the agent's unit only its start shows, by how the settings begin: what has to be there before it,
/// what runs before it, and where it runs (systemd.unit(5), systemd.service(5), systemd.exec(5)). The proof of
/// a live trial runs the program alone.
const START: [&str; 19] = [
    "After",
    "Assert",
    "Before",
    "BindsTo",
    "Condition",
    "Conflicts",
    "ExecCondition",
    "ExecStartPre",
    "JoinsNamespaceOf",
    "PartOf",
    "Requires",
    "Requisite",
    "RootDirectory",
    "RootImage",
    "RuntimeDirectory",
    "StateDirectory",
    "Type",
    "Wants",
    "WorkingDirectory",
];

/// How a system starts its agent, beside the program; `None` if it has none, or nobody can tell. Which build
/// of a program it names does not count: that may be another one with every release. What others pull in with
/// it or start before it is a part of that.
pub(super) fn way(system: &Path) -> Option<String> {
    let units = system.join(UNITS);
    let main = read(&units.join(UNIT)).ok()??;
    environment::exec_of(&main)?;
    let mut texts = vec![main];
    for drop_ins in [format!("{UNIT}.d"), OF_ALL.to_owned()] {
        let drop_ins = units.join(drop_ins);
        for name in names(&drop_ins).ok()? {
            texts.extend(read(&drop_ins.join(name)).ok()?);
        }
    }
    let names_it = |line: &str| line.split([' ', '=']).any(|word| word == UNIT);
    let mut others = Vec::new();
    for kind in DIRECTORIES {
        let pulled = names(&units.join(format!("{UNIT}.{kind}"))).ok()?;
        others.extend(pulled.iter().map(|name| format!("{kind} {name}")));
    }
    for name in names(&units).ok()?.iter().filter(|name| *name != UNIT) {
        let text = read(&units.join(name)).ok()?.unwrap_or_default();
        let mut lines = text.lines().map(str::trim);
        let before = lines.any(|line| line.starts_with("Before") && names_it(line));
        others.extend(before.then(|| format!("before {name}")));
    }
    let lines = texts.iter().flat_map(|text| text.lines()).map(str::trim);
    let lines = lines.filter(|line| START.iter().any(|key| line.starts_with(key)));
    let mut lines: Vec<String> = lines.map(without_hashes).chain(others).collect();
    lines.sort();
    Some(lines.join("\n"))
}

/// A line in which paths of the store have no hash.
fn without_hashes(line: &str) -> String {
    let store = format!("{STORE_DIR}/");
    let mut parts = line.split(&store);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |line, part| {
        let named = part.split_once('-').filter(|(hash, _)| hash.len() == HASH);
        line + &store + named.map_or(part, |(_, name)| name)
    })
}

/// Whether the agent's unit starts a program. A masked unit is a link to /dev/null, or empty.
fn has_program(system: &Path) -> anyhow::Result<bool> {
    let text = read(&system.join(UNITS).join(UNIT))?;
    Ok(text.is_some_and(|text| environment::exec_of(&text).is_some()))
}

/// Whether a boot pulls in the agent's unit. Where the system does not say what a boot starts, whatever
/// pulls it in is taken for a part of that.
fn is_pulled_in(system: &Path) -> anyhow::Result<bool> {
    let units = system.join(UNITS);
    let goal = units.join(GOAL);
    if !exists(&goal)? {
        let all = names(&units)?;
        let pulls = |name: &String| {
            let kind = Path::new(name).extension()?.to_str()?;
            DIRECTORIES.contains(&kind).then(|| units.join(name))
        };
        for directory in all.iter().filter_map(pulls) {
            if names(&directory)?.contains(UNIT) {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    let mut next = vec![GOAL.to_owned()];
    let named = fs::canonicalize(&goal).ok();
    let named = named.as_deref().and_then(Path::file_name);
    next.extend(named.map(|name| name.to_string_lossy().into_owned()));
    let mut seen = BTreeSet::new();
    while let Some(name) = next.pop() {
        if name == UNIT {
            return Ok(true);
        }
        if seen.insert(name.clone()) {
            next.extend(pulled_in_by(&units, &name)?);
        }
    }
    Ok(false)
}

/// What a unit pulls in.
fn pulled_in_by(units: &Path, name: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for kind in DIRECTORIES {
        found.append(&mut names(&units.join(format!("{name}.{kind}")))?);
    }
    let drop_ins = units.join(format!("{name}.d"));
    let drop_ins = names(&drop_ins)?.into_iter().map(|it| drop_ins.join(it));
    let files: Vec<PathBuf> = drop_ins.chain([units.join(name)]).collect();
    for file in files {
        let text = read(&file)?.unwrap_or_default();
        for line in text.lines() {
            if let Some((key, names)) = line.split_once('=')
                && KEYS.contains(&key.trim())
            {
                found.extend(names.split_whitespace().map(str::to_owned));
            }
        }
    }
    Ok(found)
}

/// The names in a directory; none if there is no such directory.
fn names(directory: &Path) -> anyhow::Result<BTreeSet<String>> {
    let cannot = || format!("cannot look at {}", directory.display());
    let entries = match fs::read_dir(directory) {
        Err(error) if file::is_of_the_machine(&error) => return Err(error).with_context(cannot),
        Err(_) => return Ok(BTreeSet::new()),
        Ok(entries) => entries,
    };
    let name = |entry: io::Result<fs::DirEntry>| {
        entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
    };
    entries
        .map(name)
        .collect::<io::Result<_>>()
        .with_context(cannot)
}

/// A unit's file; `None` if there is none that systemd would use.
fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match file::read_text(path, MAX_UNIT) {
        Ok(text) => Ok(Some(text)),
        Err(ReadError::Io(error)) if file::is_of_the_machine(&error) => {
            Err(error).with_context(|| format!("cannot read {}", path.display()))
        }
        Err(_) => Ok(None),
    }
}

fn exists(path: &Path) -> anyhow::Result<bool> {
    file::exists(path).with_context(|| format!("cannot look at {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A system of these files: links where the text begins with `->`.
    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(UNITS).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match text.strip_prefix("->") {
                Some(target) => symlink(target, &path).unwrap(),
                None => fs::write(&path, text).unwrap(),
            }
        }
        dir
    }

    const AGENT: (&str, &str) = (UNIT, "[Service]\nExecStart=/bin/surefootd\n");
    const WANTED: (&str, &str) = ("multi-user.target.wants/surefootd.service", "->../x");
    const MULTI: (&str, &str) = ("multi-user.target", "[Unit]\nRequires=basic.target\n");
    const GRAPHICAL: (&str, &str) = ("graphical.target", "[Unit]\nRequires=a multi-user.target\n");

    fn said(before: &[(&str, &str)], now: &[(&str, &str)]) -> Option<String> {
        loses_agent(system(before).path(), system(now).path()).unwrap()
    }

    #[test]
    fn a_system_that_masks_its_agent_or_starts_it_no_more_loses_it() {
        let goal = |name: &'static str| (GOAL, name);
        let good = [AGENT, WANTED, MULTI, GRAPHICAL, goal("->graphical.target")];
        assert_eq!(said(&good, &good), None);
        for masked in ["->/dev/null", "", "[Unit]\n"] {
            let now = [(UNIT, masked), WANTED, MULTI, goal("->multi-user.target")];
            assert!(said(&good, &now).unwrap().contains("is masked"), "{masked}");
        }
        let unwanted = [AGENT, MULTI, GRAPHICAL, goal("->graphical.target")];
        let rescue = [
            AGENT,
            WANTED,
            MULTI,
            ("rescue.target", ""),
            goal("->rescue.target"),
        ];
        for now in [&unwanted[..], &rescue] {
            assert!(
                said(&good, now)
                    .unwrap()
                    .contains("pulls in its agent's unit")
            );
            // It was no better before.
            assert_eq!(said(now, now), None);
        }
        // By other ways.
        let drop_in = (
            "multi-user.target.d/a.conf",
            "[Unit]\nUpholds=surefootd.service\n",
        );
        let by_drop_in = [AGENT, drop_in, MULTI, goal("->multi-user.target")];
        let by_goal = [
            AGENT,
            ("default.target.requires/surefootd.service", "->../x"),
            goal(""),
        ];
        for now in [&by_drop_in[..], &by_goal] {
            assert_eq!(said(&good, now), None);
        }
    }

    #[test]
    fn what_only_a_start_of_the_agent_shows_is_compared_without_builds() {
        let of = |more: &str, drop_in: &str| {
            let unit = format!("{}{more}", AGENT.1);
            let drop_in = ("surefootd.service.d/a.conf", drop_in);
            way(system(&[(UNIT, unit.as_str()), drop_in]).path())
        };
        let none = of("", "");
        assert_eq!(none.as_deref(), Some(""));
        assert_eq!(
            of("Environment=A=b\nWatchdogSec=9\n", "MemoryMax=2G\n"),
            none
        );
        for line in [
            "ExecStartPre=/bin/false\n",
            "[Unit]\nRequires=vpn.service\n",
            "[Unit]\nAfter=vpn-wait.service\n",
            "[Unit]\nConflicts=arm.service\n",
        ] {
            assert_ne!(of(line, ""), none, "{line}");
            assert_ne!(of("", line), none, "{line}");
            let of_all = [AGENT, ("service.d/a.conf", line)];
            assert_ne!(way(system(&of_all).path()), none, "{line}");
        }
        // What another unit says of the agent's.
        for other in [
            (
                "vpn.service",
                "[Unit]\nBefore=arm.service surefootd.service\n",
            ),
            ("surefootd.service.requires/vpn.service", ""),
            ("surefootd.service.wants/vpn.service", ""),
        ] {
            assert_ne!(way(system(&[AGENT, other]).path()), none, "{other:?}");
        }
        let other = ("vpn.service", "[Unit]\nBefore=arm.service\n");
        assert_eq!(way(system(&[AGENT, other]).path()), none);
        let built = |hash: &str| format!("ExecStartPre={STORE_DIR}/{}-x/bin/x\n", hash.repeat(32));
        assert_eq!(of(&built("a"), ""), of(&built("b"), ""));
        assert_eq!(way(system(&[(UNIT, "->/dev/null")]).path()), None);
    }

    #[test]
    fn where_nothing_says_what_a_boot_starts_any_unit_may_pull_the_agent_in() {
        let with = [AGENT, WANTED];
        assert_eq!(said(&with, &with), None);
        assert!(said(&with, &[AGENT]).is_some());
        assert_eq!(said(&[], &[]), None);
    }

    #[test]
    fn a_disk_that_does_not_read_a_unit_is_held_against_no_release() {
        let good = system(&[AGENT]);
        // A regular file whose first byte nobody can read: EIO (proc(5)).
        let bad = system(&[(UNIT, "->/proc/self/mem")]);
        loses_agent(good.path(), bad.path()).unwrap_err();
    }
}
