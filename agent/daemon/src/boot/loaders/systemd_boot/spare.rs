//! The spare entry: one more for the system that starts by default, which NixOS never touches.
//!
//! NixOS' installer writes every entry anew each time, the default's too, and FAT has no journal: a
//! power cut just then may leave the default's entry empty. The loader takes the spare one then.
//! It is written whole and flushed while the default's entry rests.

use super::{
    entry::{Entry, SPARE},
    menu::Menu,
};
use crate::robot;
use anyhow::{Context as _, ensure};
use std::{fs, path::PathBuf};
use surefoot_api::finding::{Finding, Subject};

/// Its name, where the default is not a pattern that it has to match.
pub(super) const NAME: &str = "surefoot.conf";

/// What is to be done to the spare entry.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    /// Its file and content, unless it is as it has to be.
    pub(super) write: Option<(PathBuf, String)>,
    /// Those that it takes the place of.
    pub(super) stale: Vec<PathBuf>,
}

/// What has to be done to have a spare entry. With `anew`, it has to start what starts by default
/// now; without, it may start whatever it does.
pub(super) fn renewal(menu: &Menu, entries: &[Entry], anew: bool) -> Renewal {
    let Some((path, text)) = wanted(menu, entries) else {
        return Renewal::default();
    };
    // Under another name it is not what the loader takes next.
    let good = |entry: &Entry| entry.path == path && is_good(menu, entry);
    if !anew && entries.iter().any(good) {
        return Renewal::default();
    }
    let stale = entries
        .iter()
        .filter(|entry| entry.spare && entry.path != path);
    Renewal {
        stale: stale.map(|entry| entry.path.clone()).collect(),
        write: (robot::read(&path).as_ref() != Some(&text)).then_some((path, text)),
    }
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
        fs::metadata(entry.partition().join(path.trim_start_matches('/')))
            .is_ok_and(|m| m.len() > 0)
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
    // What the loader goes by once the default's entry is lost.
    let wish = (menu.wishes().into_iter()).find(|wish| wish.pattern.contains('*'));
    let name = wish
        .as_ref()
        .map_or_else(|| NAME.to_owned(), |wish| name(&wish.pattern));
    let may_be_taken = |entry: &&Entry| wish.as_ref().is_none_or(|wish| wish.takes(entry));
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
    Some((default.partition().join("loader/entries").join(name), text))
}

/// A name that a pattern takes in, and that no builder of NixOS clears away (nixpkgs,
/// `systemd-boot-builder.py`): up to 25.11 it collects `nixos*-generation-N*.conf` with a number, from
/// 26.11 on `nixos-.+\.conf`, in small letters. The loader knows no case.
fn name(pattern: &str) -> String {
    let name = pattern.replace('*', "surefoot");
    let name = name.strip_suffix(".conf").unwrap_or(&name);
    let mut letters = name.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    format!("{}{}.conf", first.unwrap_or_default(), letters.as_str())
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
