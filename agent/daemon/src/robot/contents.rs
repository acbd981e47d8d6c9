//! What a system consists of, as far as its files tell.

use crate::robot;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::Path,
};
use surefoot_base::file;
use surefoot_core::{StorePath, comparison::Contents, package};

/// Files and directories of `/etc` that are looked at, and how deep they may lie: nobody can keep the agent
/// busy with a system that has more.
const MAX_FILES: usize = 20_000;
const MAX_DEPTH: usize = 16;

/// Files above this size are told apart by where they lie alone, bytes.
const MAX_FILE: u64 = 1 << 20;

/// Below `/etc`, where the units of systemd lie.
const UNITS: &str = "systemd/system";

/// Versions and kernel parameters.
pub(crate) fn brief(system: &StorePath) -> Contents {
    let toplevel = system.to_string();
    let toplevel = Path::new(&toplevel);
    let text = |name: &str| robot::read(&toplevel.join(name));
    Contents {
        nixos: text("nixos-version").map(|version| version.trim().to_owned()),
        kernel: kernel(toplevel),
        params: (text("kernel-params").iter())
            .flat_map(|params| params.split_whitespace())
            .map(str::to_owned)
            .collect(),
        ..Contents::default()
    }
}

/// The same with units and the files of `/etc`.
pub(crate) fn whole(system: &StorePath) -> Contents {
    let etc = Path::new(&system.to_string()).join("etc");
    let units = files(&etc.join(UNITS), &BTreeSet::new());
    Contents {
        units,
        etc: files(&etc, &BTreeSet::from([UNITS])),
        ..brief(system)
    }
}

/// Whether a system has an agent.
pub(crate) fn has_agent(system: &StorePath) -> bool {
    let unit = Path::new(&system.to_string()).join("etc/systemd/system/surefootd.service");
    file::exists(&unit).unwrap_or(false)
}

/// The version of the kernel: as its modules know it, or else as its store path does.
fn kernel(toplevel: &Path) -> Option<String> {
    let modules = fs::read_dir(toplevel.join("kernel-modules/lib/modules"));
    let modules = modules.into_iter().flatten().flatten();
    let mut names: Vec<String> = modules
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names.into_iter().next().or_else(|| {
        let image = fs::canonicalize(toplevel.join("kernel")).ok()?;
        let path = StorePath::containing(&image).ok()?;
        let (_, version) = package::split(path.name());
        (!version.is_empty()).then(|| version.to_owned())
    })
}

/// The files below a directory by path, each with something that is another where its content is.
fn files(root: &Path, without: &BTreeSet<&str>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let Ok(root) = fs::canonicalize(root) else {
        return found;
    };
    let mut left = vec![(root, String::new(), 0)];
    while let Some((dir, prefix, depth)) = left.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if found.len() + left.len() >= MAX_FILES {
                return found;
            }
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let name = format!("{prefix}{name}");
            if without.contains(name.as_str()) {
                continue;
            }
            let path = entry.path();
            // What a link leads to is one thing, a directory as well.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && depth < MAX_DEPTH {
                left.push((path, format!("{name}/"), depth + 1));
            } else {
                found.insert(name, fingerprint(&path));
            }
        }
    }
    found
}

fn fingerprint(path: &Path) -> String {
    // Of what is not a regular file nothing is read.
    if let Ok(content) = file::read(path, MAX_FILE) {
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        return format!("{:016x} {}", hasher.finish(), content.len());
    }
    let target = fs::canonicalize(path).or_else(|_| fs::read_link(path));
    target.map_or_else(|_| String::new(), |target| target.to_string_lossy().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn files_are_told_apart_by_what_is_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("etc/systemd/system/a.service.d")).unwrap();
        fs::create_dir_all(at("store/tree")).unwrap();
        fs::write(at("store/1"), "same").unwrap();
        fs::write(at("store/2"), "same").unwrap();
        symlink(at("store/1"), at("etc/one")).unwrap();
        symlink(at("store/2"), at("etc/two")).unwrap();
        symlink(at("store/tree"), at("etc/tree")).unwrap();
        symlink("/nowhere", at("etc/dangling")).unwrap();
        symlink(at("etc"), at("etc/circle")).unwrap();
        fs::write(at("etc/systemd/system/a.service.d/x.conf"), "[Unit]").unwrap();
        let etc = files(&at("etc"), &BTreeSet::from([UNITS]));
        let names: Vec<&str> = etc.keys().map(String::as_str).collect();
        assert_eq!(names, ["circle", "dangling", "one", "tree", "two"]);
        assert_eq!(etc["one"], etc["two"]);
        assert_eq!(etc["dangling"], "/nowhere");
        fs::write(at("store/2"), "diff").unwrap();
        assert_ne!(etc["one"], files(&at("etc"), &BTreeSet::new())["two"]);
        let units = files(&at("etc").join(UNITS), &BTreeSet::new());
        assert_eq!(units.len(), 1);
        assert!(units.contains_key("a.service.d/x.conf"));
        assert!(files(&at("none"), &BTreeSet::new()).is_empty());
    }
}
