//! systemd-boot: entries are files on the boot partition, the one-shot is a variable of the
//! firmware (systemd-boot(7), the Boot Loader Interface).
//!
//! Entries are found by the `init=` of their options, never by their names, which differ between
//! versions of NixOS. For the trial the entry gets a count of one try (the Automatic Boot
//! Assessment of systemd): the loader writes it down when it starts it, so a one-shot that the
//! firmware lost can be told from a system that did not come up.

mod fat;
mod heal;
mod spare;

use crate::{
    boot::{
        files::{program, run, sync_parent},
        loader::{Loader, Mark, init_of, writable},
        mounts,
    },
    robot::{self, systemd},
};
use anyhow::{Context as _, bail};
use std::{
    fs,
    path::{Path, PathBuf},
};
use surefoot_api::finding::{Finding, Subject};
use surefoot_base::glob;
use surefoot_core::StorePath;

/// The vendor of the loader's variables (the Boot Loader Interface).
const VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// Bits of `LoaderFeatures` (systemd, `src/fundamental/efivars-fundamental.h`).
const ONE_SHOT: u64 = 1 << 3;
const COUNTING: u64 = 1 << 4;

const LOADER: Subject = Subject::Loader;

/// systemd-boot on a boot partition.
#[derive(Debug)]
pub(super) struct SystemdBoot {
    root: PathBuf,
    esp: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// Its name without a count of tries: what one-shot and default speak of.
    id: String,
    path: PathBuf,
    system: Option<StorePath>,
    /// The kernel and what goes with it, on the partition of the entries.
    files: Vec<String>,
    /// Whether it is the spare one.
    spare: bool,
    order: Order,
}

impl Entry {
    /// Whether it names anything to start: the loader does not know it otherwise.
    fn is_startable(&self) -> bool {
        !self.files.is_empty()
    }

    /// Whether a default speaks of it.
    fn matches(&self, pattern: &str) -> bool {
        glob::matches(pattern, &self.id)
    }
}

/// What the loader sorts its entries by (The Boot Loader Specification, "Sorting"), as far as NixOS
/// needs it: what comes after (the version, the name) is compared in a way of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    /// No try is left.
    used_up: bool,
    /// What has a sort key comes first.
    unsorted: bool,
    sort_key: String,
    machine_id: String,
}

impl SystemdBoot {
    /// Finds it below a root: it says so in its variables, and its partition is mounted.
    pub(super) fn find(root: &Path) -> Option<Self> {
        let esp = mounts::POINTS
            .iter()
            .map(|mount| root.join(mount))
            .find(|mount| mount.join("loader/entries").is_dir())?;
        let loader = Self {
            root: root.to_owned(),
            esp,
        };
        loader
            .variable("LoaderInfo")?
            .starts_with("systemd-boot")
            .then_some(loader)
    }

    fn variable_file(&self, name: &str) -> PathBuf {
        let directory = self.root.join("sys/firmware/efi/efivars");
        directory.join(format!("{name}-{VENDOR}"))
    }

    /// A variable of the loader: its text, or `None` if it is not set.
    fn variable(&self, name: &str) -> Option<String> {
        let bytes = fs::read(self.variable_file(name)).ok()?;
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

    fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        let directory = self.esp.join("loader/entries");
        let files = fs::read_dir(&directory)
            .with_context(|| format!("cannot list {}", directory.display()))?;
        let mut entries = Vec::new();
        for file in files {
            let path = file?.path();
            let Some(id) = path
                .file_name()
                .and_then(|name| name.to_str())
                .and_then(identity)
            else {
                continue;
            };
            let text = robot::read(&path).unwrap_or_default();
            let key = |name| {
                let rest = |line: &'_ str| Some(line.trim().strip_prefix(name)?.trim().to_owned());
                text.lines().find_map(rest)
            };
            let (stem, sort_key) = (
                path.file_stem().and_then(|stem| stem.to_str()),
                key("sort-key "),
            );
            let file = |line: &'_ str| {
                let (key, value) = line.trim().split_once([' ', '\t'])?;
                matches!(key, "linux" | "efi" | "uki" | "initrd" | "devicetree")
                    .then(|| value.trim().to_owned())
            };
            entries.push(Entry {
                id,
                files: text.lines().filter_map(file).collect(),
                spare: spare::is_spare(&text),
                system: text
                    .lines()
                    .filter_map(|line| line.trim().strip_prefix("options"))
                    .find_map(init_of),
                order: Order {
                    used_up: stem.is_some_and(|stem| {
                        counted(stem).is_some_and(|(_, left)| left.bytes().all(|b| b == b'0'))
                    }),
                    unsorted: sort_key.is_none(),
                    sort_key: sort_key.unwrap_or_default(),
                    machine_id: key("machine-id ").unwrap_or_default(),
                },
                path,
            });
        }
        entries.sort_by(|a, b| (&a.order, &a.path).cmp(&(&b.order, &b.path)));
        Ok(entries)
    }

    /// What it is told to start by default: the id of an entry, or a pattern for ids.
    fn pattern(&self) -> Option<String> {
        // A variable beats the file (systemd-boot(7)).
        self.variable("LoaderEntryDefault").or_else(|| {
            let text = robot::read(&self.esp.join("loader/loader.conf"))?;
            let value = text
                .lines()
                .filter_map(|line| line.trim().strip_prefix("default"))
                .find(|rest| rest.starts_with([' ', '\t']))?;
            Some(value.trim().to_owned())
        })
    }

    /// The entry that it starts by default, if that can be told: the first that its pattern speaks
    /// of, or else the first of all.
    fn chosen<'a>(&self, entries: &'a [Entry]) -> Option<&'a Entry> {
        let startable = || entries.iter().filter(|entry| entry.is_startable());
        let pattern = self.pattern();
        let meant = |entry: &&Entry| {
            let pattern = pattern.as_ref();
            pattern.is_some_and(|pattern| entry.matches(pattern))
        };
        let mut found: Vec<_> = startable().filter(meant).collect();
        if found.is_empty() {
            found = startable().collect();
        }
        let (first, others) = found.split_first()?;
        // Which of several it takes depends on its order of entries.
        others
            .iter()
            .take_while(|entry| entry.order == first.order)
            .all(|entry| entry.system == first.system)
            .then_some(*first)
    }

    /// What comes up when the default's entry is lost.
    fn has_spare(&self) -> Finding {
        let what = "spare entry";
        match self.spare() {
            Ok(entry) => Finding::ok(
                LOADER,
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
                LOADER,
                what,
                format!("should a power cut destroy the default's entry, {error:#}"),
                "the agent makes one whenever it starts; its journal says why it could not",
            ),
        }
    }

    /// What the loader says that it can do (the Boot Loader Interface, `LoaderFeatures`).
    fn features(&self) -> Option<u64> {
        let bytes = fs::read(self.variable_file("LoaderFeatures")).ok()?;
        Some(u64::from_le_bytes(bytes.get(4..12)?.try_into().ok()?))
    }

    fn one_shot_works(&self) -> Finding {
        let version = self.variable("LoaderInfo").unwrap_or_default();
        let what = "one-shot";
        match self.features() {
            None => Finding::warn(
                LOADER,
                what,
                format!("{version} does not say what it can do"),
                "update it: bootctl update",
            ),
            Some(features) if features & ONE_SHOT == 0 => Finding::fail(
                LOADER,
                what,
                format!("{version} cannot start an entry once"),
                "update it: bootctl update",
            ),
            Some(features) if features & COUNTING == 0 => Finding::warn(
                LOADER,
                what,
                format!(
                    "{version} does not count tries: a one-shot that the firmware lost cannot be \
                     told from a system that vanished without a trace"
                ),
                "update it: bootctl update",
            ),
            Some(_) => Finding::ok(
                LOADER,
                what,
                format!("{version} starts an entry once and counts its tries"),
            ),
        }
    }

    fn set_one_shot(id: &str) -> anyhow::Result<()> {
        run(program("bootctl").args(["set-oneshot", id]), &[0]).map(|_| ())
    }
}

/// Whether the firmware's variables can be written, by the table of mounts.
fn variables_writable(mounts: &str) -> Finding {
    let place = "/sys/firmware/efi/efivars";
    let writable = mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        words.next() == Some(place)
            && words
                .nth(1)
                .is_some_and(|options| options.split(',').any(|option| option == "rw"))
    });
    let what = "firmware's variables";
    if writable {
        Finding::ok(LOADER, what, format!("{place} can be written"))
    } else {
        Finding::fail(
            LOADER,
            what,
            format!(
                "{place} is not mounted read-write, so systemd-boot cannot be told to start a \
                 system once"
            ),
            format!("mount -o remount,rw {place}; some firmware allows no writing at run time"),
        )
    }
}

/// Whether the program is there that sets the one-shot.
fn bootctl() -> Finding {
    let found = systemd::PATH
        .split(':')
        .map(|directory| Path::new(directory).join("bootctl"))
        .find(|program| program.exists());
    match found {
        Some(program) => Finding::ok(LOADER, "bootctl", program.display().to_string()),
        None => Finding::fail(
            LOADER,
            "bootctl",
            "it is not there, and nothing else sets the one-shot",
            "it is part of systemd; on Debian of systemd-boot",
        ),
    }
}

/// The id of an entry's file: its name without the count of tries, `+LEFT[-DONE]`.
fn identity(name: &str) -> Option<String> {
    let stem = name.strip_suffix(".conf")?;
    Some(format!(
        "{}.conf",
        counted(stem).map_or(stem, |(before, _)| before)
    ))
}

/// What stands before a count of tries, and how many are left, if it has one.
fn counted(stem: &str) -> Option<(&str, &str)> {
    let (before, count) = stem.rsplit_once('+')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (left, done) = count.split_once('-').unwrap_or((count, "0"));
    (digits(left) && digits(done)).then_some((before, left))
}

/// Reads bytes as a boot sector, as the options and the name of an entry, and as a pattern for names.
#[cfg(feature = "fuzz")]
pub(super) fn fuzz(bytes: &[u8]) {
    fat::fuzz(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = init_of(text);
    let (pattern, name) = text.split_once('\n').unwrap_or((text, text));
    if let Some(id) = identity(name) {
        assert!(id.len() <= name.len());
        assert!(glob::matches("*", &id));
        let _ = glob::matches(pattern, &id);
    }
}

impl Loader for SystemdBoot {
    fn name(&self) -> &'static str {
        "systemd-boot"
    }

    fn default(&self) -> anyhow::Result<Option<StorePath>> {
        let entries = self.entries()?;
        Ok(self.chosen(&entries).and_then(|entry| entry.system.clone()))
    }

    fn is_secured(&self, anew: bool) -> bool {
        self.ailing().is_none() && self.plan(anew).is_ok_and(|plan| plan.is_empty())
    }

    fn secure(&self, anew: bool) -> anyhow::Result<()> {
        if let Some(ailing) = self.ailing() {
            ailing.heal()?;
        }
        self.plan(anew)?.carry_out()?;
        self.spare().map(|_| ())
    }

    fn check(&self) -> Vec<Finding> {
        vec![
            writable("boot partition", &self.esp),
            variables_writable(&robot::read(Path::new("/proc/self/mounts")).unwrap_or_default()),
            self.one_shot_works(),
            bootctl(),
            self.has_spare(),
        ]
    }

    fn kernels(&self) -> PathBuf {
        self.esp.join("EFI/nixos")
    }

    fn aim(&self, system: &StorePath, _previous: &StorePath) -> anyhow::Result<Mark> {
        let entry = self
            .entries()?
            .into_iter()
            .find(|entry| entry.system.as_ref() == Some(system) && !entry.spare)
            .with_context(|| format!("no boot entry has init={system}/init"))?;
        let before = entry.path.clone();
        let stem = before.file_stem().and_then(|stem| stem.to_str());
        let counting = match stem {
            Some(stem) if counted(stem).is_none() => {
                let counting = before.with_file_name(format!("{stem}+1.conf"));
                fs::rename(&before, &counting)
                    .with_context(|| format!("cannot rename {}", before.display()))?;
                sync_parent(&counting)?;
                counting
            }
            // It is counted already.
            _ => before.clone(),
        };
        nix::unistd::sync();
        Self::set_one_shot(&entry.id)?;
        match self.variable("LoaderEntryOneShot") {
            Some(id) if id == entry.id => {}
            found => bail!(
                "the firmware did not keep the one-shot: it says {found:?} instead of {:?}",
                entry.id
            ),
        }
        Ok(Mark {
            entry: Some(counting),
            before: Some(before),
            default: None,
        })
    }

    fn started(&self, mark: &Mark) -> Option<bool> {
        let aimed = mark.entry.as_ref()?;
        // The loader counts the try down by renaming the entry.
        Some(!aimed.exists())
    }

    fn forget(&self, mark: Option<&Mark>) -> anyhow::Result<()> {
        if self.variable("LoaderEntryOneShot").is_some() {
            Self::set_one_shot("")?;
        }
        let Some(before) = mark.and_then(|mark| mark.before.as_ref()) else {
            return Ok(());
        };
        let Some(id) = before.file_name().and_then(|name| identity(name.to_str()?)) else {
            return Ok(());
        };
        for entry in self.entries()? {
            if entry.id != id || entry.path == *before {
                continue;
            }
            if before.exists() {
                fs::remove_file(&entry.path)?;
            } else {
                fs::rename(&entry.path, before)?;
            }
            sync_parent(before)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_api::finding::Level;

    fn system(c: char) -> StorePath {
        StorePath::from_base_name(&format!("{}-nixos-system-{c}", c.to_string().repeat(32)))
            .unwrap()
    }

    /// A root with a boot partition that has these entries.
    fn robot(entries: &[(&str, char)], default: &str) -> (tempfile::TempDir, SystemdBoot) {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("boot/loader/entries");
        fs::create_dir_all(&directory).unwrap();
        for (name, c) in entries {
            let store = root.path().join(&system(*c).to_string()[1..]);
            fs::create_dir_all(store).unwrap();
            fs::write(root.path().join("boot/kernel"), "a kernel").unwrap();
            let text = format!(
                "title NixOS\nlinux /kernel\noptions init={}/init quiet\nsort-key nixos\n",
                system(*c)
            );
            fs::write(directory.join(name), text).unwrap();
        }
        let text = format!("timeout 0\ndefault {default}\n");
        fs::write(root.path().join("boot/loader/loader.conf"), text).unwrap();
        let variables = root.path().join("sys/firmware/efi/efivars");
        fs::create_dir_all(&variables).unwrap();
        set(root.path(), "LoaderInfo", "systemd-boot 257.13");
        let loader = SystemdBoot::find(root.path()).unwrap();
        (root, loader)
    }

    fn set(root: &Path, name: &str, text: &str) {
        let mut bytes = vec![7, 0, 0, 0];
        bytes.extend(text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        let variables = root.join("sys/firmware/efi/efivars");
        fs::write(variables.join(format!("{name}-{VENDOR}")), bytes).unwrap();
    }

    #[test]
    fn entries_are_found_by_what_they_start_whatever_their_names() {
        for names in [
            ["nixos-generation-1.conf", "nixos-generation-2.conf"],
            ["nixos-0aaa.conf", "nixos-0bbb+3.conf"],
            ["nixos-generation-1+2-1.conf", "nixos-generation-2+0-3.conf"],
        ] {
            let id = identity(names[0]).unwrap();
            let (_root, loader) = robot(&[(names[0], 'a'), (names[1], 'b')], &id);
            assert_eq!(loader.default().unwrap(), Some(system('a')), "{names:?}");
        }
    }

    #[test]
    fn a_default_may_be_a_pattern_or_a_variable() {
        let entries = [
            ("nixos-generation-1.conf", 'a'),
            ("nixos-generation-2.conf", 'b'),
        ];
        let (root, loader) = robot(&entries, "nixos-generation-2*");
        assert_eq!(loader.default().unwrap(), Some(system('b')));
        set(root.path(), "LoaderEntryDefault", "nixos-generation-1.conf");
        assert_eq!(loader.default().unwrap(), Some(system('a')));
        // The default's entry has a sort key of its own where entries are counted.
        let (root, loader) = robot(&entries, "nixos-generation-*");
        for (name, key) in [("1", "nixor-default"), ("2", "nixos")] {
            let path = root
                .path()
                .join(format!("boot/loader/entries/nixos-generation-{name}.conf"));
            let text = fs::read_to_string(&path).unwrap();
            fs::write(
                path,
                text.replace("sort-key nixos", &format!("sort-key {key}")),
            )
            .unwrap();
        }
        assert_eq!(loader.default().unwrap(), Some(system('a')));
        let path = root
            .path()
            .join("boot/loader/entries/nixos-generation-1.conf");
        fs::rename(&path, path.with_file_name("nixos-generation-1+0-1.conf")).unwrap();
        assert_eq!(loader.default().unwrap(), Some(system('b')));
        // Which of the two it takes cannot be told.
        let (_root, loader) = robot(&entries, "nixos-*");
        assert_eq!(loader.default().unwrap(), None);
    }

    #[test]
    fn counts_of_tries_are_no_part_of_the_name() {
        assert_eq!(identity("a+3.conf").unwrap(), "a.conf");
        assert_eq!(identity("a+0-3.conf").unwrap(), "a.conf");
        assert_eq!(identity("a+b.conf").unwrap(), "a+b.conf");
        assert_eq!(identity("a.conf").unwrap(), "a.conf");
        assert_eq!(identity("a.efi"), None);
    }

    #[test]
    fn a_counted_try_tells_a_start_from_a_lost_one_shot() {
        let (root, loader) = robot(&[("nixos-generation-2+1.conf", 'b')], "x");
        let entries = root.path().join("boot/loader/entries");
        let mark = Mark {
            entry: Some(entries.join("nixos-generation-2+1.conf")),
            before: Some(entries.join("nixos-generation-2.conf")),
            default: None,
        };
        assert_eq!(loader.started(&mark), Some(false));
        fs::rename(
            entries.join("nixos-generation-2+1.conf"),
            entries.join("nixos-generation-2+0-1.conf"),
        )
        .unwrap();
        assert_eq!(loader.started(&mark), Some(true));
        loader.forget(Some(&mark)).unwrap();
        assert!(entries.join("nixos-generation-2.conf").exists());
        assert!(!entries.join("nixos-generation-2+0-1.conf").exists());
    }

    #[test]
    fn what_keeps_a_boot_on_trial_from_working_is_told_before() {
        let (root, loader) = robot(&[], "x");
        assert_eq!(loader.one_shot_works().level, Level::Warn);
        let variables = root.path().join("sys/firmware/efi/efivars");
        for (features, level) in [
            (ONE_SHOT | COUNTING, Level::Ok),
            (ONE_SHOT, Level::Warn),
            (COUNTING, Level::Fail),
        ] {
            let mut bytes = vec![6, 0, 0, 0];
            bytes.extend(features.to_le_bytes());
            fs::write(variables.join(format!("LoaderFeatures-{VENDOR}")), bytes).unwrap();
            assert_eq!(loader.one_shot_works().level, level);
        }

        let line =
            |options: &str| format!("efivarfs /sys/firmware/efi/efivars efivarfs {options} 0 0\n");
        assert_eq!(variables_writable(&line("rw,nosuid")).level, Level::Ok);
        assert_eq!(variables_writable(&line("ro,nosuid")).level, Level::Fail);
        assert_eq!(variables_writable("").level, Level::Fail);
    }

    /// The names of all entries, in order.
    fn names(loader: &SystemdBoot) -> Vec<String> {
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut names: Vec<_> = fs::read_dir(loader.esp.join("loader/entries"))
            .unwrap()
            .map(|file| name(&file.unwrap().path()))
            .collect();
        names.sort();
        names
    }

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
            let (root, loader) = robot(&[(old, 'a'), (new, 'b')], default);
            let entries = root.path().join("boot/loader/entries");
            let text = fs::read_to_string(entries.join(old)).unwrap();
            let keyed = text.replace("sort-key nixos", &format!("sort-key {key}"));
            fs::write(entries.join(old), &keyed).unwrap();
            assert_eq!(loader.default().unwrap(), Some(system('a')), "{default}");
            assert!(!loader.is_secured(false));
            assert_eq!(loader.has_spare().level, Level::Warn);
            loader.secure(false).unwrap();
            assert!(loader.is_secured(false) && loader.is_secured(true));
            assert_eq!(loader.has_spare().level, Level::Ok);
            assert!(entries.join(spare).exists(), "{:?}", names(&loader));
            // It changes nothing as long as all is well.
            assert_eq!(loader.default().unwrap(), Some(system('a')), "{default}");

            // The default's entry is lost, and others with it: what is empty is taken away.
            for lost in [old, new] {
                fs::write(entries.join(lost), "").unwrap();
                assert_eq!(loader.default().unwrap(), Some(system('a')), "{default}");
                loader.secure(false).unwrap();
                assert!(!entries.join(lost).exists());
                assert_eq!(loader.default().unwrap(), Some(system('a')), "{default}");
            }
            // With only that left there is nothing to renew it from.
            loader.secure(true).unwrap();
            assert_eq!(names(&loader), [spare]);
        }
    }

    #[test]
    fn a_spare_entry_follows_the_default_only_when_told() {
        let names_of = ["nixos-generation-1.conf", "nixos-generation-2.conf"];
        let (root, loader) = robot(&[(names_of[0], 'a'), (names_of[1], 'b')], names_of[0]);
        loader.secure(true).unwrap();
        let conf = root.path().join("boot/loader/loader.conf");
        fs::write(&conf, format!("default {}\n", names_of[1])).unwrap();
        assert!(loader.is_secured(false) && !loader.is_secured(true));
        assert_eq!(loader.spare().unwrap().system, Some(system('a')));
        loader.secure(true).unwrap();
        assert_eq!(loader.spare().unwrap().system, Some(system('b')));
        // Never aimed at.
        let spare = loader.entries().unwrap().into_iter().find(|e| e.spare);
        assert_eq!(spare.unwrap().system, Some(system('b')));

        // A default that has become a pattern: one under another name takes its place.
        fs::write(&conf, "default nixos-generation-2*\n").unwrap();
        loader.secure(true).unwrap();
        assert_eq!(
            names(&loader),
            [
                "nixos-generation-1.conf",
                "nixos-generation-2.conf",
                "nixos-generation-20.conf"
            ]
        );
    }

    #[test]
    fn a_spare_entry_without_its_kernel_or_its_system_is_made_anew() {
        let (root, loader) = robot(
            &[("nixos-generation-1.conf", 'a')],
            "nixos-generation-1.conf",
        );
        loader.secure(false).unwrap();
        fs::write(root.path().join("boot/other"), "a kernel").unwrap();
        let entry = root
            .path()
            .join("boot/loader/entries/nixos-generation-1.conf");
        let text = fs::read_to_string(&entry).unwrap();
        fs::write(&entry, text.replace("/kernel", "/other")).unwrap();
        assert!(loader.is_secured(false));
        fs::write(root.path().join("boot/kernel"), "").unwrap();
        assert!(!loader.is_secured(false));
        loader.secure(false).unwrap();
        assert_eq!(loader.spare().unwrap().files, ["/other"]);
        fs::remove_dir(root.path().join(&system('a').to_string()[1..])).unwrap();
        assert!(loader.secure(false).is_err());
    }

    #[test]
    fn what_the_installer_would_trip_over_is_taken_away() {
        let (root, loader) = robot(
            &[("nixos-generation-1.conf", 'a')],
            "nixos-generation-1.conf",
        );
        loader.secure(false).unwrap();
        let boot = root.path().join("boot/loader");
        for left in [
            "loader.conf.tmp",
            "loader.tmp",
            "entries/nixos-generation-2.tmp",
            "entries/nixos-generation-2.conf.tmp",
            "entries/nixos-generation-2.conf",
        ] {
            fs::write(boot.join(left), "title").unwrap();
            assert!(!loader.is_secured(false), "{left}");
            loader.secure(false).unwrap();
            assert!(!boot.join(left).exists(), "{left}");
        }
        // Others' are left.
        fs::write(boot.join("entries/memtest.conf"), "").unwrap();
        loader.secure(false).unwrap();
        assert!(boot.join("entries/memtest.conf").exists());
    }

    #[test]
    fn without_its_variable_it_is_not_there() {
        let (root, _) = robot(&[], "x");
        set(root.path(), "LoaderInfo", "GRUB");
        assert!(SystemdBoot::find(root.path()).is_none());
    }
}
