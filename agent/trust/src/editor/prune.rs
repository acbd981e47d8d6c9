//! Taking away what nobody needs any more.

use super::repository::Editor;
use crate::{
    Error, file_names, files,
    limits::Limits,
    metadata::{Envelope, Role, Snapshot, Targets},
};
use jiff::Timestamp as Time;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

/// What was taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pruned {
    /// The files, relative to the repository.
    pub files: Vec<PathBuf>,
    /// Their size, bytes.
    pub bytes: u64,
}

/// A file of metadata that is in force no more, or not yet.
struct Old {
    path: PathBuf,
    issued: Option<Time>,
    expires: Time,
    targets: Option<Targets>,
}

impl Editor {
    /// Takes away the metadata that was replaced, or expired, at least `keep` seconds ago, and the
    /// target files that only such metadata lists. With `dry` nothing is touched.
    ///
    /// Every root stays, and what is in force: no robot needs more, however long it was off (§5.3,
    /// §5.4). `keep` is for those who are in the midst of reading, and for mirrors. Files that no
    /// metadata speaks of are left alone.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Malformed`] if a file cannot be read, and so not what it needs.
    pub fn prune(&self, keep: u64, now: Time, dry: bool) -> Result<Pruned, Error> {
        if !self.now.root.consistent_snapshot {
            return Ok(Pruned::default());
        }
        let long_ago = |then: Time| {
            let ago = now.as_second().saturating_sub(then.as_second());
            u64::try_from(ago).is_ok_and(|ago| ago >= keep)
        };
        let metadata = self.dir.join("metadata");
        let mut kept: BTreeSet<PathBuf> = BTreeSet::new();
        for role in self.now.targets.values() {
            kept.extend(self.target_paths(role)?);
        }
        let mut in_force: BTreeMap<String, u64> = (self.now.snapshot.meta.iter())
            .filter_map(|(file, listed)| {
                Some((
                    file_names::quote(file.strip_suffix(".json")?),
                    listed.version,
                ))
            })
            .collect();
        in_force.insert(
            "snapshot".to_owned(),
            self.now.timestamp.snapshot()?.version,
        );
        let (mut going, mut files): (BTreeSet<PathBuf>, Vec<PathBuf>) = Default::default();
        for (role, versions) in versions(&metadata)? {
            let in_force = in_force.get(&role).copied();
            // When the version after the one that is looked at was signed.
            let mut replaced = None;
            for (version, path) in versions.into_iter().rev() {
                let old = Old::read(&role, path)?;
                let gone = in_force != Some(version)
                    && (long_ago(old.expires) || replaced.is_some_and(long_ago));
                if let Some(role) = &old.targets {
                    let whose = if gone { &mut going } else { &mut kept };
                    whose.extend(self.target_paths(role)?);
                }
                if gone {
                    files.push(old.path);
                }
                // What is not in force yet replaces nothing.
                replaced = in_force
                    .is_none_or(|current| version <= current)
                    .then_some(old.issued)
                    .flatten();
            }
        }
        // The files first: without the metadata nobody knows of them.
        let mut pruned = Pruned::default();
        for path in going.difference(&kept).chain(&files) {
            let size = match fs::metadata(path) {
                Ok(metadata) => metadata.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io(path)(error)),
            };
            if !dry {
                fs::remove_file(path).map_err(Error::io(path))?;
            }
            pruned.bytes += size;
            let path = path.strip_prefix(&self.dir).unwrap_or(path);
            pruned.files.push(path.to_owned());
        }
        Ok(pruned)
    }

    /// The files of a role's targets.
    fn target_paths(&self, role: &Targets) -> Result<Vec<PathBuf>, Error> {
        role.targets
            .iter()
            .map(|(name, info)| self.target_path(name, info))
            .collect()
    }
}

impl Old {
    fn read(role: &str, path: PathBuf) -> Result<Self, Error> {
        let limits = Limits::default();
        let file = path.display().to_string();
        let limit = limits.snapshot.max(limits.targets);
        let bytes = files::read(&path, limit)?.unwrap_or_default();
        let envelope = Envelope::parse(&file, &bytes)?;
        Ok(if role == "snapshot" {
            let role: Snapshot = envelope.read(&file)?;
            Self {
                path,
                issued: role.issued(),
                expires: role.common.expires.0,
                targets: None,
            }
        } else {
            let role: Targets = envelope.read(&file)?;
            Self {
                path,
                issued: role.issued(),
                expires: role.common.expires.0,
                targets: Some(role),
            }
        })
    }
}

/// The files `N.ROLE.json` of each role but the root, by version.
fn versions(metadata: &Path) -> Result<BTreeMap<String, BTreeMap<u64, PathBuf>>, Error> {
    let mut roles: BTreeMap<String, BTreeMap<u64, PathBuf>> = BTreeMap::new();
    for entry in fs::read_dir(metadata).map_err(Error::io(metadata))? {
        let path = entry.map_err(Error::io(metadata))?.path();
        let parts = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".json")?.split_once('.'))
            .and_then(|(version, role)| Some((version.parse().ok()?, role.to_owned())));
        if let Some((version, role)) = parts
            && role != "root"
        {
            roles.entry(role).or_default().insert(version, path);
        }
    }
    Ok(roles)
}
