//! The spare entry: one more for the system that starts by default, which NixOS never touches.
//!
//! NixOS' installer writes every entry anew each time, the default's too, and FAT has no journal: a
//! power cut just then may leave the default's entry empty. The loader takes the spare one then.
//! It is written whole and flushed while the default's entry rests.
//!
//! The installer fails on what a power cut leaves of its own work, too (nixpkgs,
//! `systemd-boot-builder.py`: it makes `loader.conf.tmp` only if that is not there, and wants a
//! kernel in every entry that it finds): that is taken away before it runs.

use super::{
    entry::{Entry, SPARE},
    menu::Menu,
};
use crate::{boot::files::replace, robot};
use anyhow::{Context as _, ensure};
use std::{fs, path::PathBuf};
use surefoot_api::finding::{Finding, Subject};
use surefoot_base::file::TEMPORARY;

/// Its name, where the default is not a pattern that it has to match.
const NAME: &str = "surefoot.conf";

/// What is to be done to the boot partition.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    write: Option<(PathBuf, String)>,
    remove: Vec<PathBuf>,
}

impl Plan {
    fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    /// Carries it out.
    ///
    /// # Errors
    /// The partition cannot be written.
    fn carry_out(&self) -> anyhow::Result<()> {
        if let Some((path, text)) = &self.write {
            replace(path, text.as_bytes())?;
            nix::unistd::sync();
        }
        for path in &self.remove {
            fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        nix::unistd::sync();
        Ok(())
    }
}

/// Whether nothing has to be done: see [`secure`].
pub(super) fn is_secured(menu: &Menu, anew: bool) -> bool {
    plan(menu, anew).is_ok_and(|plan| plan.is_empty())
}

/// Readies the partition for the installer, and reads that back. With `anew`, the spare entry has to
/// start what starts by default now; without, it may start whatever it does.
///
/// # Errors
/// The partition cannot be written, or another entry would be taken than the spare one.
pub(super) fn secure(menu: &Menu, anew: bool) -> anyhow::Result<()> {
    plan(menu, anew)?.carry_out()?;
    find(menu).map(|_| ())
}

/// What has to be done before the installer may run. With `anew`, the spare entry has to start
/// what starts by default now; without, it may start whatever it does.
///
/// # Errors
/// The partition cannot be read.
fn plan(menu: &Menu, anew: bool) -> anyhow::Result<Plan> {
    let entries = menu.entries()?;
    let mut plan = Plan {
        write: None,
        remove: leftovers(menu, &entries)?,
    };
    if (anew || !entries.iter().any(|entry| is_good(menu, entry)))
        && let Some((path, text)) = wanted(menu, &entries)
    {
        let stale = entries
            .iter()
            .filter(|entry| entry.spare && entry.path != path);
        plan.remove.extend(stale.map(|entry| entry.path.clone()));
        if robot::read(&path).as_ref() != Some(&text) {
            plan.write = Some((path, text));
        }
    }
    Ok(plan)
}

/// The spare entry that the loader takes should the default's be lost.
///
/// # Errors
/// It would take another one, or none.
pub(super) fn find(menu: &Menu) -> anyhow::Result<Entry> {
    let mut entries = menu.entries()?;
    if let Some(default) = menu.chosen(&entries)
        && !default.spare
    {
        let path = default.path.clone();
        entries.retain(|entry| entry.path != path);
    }
    let taken = menu
        .chosen(&entries)
        .cloned()
        .context("there is no other entry")?;
    ensure!(
        is_good(menu, &taken),
        "{} would be taken",
        taken.path.display()
    );
    Ok(taken)
}

/// What comes up when the default's entry is lost.
pub(super) fn finding(menu: &Menu) -> Finding {
    let what = "spare entry";
    match find(menu) {
        Ok(entry) => Finding::ok(
            Subject::Loader,
            what,
            format!(
                "{} starts {} should the default's entry be lost",
                entry.path.display(),
                entry
                    .system
                    .map_or_else(String::new, |path| path.to_string())
            ),
        ),
        Err(error) => Finding::warn(
            Subject::Loader,
            what,
            format!("should a power cut destroy the default's entry, {error:#}"),
            "the agent makes one whenever it starts; its journal says why it could not",
        ),
    }
}

/// Whether an entry is a spare one with all that it starts.
fn is_good(menu: &Menu, entry: &Entry) -> bool {
    let there = |path: &String| {
        fs::metadata(menu.esp.join(path.trim_start_matches('/'))).is_ok_and(|m| m.len() > 0)
    };
    let system = entry.system.as_ref().map(ToString::to_string);
    entry.spare
        && entry.is_startable()
        && entry.files.iter().all(there)
        && system.is_some_and(|path| menu.root.join(&path[1..]).exists())
}

/// The spare entry as it has to be: a copy of the default's, sorted right behind it. `None` if
/// the default's own entry is lost, or cannot be told.
fn wanted(menu: &Menu, entries: &[Entry]) -> Option<(PathBuf, String)> {
    let default = menu.chosen(entries)?;
    if default.spare {
        return None;
    }
    let pattern = menu.pattern().filter(|pattern| pattern.contains('*'));
    let name = match &pattern {
        // NixOS counts its generations from one, and clears away no other (nixpkgs,
        // systemd-boot-builder.py).
        Some(pattern) => {
            let name = pattern.replace('*', "0");
            format!("{}.conf", name.strip_suffix(".conf").unwrap_or(&name))
        }
        None => NAME.to_owned(),
    };
    let may_be_taken = |entry: &&Entry| match &pattern {
        Some(pattern) => entry.matches(pattern),
        None => true,
    };
    let first = entries
        .iter()
        .filter(|entry| entry.is_startable() && !entry.spare && !entry.order.unsorted)
        .filter(may_be_taken)
        .map(|entry| entry.order.sort_key.as_str())
        .min();
    let lines = robot::read(&default.path)?;
    let mut text = SPARE.to_owned();
    for line in lines.lines().map(str::trim) {
        if let Some(title) = line.strip_prefix("title ") {
            text.push_str(&format!("title {} (kept by Surefoot)\n", title.trim()));
        } else if !line.starts_with("sort-key ") {
            text.push_str(line);
            text.push('\n');
        }
    }
    if let Some(key) = first {
        text.push_str(&format!("sort-key {}\n", before(key)));
    }
    Some((menu.esp.join("loader/entries").join(name), text))
}

/// What a power cut left of NixOS' work, or of ours.
fn leftovers(menu: &Menu, entries: &[Entry]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for directory in ["loader", "loader/entries"] {
        let directory = menu.esp.join(directory);
        let files = fs::read_dir(&directory)
            .with_context(|| format!("cannot list {}", directory.display()))?;
        for file in files {
            let path = file?.path();
            let is_temporary = path
                .extension()
                .is_some_and(|extension| extension == "tmp" || extension == "new")
                || path
                    .file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY));
            if is_temporary && path.is_file() {
                found.push(path);
            }
        }
    }
    let empty = entries.iter().filter(|entry| {
        !entry.is_startable() && (entry.id.starts_with("nixos-") || entry.id == NAME)
    });
    found.extend(empty.map(|entry| entry.path.clone()));
    found.sort();
    Ok(found)
}

/// A sort key behind that of the default, and before all others: NixOS gives the default one of its
/// own where it counts tries (`nixor-default` before `nixos`).
fn before(first: &str) -> String {
    if let Some(key) = first.strip_suffix("-default") {
        return format!("{key}-spare");
    }
    let mut characters: Vec<char> = first.chars().collect();
    match characters.pop() {
        // The character before: `nixos` becomes `nixor`.
        Some(last @ '1'..='~') => characters.push(char::from(last as u8 - 1)),
        // Nothing sensible comes before; with a name of its own it is still told apart.
        Some(last) => characters.push(last),
        None => {}
    }
    characters.into_iter().collect::<String>() + "-spare"
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{names, robot, system},
        *,
    };
    use surefoot_api::finding::Level;

    #[test]
    fn a_spare_entry_comes_up_when_the_defaults_is_lost() {
        // By its name, by a hash, and as a pattern with a sort key for the default's.
        for (old, new, default, key, spare) in [
            (
                "nixos-generation-1.conf",
                "nixos-generation-2.conf",
                "nixos-generation-1.conf",
                "nixos",
                "surefoot.conf",
            ),
            (
                "nixos-0bbb+3.conf",
                "nixos-0aaa+3.conf",
                "nixos-0bbb.conf",
                "nixos",
                "surefoot.conf",
            ),
            (
                "nixos-generation-1.conf",
                "nixos-generation-2.conf",
                "nixos-generation-*",
                "nixor-default",
                "nixos-generation-0.conf",
            ),
        ] {
            let (root, menu) = robot(&[(old, 'a'), (new, 'b')], default);
            let entries = root.path().join("boot/loader/entries");
            let text = fs::read_to_string(entries.join(old)).unwrap();
            let keyed = text.replace("sort-key nixos", &format!("sort-key {key}"));
            fs::write(entries.join(old), &keyed).unwrap();
            assert_eq!(menu.default().unwrap(), Some(system('a')), "{default}");
            assert!(!is_secured(&menu, false));
            assert_eq!(finding(&menu).level, Level::Warn);
            secure(&menu, false).unwrap();
            assert!(is_secured(&menu, false) && is_secured(&menu, true));
            assert_eq!(finding(&menu).level, Level::Ok);
            assert!(entries.join(spare).exists(), "{:?}", names(&menu));
            // It changes nothing as long as all is well.
            assert_eq!(menu.default().unwrap(), Some(system('a')), "{default}");

            // The default's entry is lost, and others with it: what is empty is taken away.
            for lost in [old, new] {
                fs::write(entries.join(lost), "").unwrap();
                assert_eq!(menu.default().unwrap(), Some(system('a')), "{default}");
                secure(&menu, false).unwrap();
                assert!(!entries.join(lost).exists());
                assert_eq!(menu.default().unwrap(), Some(system('a')), "{default}");
            }
            // With only that left there is nothing to renew it from.
            secure(&menu, true).unwrap();
            assert_eq!(names(&menu), [spare]);
        }
    }

    #[test]
    fn a_spare_entry_follows_the_default_only_when_told() {
        let names_of = ["nixos-generation-1.conf", "nixos-generation-2.conf"];
        let (root, menu) = robot(&[(names_of[0], 'a'), (names_of[1], 'b')], names_of[0]);
        secure(&menu, true).unwrap();
        let conf = root.path().join("boot/loader/loader.conf");
        fs::write(&conf, format!("default {}\n", names_of[1])).unwrap();
        assert!(is_secured(&menu, false) && !is_secured(&menu, true));
        assert_eq!(find(&menu).unwrap().system, Some(system('a')));
        secure(&menu, true).unwrap();
        assert_eq!(find(&menu).unwrap().system, Some(system('b')));
        // Never aimed at.
        let spare = menu.entries().unwrap().into_iter().find(|e| e.spare);
        assert_eq!(spare.unwrap().system, Some(system('b')));

        // A default that has become a pattern: one under another name takes its place.
        fs::write(&conf, "default nixos-generation-2*\n").unwrap();
        secure(&menu, true).unwrap();
        assert_eq!(
            names(&menu),
            [
                "nixos-generation-1.conf",
                "nixos-generation-2.conf",
                "nixos-generation-20.conf"
            ]
        );
    }

    #[test]
    fn a_spare_entry_without_its_kernel_or_its_system_is_made_anew() {
        let (root, menu) = robot(
            &[("nixos-generation-1.conf", 'a')],
            "nixos-generation-1.conf",
        );
        secure(&menu, false).unwrap();
        fs::write(root.path().join("boot/other"), "a kernel").unwrap();
        let entry = root
            .path()
            .join("boot/loader/entries/nixos-generation-1.conf");
        let text = fs::read_to_string(&entry).unwrap();
        fs::write(&entry, text.replace("/kernel", "/other")).unwrap();
        assert!(is_secured(&menu, false));
        fs::write(root.path().join("boot/kernel"), "").unwrap();
        assert!(!is_secured(&menu, false));
        secure(&menu, false).unwrap();
        assert_eq!(find(&menu).unwrap().files, ["/other"]);
        fs::remove_dir(root.path().join(&system('a').to_string()[1..])).unwrap();
        assert!(secure(&menu, false).is_err());
    }

    #[test]
    fn what_the_installer_would_trip_over_is_taken_away() {
        let (root, menu) = robot(
            &[("nixos-generation-1.conf", 'a')],
            "nixos-generation-1.conf",
        );
        secure(&menu, false).unwrap();
        let boot = root.path().join("boot/loader");
        for left in [
            "loader.conf.tmp",
            "loader.tmp",
            ".surefoot-AbCdEf",
            "entries/nixos-generation-2.tmp",
            "entries/nixos-generation-2.conf.tmp",
            "entries/nixos-generation-2.conf",
        ] {
            fs::write(boot.join(left), "title").unwrap();
            assert!(!is_secured(&menu, false), "{left}");
            secure(&menu, false).unwrap();
            assert!(!boot.join(left).exists(), "{left}");
        }
        // Others' are left.
        fs::write(boot.join("entries/memtest.conf"), "").unwrap();
        secure(&menu, false).unwrap();
        assert!(boot.join("entries/memtest.conf").exists());
    }
}
