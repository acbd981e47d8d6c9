//! systemd-boot: entries are files on the boot partition, the one-shot is a variable of the
//! firmware (systemd-boot(7), the Boot Loader Interface).
//!
//! Entries are found by the `init=` of their options, never by their names, which differ between
//! versions of NixOS.

mod checks;
mod copies;
mod entry;
mod fat;
mod heal;
mod leftovers;
mod menu;
mod one_shot;
mod secure;
mod spare;
#[cfg(test)]
mod tests;
mod variables;

use crate::boot::loader::{Known, Loader, OneShot};
use heal::Ailing;
use menu::Menu;
use one_shot::Mark;
use std::{cmp::Reverse, path::PathBuf};
use surefoot_api::finding::Finding;
use surefoot_core::StorePath;

/// How it is found.
pub(super) const KNOWN: Known = Known {
    name: "systemd-boot",
    absent: "it did not start this robot, or its partition is not mounted at /boot, /efi or \
             /boot/efi",
    find: |root| Menu::find(root).map(|menu| Box::new(SystemdBoot(menu)) as _),
};

/// systemd-boot on a boot partition.
#[derive(Debug)]
struct SystemdBoot(Menu);

impl Loader for SystemdBoot {
    fn name(&self) -> &'static str {
        KNOWN.name
    }

    fn default(&self) -> anyhow::Result<Option<StorePath>> {
        self.0.default()
    }

    fn check(&self) -> Vec<Finding> {
        checks::findings(&self.0)
    }

    fn spares(&self) -> Vec<StorePath> {
        let entries = self.0.entries().unwrap_or_default().into_iter();
        let spares = entries.filter(|entry| entry.spare);
        spares.filter_map(|entry| entry.system).collect()
    }

    fn frees_first(&self) -> bool {
        // nixpkgs, systemd-boot-builder.py: `remove_old_entries`.
        true
    }

    fn kernels(&self) -> PathBuf {
        self.0.boot.join("EFI/nixos")
    }

    fn is_secured(&self, anew: bool) -> bool {
        ailing(&self.0).next().is_none() && secure::is_secured(&self.0, anew)
    }

    fn secure(&self, anew: bool) -> anyhow::Result<()> {
        for ailing in ailing(&self.0) {
            ailing.heal()?;
        }
        secure::secure(&self.0, anew)
    }
}

/// Its partitions that have become read-only. One that is mounted within another comes first.
fn ailing(menu: &Menu) -> impl Iterator<Item = Ailing> {
    let mut partitions: Vec<_> = menu.partitions().collect();
    partitions.sort_by_key(|mount| Reverse(mount.as_os_str().len()));
    partitions.into_iter().filter_map(heal::ailing)
}

impl OneShot for SystemdBoot {
    type Mark = Mark;

    fn aim(&self, system: &StorePath, _previous: &StorePath) -> anyhow::Result<Mark> {
        one_shot::aim(&self.0, system)
    }

    fn started(&self, mark: &Mark) -> Option<bool> {
        Some(one_shot::started(mark))
    }

    fn take_back(&self, mark: Option<&Mark>) -> anyhow::Result<()> {
        one_shot::take_back(&self.0, mark)
    }

    fn put_right(&self, mark: &Mark) -> anyhow::Result<()> {
        one_shot::put_right(&self.0, mark)
    }
}

/// Reads bytes as a boot sector, as the options and the name of an entry, and as a pattern for names.
#[cfg(feature = "fuzz")]
pub(super) fn fuzz(bytes: &[u8]) {
    use crate::boot::loader::init_of;
    use surefoot_base::glob;

    fat::fuzz(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let _ = init_of(text);
    let (pattern, name) = text.split_once('\n').unwrap_or((text, text));
    if let Some(id) = entry::identity(name) {
        assert!(id.len() <= name.len());
        assert!(glob::matches("*", &id));
        let _ = glob::matches(pattern, &id);
    }
}
