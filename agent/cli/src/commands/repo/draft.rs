//! Drafts of a root, on their way between those who sign it.

use super::new_keys::print_files;
use crate::{files, output::Output};
use anyhow::Context as _;
use serde_json::json;
use std::path::{Path, PathBuf};
use surefoot_trust::editor::Draft;

/// Reads a draft.
///
/// # Errors
/// It cannot be read or understood.
pub(super) fn read(file: &Path) -> anyhow::Result<Draft> {
    Draft::parse(&files::read_signed(file)?).with_context(|| file.display().to_string())
}

/// Says what is missing in a draft, and what to do with it next.
///
/// # Errors
/// Standard output takes nothing.
pub(super) fn report(
    draft: &Draft,
    file: &Path,
    written: &[PathBuf],
    output: Output,
) -> anyhow::Result<()> {
    let missing = draft.check().err().map(|e| e.to_string());
    if output.is_json() {
        return output.object(&json!({
            "draft": file,
            "changes": draft.describe(),
            "complete": missing.is_none(),
            "missing": missing,
            "keys": written,
        }));
    }
    print_files(written, output)?;
    match missing {
        Some(missing) => output.text(&format!(
            "{missing}\nTake {0} to where the keys are: surefoot repo sign {0} --keys-dir …",
            file.display()
        )),
        None => output.text(&format!(
            "All signatures are there. Next: surefoot repo rotate DIR --finish {}",
            file.display()
        )),
    }
}
