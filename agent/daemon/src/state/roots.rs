//! The roots that keep the agent's systems from the garbage collector.

use crate::robot::profile;
use anyhow::Context as _;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use surefoot_base::file;
use surefoot_core::{StorePath, machine::state::Generation};

/// Where the roots lie: Nix follows every link below `/nix/var/nix/gcroots` (Nix manual,
/// "Garbage Collector Roots").
pub(crate) const DIR: &str = "/nix/var/nix/gcroots/surefoot";

/// Systems that are taken from roots and generations where the journal was lost.
const MAX_REMEMBERED: usize = 8;

/// Whether a journal had roots here: its confirmed system has one from the first start on.
pub(crate) fn any(dir: &Path) -> bool {
    fs::symlink_metadata(dir.join("confirmed")).is_ok()
}

/// What the roots in `dir` and the generations of the profile know of fallbacks after the journal
/// was lost, the best one first. What was only being brought in or tried (`next`) or somebody keeps is
/// none by that.
pub(crate) fn remembered(dir: &Path, profiles: &Path) -> Vec<Generation> {
    let none = |name: &str| {
        name == "next" || name.starts_with("kept-") || name.starts_with(file::TEMPORARY)
    };
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut rooted: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !none(name))
        .collect();
    // "confirmed", "fallback-1", …, "previous": by what they are, and then by number.
    rooted.sort_by_key(|name| (name.len(), name.clone()));
    rooted.sort_by_key(|name| name != "confirmed");
    let rooted = rooted.into_iter().filter_map(|name| {
        let system = fs::read_link(dir.join(name)).ok()?;
        system.to_str()?.parse::<StorePath>().ok()
    });
    let generations = profile::links(profiles).into_iter().rev();
    let mut found: Vec<Generation> = Vec::new();
    for system in rooted.chain(generations.map(|link| link.system)) {
        if found.len() < MAX_REMEMBERED && found.iter().all(|known| known.system != system) {
            found.push(Generation {
                system,
                release: None,
                since: None,
            });
        }
    }
    found
}

/// Makes the roots in `dir` exactly these: new ones first, so that nothing is ever without one.
///
/// Where a root cannot be made for a system that has one by another name (the fallback that a way back
/// leads to, say), that one does: then none is taken away either.
///
/// # Errors
/// The disk says no.
pub(crate) fn set(dir: &Path, roots: &BTreeMap<String, StorePath>) -> anyhow::Result<()> {
    let work = || -> std::io::Result<()> {
        file::make_dirs(dir)?;
        let there: Vec<PathBuf> = fs::read_dir(dir)?
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .collect();
        let mut all = true;
        for (name, system) in roots {
            let system = PathBuf::from(system.to_string());
            match file::replace_symlink(&dir.join(name), &system) {
                Err(_) if there.contains(&system) => all = false,
                made => made?,
            }
        }
        if !all {
            return Ok(());
        }
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let known = entry
                .file_name()
                .to_str()
                .is_some_and(|name| roots.contains_key(name));
            if !known {
                fs::remove_file(entry.path())?;
            }
        }
        file::sync_dir(dir)
    };
    work().with_context(|| format!("cannot root the systems in {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(c: char) -> StorePath {
        StorePath::from_base_name(&format!("{}-s", c.to_string().repeat(32))).unwrap()
    }

    #[test]
    fn roots_are_exactly_what_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("roots");
        let wanted = |names: &[(&str, char)]| -> BTreeMap<String, StorePath> {
            names
                .iter()
                .map(|(name, c)| ((*name).to_owned(), system(*c)))
                .collect()
        };
        let there = || -> BTreeMap<String, StorePath> {
            fs::read_dir(&dir)
                .unwrap()
                .map(|entry| {
                    let entry = entry.unwrap();
                    let target = fs::read_link(entry.path()).unwrap();
                    (
                        entry.file_name().into_string().unwrap(),
                        target.to_str().unwrap().parse().unwrap(),
                    )
                })
                .collect()
        };
        for roots in [
            wanted(&[("confirmed", 'a'), ("next", 'b')]),
            wanted(&[("confirmed", 'b'), ("fallback-1", 'a')]),
            wanted(&[("confirmed", 'b')]),
        ] {
            set(&dir, &roots).unwrap();
            assert_eq!(there(), roots);
        }
    }

    #[test]
    fn a_root_that_cannot_be_made_is_not_needed_where_another_keeps_its_system() {
        let dir = tempfile::tempdir().unwrap();
        let wanted = |next: char| -> BTreeMap<String, StorePath> {
            [("confirmed", 'b'), ("next", next)]
                .map(|(name, c)| (name.to_owned(), system(c)))
                .into()
        };
        let old = [("confirmed", 'b'), ("fallback-1", 'a')];
        let old = old.map(|(name, c)| (name.to_owned(), system(c))).into();
        set(dir.path(), &old).unwrap();
        // Something that is in the way, as a full disk is.
        fs::create_dir(dir.path().join("next")).unwrap();
        set(dir.path(), &wanted('a')).unwrap();
        assert!(dir.path().join("fallback-1").is_symlink());
        set(dir.path(), &wanted('c')).unwrap_err();
    }

    #[test]
    fn fallbacks_are_remembered_by_roots_and_generations() {
        let dir = tempfile::tempdir().unwrap();
        let (roots, profiles) = (dir.path().join("roots"), dir.path().join("profiles"));
        assert!(!any(&roots));
        assert_eq!(remembered(&roots, &profiles), []);
        let rooted = [
            ("next", 'x'),
            ("previous", 'a'),
            ("fallback-1", 'b'),
            ("confirmed", 'a'),
        ];
        let rooted = rooted.map(|(name, c)| (name.to_owned(), system(c)));
        set(&roots, &rooted.into()).unwrap();
        fs::create_dir(&profiles).unwrap();
        for (number, c) in [(9, 'b'), (10, 'c'), (8, 'd')] {
            let link = profiles.join(format!("system-{number}-link"));
            file::replace_symlink(&link, Path::new(&system(c).to_string())).unwrap();
        }
        file::replace_symlink(&profiles.join("system"), Path::new("system-10-link")).unwrap();
        assert!(any(&roots));
        let found = remembered(&roots, &profiles);
        let found: Vec<_> = found
            .into_iter()
            .map(|generation| generation.system)
            .collect();
        assert_eq!(found, ['a', 'b', 'c', 'd'].map(system));
    }
}
