//! The roots that keep the agent's systems from the garbage collector.

use anyhow::Context as _;
use std::{collections::BTreeMap, fs, path::Path};
use surefoot_base::file;
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
        file::make_dirs(dir)?;
        for (name, system) in roots {
            file::replace_symlink(&dir.join(name), Path::new(&system.to_string()))?;
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
}
