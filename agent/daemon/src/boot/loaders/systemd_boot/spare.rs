//! The spare entry: one more for the system that starts by default, which NixOS never touches.
//!
//! NixOS' installer writes every entry anew each time, the default's too, and FAT has no journal: a
//! power cut just then may leave the default's entry empty. The loader takes the spare one then.
//! It is written whole and flushed while the default's entry rests.

use super::{
    copies::{self, Copy},
    entry::{Entry, Named, SPARE},
    menu::Menu,
};
use crate::robot;
use anyhow::{Context as _, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
};
use surefoot_api::finding::{Finding, Subject};

/// Its name, where the default is not a pattern that it has to match.
pub(super) const NAME: &str = "surefoot.conf";

/// What is to be done to the spare entry.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    /// Copies of what it starts, to be made first.
    pub(super) copies: Vec<Copy>,
    /// What to write if they cannot be made: it starts what the default's entry does. `None` where a spare
    /// entry with whole files of its own is there, which is better than that.
    pub(super) without: Option<(PathBuf, String)>,
    /// Its file and content, unless it is as it has to be.
    pub(super) write: Option<(PathBuf, String)>,
    /// Those that it takes the place of.
    pub(super) stale: Vec<PathBuf>,
    /// Files of its own that it needs no longer, once it is written.
    pub(super) unused: Vec<PathBuf>,
}

/// What has to be done to have a spare entry. With `anew`, it has to start what starts by default
/// now; without, it may start whatever it does.
pub(super) fn renewal(menu: &Menu, entries: &[Entry], anew: bool) -> Renewal {
    let Some(Wanted { path, text, copies }) = wanted(menu, entries) else {
        return Renewal::default();
    };
    let copies = if copies::room(&menu.boot, &copies).is_ok() {
        copies
    } else {
        Vec::new()
    };
    let own = !copies.is_empty();
    // Under another name it is not what the loader takes next.
    let good =
        |entry: &Entry| entry.path == path && is_good(menu, entry) && (has_its_own(entry) || !own);
    if !anew && entries.iter().any(good) {
        return Renewal::default();
    }
    let stale = (entries.iter())
        .filter(|entry| entry.spare && entry.path != path)
        .map(|entry| entry.path.clone());
    let stale = stale.collect();
    let unused = copies::unused(&menu.boot, &copies);
    let there = |entry: &Entry| entry.path == path && is_good(menu, entry) && has_its_own(entry);
    let keeps = entries.iter().any(there);
    let text_of = |copies: &[Copy]| {
        let replaced = |text: String, copy: &Copy| {
            let name = |path: &Path| {
                let path = path.strip_prefix(&menu.boot).unwrap_or(path);
                format!(" /{}\n", path.display())
            };
            text.replace(&name(&copy.source), &name(&copy.target))
        };
        copies.iter().fold(text.clone(), replaced)
    };
    let with = text_of(&copies);
    Renewal {
        stale,
        unused,
        write: (robot::read(&path).as_ref() != Some(&with)).then(|| (path.clone(), with)),
        without: (own && !keeps).then_some((path, text)),
        copies: (copies.into_iter())
            .filter(|copy| !copy.is_there())
            .collect(),
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
        Ok(entry) if !has_its_own(&entry) => Finding::warn(
            Subject::Loader,
            what,
            format!(
                "{} starts the kernel and the initrd of the default's entry, which NixOS' installer may write \
                 anew: {}",
                entry.path.display(),
                no_copies(menu)
            ),
            "a larger boot partition, or fewer generations",
        ),
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

/// Why the spare entry has no copies of its own.
fn no_copies(menu: &Menu) -> String {
    let room = menu.entries().and_then(|entries| {
        let wanted = wanted(menu, &entries).context("the default's entry is lost")?;
        copies::room(&menu.boot, &wanted.copies)
    });
    room.map_or_else(
        |error| format!("{error:#}"),
        |()| "copies are made at the next commit".to_owned(),
    )
}

/// Whether an entry is a spare one with all that it starts.
fn is_good(menu: &Menu, entry: &Entry) -> bool {
    let there = |file: &Named| fs::metadata(entry.locate(file)).is_ok_and(|m| m.len() > 0);
    let system = entry.system.as_ref().map(ToString::to_string);
    entry.spare
        && entry.is_startable()
        && entry.files.iter().all(there)
        && system.is_some_and(|path| menu.root.join(&path[1..]).exists())
}

/// Whether what an entry starts is its own, and no installer of NixOS touches it.
fn has_its_own(entry: &Entry) -> bool {
    let own = |file: &Named| {
        file.path
            .trim_start_matches('/')
            .starts_with(copies::DIRECTORY)
    };
    entry.files.iter().all(own)
}

/// The spare entry as it has to be.
struct Wanted {
    path: PathBuf,
    /// With what the default's entry starts.
    text: String,
    /// Of that.
    copies: Vec<Copy>,
}

/// The copies that the spare entry of this one starts.
fn copies_of(menu: &Menu, entry: &Entry) -> Vec<Copy> {
    let system = entry.system.as_ref().map(ToString::to_string);
    let part = |name: &str| Some(menu.root.join(system.as_ref()?.get(1..)?).join(name));
    // What follows the first initrd is not part of the system.
    let first = entry.files.iter().find(|file| file.key == "initrd");
    let copy = |file: &Named| {
        let source = entry.locate(file);
        let original = match file.key.as_str() {
            "linux" => part("kernel"),
            "initrd" if first == Some(file) => part("initrd"),
            _ => None,
        };
        Some(Copy {
            target: menu.boot.join(copies::DIRECTORY).join(source.file_name()?),
            original: original.filter(|original| original.exists()),
            source,
        })
    };
    entry.files.iter().filter_map(copy).collect()
}

/// The spare entry as it has to be: as the default's, sorted right behind it. `None` if the default's own
/// entry is lost, or cannot be told.
fn wanted(menu: &Menu, entries: &[Entry]) -> Option<Wanted> {
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
    // Elsewhere there are no kernels of NixOS.
    let copies = if default.partition() == menu.boot {
        copies_of(menu, default)
    } else {
        Vec::new()
    };
    Some(Wanted {
        path: default.partition().join("loader/entries").join(name),
        text,
        copies,
    })
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
