//! The roots that keep the agent's systems from the garbage collector.

use anyhow::Context as _;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};
use surefoot_core::StorePath;

/// Where the roots lie: Nix follows every link below `/nix/var/nix/gcroots` (Nix manual,
/// "Garbage Collector Roots").
pub(crate) const DIR: &str = "/nix/var/nix/gcroots/surefoot";

/// Makes the roots in `dir` exactly these: new ones first, so that nothing is ever without one.
///
/// # Errors
/// The disk says no.
pub(crate) fn set(dir: &Path, roots: &BTreeMap<String, StorePath>) -> anyhow::Result<()> {
    let work = || -> std::io::Result<()> {
        fs::create_dir_all(dir)?;
        for (name, system) in roots {
            let (link, target) = (dir.join(name), PathBuf::from(system.to_string()));
            if fs::read_link(&link).is_ok_and(|there| there == target) {
                continue;
            }
            let new = dir.join(format!(".{name}.new"));
            match fs::remove_file(&new) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => symlink(&target, &new)?,
            }
            fs::rename(&new, &link)?;
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
        File::open(dir)?.sync_all()
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
}
