//! Deltas in a cache that no robot needs any more.

use super::workshop::SUFFIX;
use crate::{desk::manifests, place::DELTAS};
use anyhow::Context as _;
use jiff::Timestamp;
use std::{
    collections::{BTreeSet, HashSet},
    fs, io,
    path::{Path, PathBuf},
};
use surefoot_store::index;
use surefoot_trust::Editor;

/// Deltas in a cache that no closure index of a release lists, and that have lain there for `keep`
/// seconds, with their sizes in bytes.
///
/// # Errors
/// An index cannot be read, and so not what it lists; the cache cannot be looked at.
pub(crate) fn unlisted(
    editor: &Editor,
    cache: &Path,
    keep: u64,
    now: Timestamp,
) -> anyhow::Result<Vec<(PathBuf, u64)>> {
    let mut listed = HashSet::new();
    for name in indexes(editor)? {
        let bytes = editor.read_target(&name)?;
        let bytes = bytes.with_context(|| format!("{name} is not in the repository"))?;
        let index = index::unpack(&bytes).with_context(|| name.clone())?;
        let deltas = index.paths.into_iter().flat_map(|info| info.deltas);
        listed.extend(deltas.map(|delta| delta.url));
    }
    let dir = cache.join(DELTAS);
    let shown = || dir.display().to_string();
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(shown)?,
    };
    let mut unlisted = Vec::new();
    for entry in entries {
        let entry = entry.with_context(shown)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let metadata = entry.metadata().with_context(shown)?;
        let written = Timestamp::try_from(metadata.modified()?)?;
        let age = now.as_second().saturating_sub(written.as_second());
        let old = u64::try_from(age).is_ok_and(|age| age >= keep);
        let ours = metadata.is_file() && name.ends_with(SUFFIX);
        if ours && old && !listed.contains(&format!("{DELTAS}/{name}")) {
            unlisted.push((entry.path(), metadata.len()));
        }
    }
    unlisted.sort();
    Ok(unlisted)
}

/// The closure indexes of all releases. What was replaced stays a target of the repository, and no robot asks
/// for it.
fn indexes(editor: &Editor) -> anyhow::Result<BTreeSet<String>> {
    let mut indexes = BTreeSet::new();
    for manifest in manifests(editor) {
        indexes.extend(manifest?.indexes().into_iter().map(Into::into));
    }
    Ok(indexes)
}
