//! GRUB: one menu, `grub.cfg`, and a block of variables, `grubenv`. Its one-shot is the variable
//! `next_entry`, which NixOS' menu takes and clears (nixpkgs, `install-grub.pl`).
//!
//! GRUB must be able to clear it, or every boot is the trial's: it writes to plain partitions only,
//! not to LVM, RAID, btrfs or ZFS (GRUB manual, "Environment block").

use crate::{
    boot::{
        files::replace,
        loader::{Loader, Mark, init_of, writable},
    },
    robot,
};
use anyhow::{Context as _, bail, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
};
use surefoot_api::finding::{Finding, Subject, obstacle};
use surefoot_core::StorePath;

const LOADER: Subject = Subject::Loader;

/// What becomes of a trial whose entry GRUB cannot load.
const UNLOADABLE: &str = "an entry that cannot be loaded";

/// First line of an environment block, and its fixed size in bytes.
const SIGNATURE: &str = "# GRUB Environment Block\n";
const BLOCK: usize = 1024;

/// GRUB's directory on the robot.
#[derive(Debug)]
pub(super) struct Grub {
    directory: PathBuf,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    /// Its title, with those of the submenus that it is in: `A>B`.
    title: String,
    system: Option<StorePath>,
}

impl Grub {
    /// Finds it below a root: a menu and an environment block.
    pub(super) fn find(root: &Path) -> Option<Self> {
        let directory = root.join("boot/grub");
        ["grub.cfg", "grubenv"]
            .iter()
            .all(|name| directory.join(name).is_file())
            .then_some(Self { directory })
    }

    fn menu(&self) -> anyhow::Result<String> {
        let path = self.directory.join("grub.cfg");
        // With many generations it is long.
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    fn environment(&self) -> anyhow::Result<Vec<(String, String)>> {
        let path = self.directory.join("grubenv");
        let text = robot::read(&path)
            .filter(|text| text.len() == BLOCK && text.starts_with(SIGNATURE))
            .with_context(|| {
                format!(
                    "{} is no environment block of GRUB; `grub-editenv {} create` makes one",
                    path.display(),
                    path.display()
                )
            })?;
        Ok(variables(&text))
    }

    /// Sets `next_entry`, or clears it.
    fn set_next(&self, title: Option<&str>) -> anyhow::Result<()> {
        let mut variables = self.environment()?;
        variables.retain(|(key, _)| key != "next_entry");
        if let Some(title) = title {
            variables.push(("next_entry".to_owned(), title.to_owned()));
        }
        let mut block = SIGNATURE.to_owned();
        for (key, value) in variables {
            block.push_str(&format!("{key}={value}\n"));
        }
        ensure!(block.len() <= BLOCK, "GRUB's environment block is full");
        block.extend(std::iter::repeat_n('#', BLOCK - block.len()));
        replace(&self.directory.join("grubenv"), block.as_bytes())
    }

    /// Whether the menu takes the one-shot, and forgets it before it starts anything.
    fn clears(&self) -> anyhow::Result<String> {
        let menu = self.menu()?;
        for needed in ["next_entry", "save_env next_entry"] {
            ensure!(
                menu.contains(needed),
                "it has no `{needed}`: {}",
                if needed == "next_entry" {
                    "it knows no one-shot"
                } else {
                    "it does not clear its one-shot, so every boot would be the trial's"
                }
            );
        }
        Ok("it takes a one-shot and clears it".to_owned())
    }

    /// Whether it goes on with its default when an entry cannot be loaded: GRUB manual, "fallback".
    fn falls_back(&self) -> anyhow::Result<String> {
        let menu = self.menu()?;
        // Not exported: in a submenu the number would mean another entry.
        let fallback = menu
            .lines()
            .find_map(|line| line.trim().strip_prefix("set fallback="));
        match fallback {
            Some(entry) => Ok(format!("it goes on with entry {entry}")),
            None => bail!("it waits in its menu for a hand"),
        }
    }

    fn next(&self) -> anyhow::Result<Option<String>> {
        let variables = self.environment()?;
        let next = variables.into_iter().find(|(key, _)| key == "next_entry");
        Ok(next
            .map(|(_, value)| value)
            .filter(|value| !value.is_empty()))
    }
}

/// The variables of an environment block.
fn variables(block: &str) -> Vec<(String, String)> {
    block
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// The entries of a menu, in its order.
fn entries(menu: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    // What each open brace belongs to: a submenu's title, or nothing.
    let mut open: Vec<Option<String>> = Vec::new();
    for line in menu.lines().map(str::trim) {
        let title = |rest: &str| {
            let quote = rest.trim_start().chars().next()?;
            let rest = rest.trim_start().strip_prefix(quote)?;
            matches!(quote, '"' | '\'').then(|| rest.split(quote).next().map(str::to_owned))?
        };
        if line.starts_with('#') {
            continue;
        }
        if let Some(rest) = line.strip_prefix("menuentry ") {
            let mut path: Vec<String> = open.iter().flatten().cloned().collect();
            path.extend(title(rest));
            entries.push(Entry {
                title: path.join(">"),
                system: None,
            });
            open.push(None);
        } else if let Some(rest) = line.strip_prefix("submenu ") {
            open.push(title(rest));
        } else if line.ends_with('{') {
            open.push(None);
        } else if line == "}" {
            open.pop();
        } else if let Some(entry) = entries.last_mut()
            && line.starts_with("linux")
            && entry.system.is_none()
        {
            entry.system = init_of(line);
        }
    }
    entries
}

/// Reads a text as a menu, and as an environment block.
#[cfg(feature = "fuzz")]
pub(super) fn fuzz(text: &str) {
    assert!(entries(text).len() <= text.matches("menuentry ").count());
    assert!(variables(text).len() <= text.matches('=').count());
}

impl Loader for Grub {
    fn name(&self) -> &'static str {
        "GRUB"
    }

    fn default(&self) -> anyhow::Result<Option<StorePath>> {
        let menu = self.menu()?;
        // The last one stands in the branch without a one-shot.
        let default = menu
            .lines()
            .filter_map(|line| line.trim().strip_prefix("set default="))
            .map(|value| value.trim_matches('"'))
            .rfind(|value| *value != "${next_entry}");
        let Some(Ok(index)) = default.map(str::parse::<usize>) else {
            return Ok(None); // "saved": whatever was started last
        };
        // Entries in submenus do not count; the submenu itself does, and is no system.
        let top = entries(&menu)
            .into_iter()
            .filter(|entry| !entry.title.contains('>'))
            .nth(index);
        Ok(top.and_then(|entry| entry.system))
    }

    fn check(&self) -> Vec<Finding> {
        let judge = |what: &str, result: anyhow::Result<String>, advice: &str| match result {
            Ok(found) => Finding::ok(LOADER, what, found),
            Err(error) => Finding::fail(LOADER, what, format!("{error:#}"), advice),
        };
        let block = self.environment().map(|variables| {
            format!(
                "{} is whole and has {} variables",
                self.directory.join("grubenv").display(),
                variables.len()
            )
        });
        let place = filesystem(&self.directory);
        let journaled = place.as_ref().ok().map(|(kind, _)| journaled(kind));
        let findings = vec![
            judge(
                "GRUB's environment block",
                block,
                "make a new one with grub-editenv",
            ),
            writable("GRUB's directory", &self.directory),
            judge(
                "GRUB's menu",
                self.clears(),
                "install the boot loader of a system with a recent NixOS",
            ),
            self.falls_back().map_or_else(
                |error| {
                    Finding::warn(
                        LOADER,
                        UNLOADABLE,
                        format!("{error:#}"),
                        "set boot.loader.grub.extraConfig = \"set fallback=0\"",
                    )
                },
                |found| Finding::ok(LOADER, UNLOADABLE, found),
            ),
            judge(
                "file system of /boot/grub",
                place.and_then(|(kind, device)| plain(&kind, &device)),
                "put /boot on a plain partition with ext4",
            ),
        ];
        findings.into_iter().chain(journaled).collect()
    }

    fn kernels(&self) -> PathBuf {
        self.directory.with_file_name("kernels")
    }

    fn aim(&self, system: &StorePath, _previous: &StorePath) -> anyhow::Result<Mark> {
        if let Some(obstacle) = obstacle(&self.check()) {
            anyhow::bail!(obstacle);
        }
        let entry = entries(&self.menu()?)
            .into_iter()
            .find(|entry| entry.system.as_ref() == Some(system))
            .with_context(|| format!("no menu entry has init={system}/init"))?;
        ensure!(
            !entry.title.contains(['\\', '\n']),
            "GRUB cannot be given the title {:?}",
            entry.title
        );
        self.set_next(Some(&entry.title))?;
        let found = self.next()?;
        ensure!(
            found.as_ref() == Some(&entry.title),
            "the one-shot was not kept: grubenv says {found:?}"
        );
        Ok(Mark::default())
    }

    fn started(&self, _mark: &Mark) -> Option<bool> {
        // It clears the variable before it starts the entry.
        self.next().ok().map(|next| next.is_none())
    }

    fn forget(&self, _mark: Option<&Mark>) -> anyhow::Result<()> {
        if self.next()?.is_some() {
            self.set_next(None)?;
        }
        Ok(())
    }
}

/// Whether GRUB can write to such a file system on this device.
fn plain(kind: &str, device: &str) -> anyhow::Result<String> {
    ensure!(
        matches!(kind, "ext2" | "ext3" | "ext4" | "vfat"),
        "GRUB cannot write to {kind}, so its one-shot would never be cleared"
    );
    let name = device.rsplit('/').next().unwrap_or_default();
    for layer in ["dm", "md"] {
        ensure!(
            !Path::new("/sys/class/block")
                .join(name)
                .join(layer)
                .exists(),
            "GRUB cannot write through {device} (LVM, encryption or RAID), so its one-shot would \
             never be cleared"
        );
    }
    Ok(format!("GRUB can write to {kind} on {device}"))
}

/// Whether a power cut leaves the menu whole while NixOS writes a new one: it does not sync it before
/// it takes the old one's place (nixpkgs, `install-grub.pl`), which ext4 sees to by itself (ext4(5),
/// `auto_da_alloc`).
fn journaled(kind: &str) -> Finding {
    let what = "a power cut while the menu is written";
    if kind == "ext4" {
        Finding::ok(LOADER, what, "leaves the old menu or the new one")
    } else {
        Finding::warn(
            LOADER,
            what,
            format!("may leave none at all on {kind}"),
            "put /boot on ext4, or use systemd-boot",
        )
    }
}

/// Type and device of the file system that a directory lies on.
fn filesystem(directory: &Path) -> anyhow::Result<(String, String)> {
    let mounts = robot::read(Path::new("/proc/self/mounts")).unwrap_or_default();
    let found = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (device, place, kind) = (words.next()?, words.next()?, words.next()?);
            directory
                .starts_with(place)
                .then(|| (place.len(), kind.to_owned(), device.to_owned()))
        })
        .max_by_key(|(length, ..)| *length);
    found
        .map(|(_, kind, device)| (kind, device))
        .with_context(|| format!("no file system has {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_api::finding::Level;

    fn system(c: char) -> StorePath {
        StorePath::from_base_name(&format!("{}-nixos-system-{c}", c.to_string().repeat(32)))
            .unwrap()
    }

    fn robot() -> (tempfile::TempDir, Grub) {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("boot/grub");
        fs::create_dir_all(&directory).unwrap();
        let entry = |title: &str, c: char| {
            format!(
                "menuentry \"{title}\" --class nixos --unrestricted {{\n  linux ($drive1)//kernels/k init={}/init quiet\n  initrd ($drive1)//kernels/i\n}}\n",
                system(c)
            )
        };
        let menu = format!(
            "if [ \"${{next_entry}}\" ]; then\n  set default=\"${{next_entry}}\"\n  set next_entry=\n  save_env next_entry\nelse\n  set default=0\n  set timeout=0\nfi\n{}submenu \"NixOS - All configurations\" --class submenu {{\n{}{}}}\n",
            entry("NixOS - Default", 'a'),
            entry("NixOS - Configuration 2 (2026-01-01 - 26.05)", 'b'),
            entry("NixOS - Configuration 1 (2026-01-01 - 26.05)", 'a'),
        );
        fs::write(directory.join("grub.cfg"), menu).unwrap();
        let block = format!("{SIGNATURE}saved_entry=x\n");
        let block = format!("{block}{}", "#".repeat(BLOCK - block.len()));
        fs::write(directory.join("grubenv"), block).unwrap();
        let grub = Grub::find(root.path()).unwrap();
        (root, grub)
    }

    #[test]
    fn its_menu_is_read_with_its_submenus() {
        let (_root, grub) = robot();
        assert_eq!(grub.default().unwrap(), Some(system('a')));
        let entries = entries(&grub.menu().unwrap());
        assert_eq!(entries.len(), 3);
        assert_eq!(
            entries[1],
            Entry {
                title: "NixOS - All configurations>NixOS - Configuration 2 (2026-01-01 - 26.05)"
                    .into(),
                system: Some(system('b')),
            }
        );
    }

    #[test]
    fn its_block_keeps_its_size_and_its_other_variables() {
        let (_root, grub) = robot();
        grub.set_next(Some("A>B")).unwrap();
        assert_eq!(grub.next().unwrap().as_deref(), Some("A>B"));
        assert_eq!(grub.started(&Mark::default()), Some(false));
        let block = fs::read(grub.directory.join("grubenv")).unwrap();
        assert_eq!(block.len(), BLOCK);
        grub.forget(None).unwrap();
        assert_eq!(grub.started(&Mark::default()), Some(true));
        let kept = [("saved_entry".to_owned(), "x".to_owned())];
        assert_eq!(grub.environment().unwrap(), kept);
        assert!(grub.set_next(Some(&"x".repeat(BLOCK))).is_err());
    }

    #[test]
    fn a_broken_block_is_refused_with_the_remedy() {
        let (_root, grub) = robot();
        fs::write(grub.directory.join("grubenv"), "nonsense").unwrap();
        let error = obstacle(&grub.check()).unwrap();
        assert!(error.contains("grub-editenv"), "{error}");
    }

    #[test]
    fn where_grub_cannot_write_it_is_not_used() {
        for kind in ["btrfs", "zfs", "xfs", "overlay"] {
            let error = plain(kind, "/dev/none1").unwrap_err().to_string();
            assert!(error.contains("never be cleared"), "{error}");
        }
        for (kind, level) in [("ext4", Level::Ok), ("vfat", Level::Warn)] {
            plain(kind, "/dev/none1").unwrap();
            assert_eq!(journaled(kind).level, level);
        }
    }

    #[test]
    fn a_menu_that_waits_when_an_entry_cannot_be_loaded_is_warned_about() {
        let (_root, grub) = robot();
        let found = |grub: &Grub| {
            grub.check()
                .into_iter()
                .find(|f| f.what == UNLOADABLE)
                .unwrap()
        };
        assert_eq!(found(&grub).level, Level::Warn);
        let menu = format!("set fallback=0\n{}", grub.menu().unwrap());
        fs::write(grub.directory.join("grub.cfg"), menu).unwrap();
        assert_eq!(found(&grub).level, Level::Ok);
    }

    #[test]
    fn a_menu_must_clear_its_one_shot() {
        let (_root, grub) = robot();
        assert!(grub.clears().is_ok());
        let menu = grub.menu().unwrap();
        for (missing, word) in [
            ("save_env next_entry", "does not clear"),
            ("next_entry", "knows no one-shot"),
        ] {
            let path = grub.directory.join("grub.cfg");
            fs::write(path, menu.replace(missing, "x")).unwrap();
            let error = grub.clears().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
