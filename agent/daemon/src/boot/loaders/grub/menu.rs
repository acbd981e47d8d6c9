//! GRUB's menu, `grub.cfg`, as NixOS writes it (nixpkgs, `install-grub.pl`).

use crate::boot::loader::init_of;
use anyhow::{bail, ensure};
use surefoot_core::StorePath;

/// An entry of a menu.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its title, with those of the submenus that it is in: `A>B`.
    pub(super) title: String,
    pub(super) system: Option<StorePath>,
}

/// The entries of a menu, in its order.
pub(super) fn entries(menu: &str) -> Vec<Entry> {
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

/// The system that a menu starts without a one-shot, if that can be told.
pub(super) fn default(menu: &str) -> Option<StorePath> {
    // The last one stands in the branch without a one-shot.
    let default = menu
        .lines()
        .filter_map(|line| line.trim().strip_prefix("set default="))
        .map(|value| value.trim_matches('"'))
        .rfind(|value| *value != "${next_entry}");
    let Some(Ok(index)) = default.map(str::parse::<usize>) else {
        return None; // "saved": whatever was started last
    };
    // Entries in submenus do not count; the submenu itself does, and is not a system.
    let top = entries(menu)
        .into_iter()
        .filter(|entry| !entry.title.contains('>'))
        .nth(index);
    top.and_then(|entry| entry.system)
}

/// Whether a menu takes the one-shot, and forgets it before it starts anything.
pub(super) fn clears_one_shot(menu: &str) -> anyhow::Result<String> {
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

/// Whether a menu goes on with its default when an entry cannot be loaded: GRUB manual, "fallback".
pub(super) fn falls_back(menu: &str) -> anyhow::Result<String> {
    // Not exported: in a submenu the number would mean another entry.
    let fallback = menu
        .lines()
        .find_map(|line| line.trim().strip_prefix("set fallback="));
    match fallback {
        Some(entry) => Ok(format!("it goes on with entry {entry}")),
        None => bail!("it waits in its menu for a hand"),
    }
}
