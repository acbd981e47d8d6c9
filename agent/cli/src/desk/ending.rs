//! What becomes of a change: it is signed, drafted for others to sign, or only told.

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;
use std::path::PathBuf;
use surefoot_base::file;
use surefoot_trust::{Editor, editor::Versions};

/// What becomes of a change.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct EndArgs {
    /// Say what would change, and what robots would do; sign and write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Write the change to this file instead of putting it into force, where the keys at hand are not all
    /// that must sign: `surefoot repo sign` signs it elsewhere, and `surefoot repo finish` puts it into
    /// force.
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub(crate) draft: Option<PathBuf>,
}

/// What became of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ended {
    dry_run: bool,
    /// The draft that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    draft: Option<PathBuf>,
    /// What was signed.
    versions: Option<Versions>,
}

impl EndArgs {
    /// Signs and writes what is staged, or drafts it; nothing for a dry run.
    ///
    /// # Errors
    /// The keys are not at hand; something cannot be written.
    pub(crate) fn end(&self, editor: &mut Editor, now: Timestamp) -> anyhow::Result<Ended> {
        let mut ended = Ended {
            dry_run: self.dry_run,
            draft: self.draft.clone(),
            versions: None,
        };
        match &self.draft {
            _ if self.dry_run => {}
            Some(path) => {
                let bytes = editor.draft_targets(now)?.to_bytes()?;
                file::replace(path, &bytes, 0o644).with_context(|| path.display().to_string())?;
            }
            None => ended.versions = Some(editor.publish(now)?),
        }
        Ok(ended)
    }
}

impl Ended {
    /// What was signed; `None` for a dry run and a draft.
    pub(crate) const fn versions(&self) -> Option<&Versions> {
        self.versions.as_ref()
    }

    /// Whether nothing is in force yet, for people.
    pub(crate) fn line(&self) -> Option<String> {
        if self.dry_run {
            return Some("Nothing was signed: this was a dry run.".into());
        }
        self.draft.as_ref().map(|draft| {
            format!(
                "Nothing is in force yet. Take {0} to where the other keys are: surefoot repo sign {0} \
                 --repo … --keys-dir …; then: surefoot repo finish DIR {0}",
                draft.display()
            )
        })
    }
}
