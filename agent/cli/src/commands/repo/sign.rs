//! `surefoot repo sign`: a new root is signed where its keys are.

use super::draft;
use crate::{keyring::keyring, output::Output};
use anyhow::{Context as _, ensure};
use std::{fs, path::PathBuf};

/// Arguments of `surefoot repo sign`.
#[derive(Debug, clap::Args)]
pub(crate) struct SignArgs {
    /// The draft that `surefoot repo rotate --draft` wrote. Signatures are added to it.
    draft: PathBuf,
    /// Where the private keys are.
    #[arg(long, value_name = "DIR")]
    keys_dir: PathBuf,
}

/// Runs it.
///
/// # Errors
/// It did not end well.
pub(super) fn run(args: &SignArgs, output: Output) -> anyhow::Result<()> {
    let mut draft = draft::read(&args.draft)?;
    if !output.is_json() {
        for line in draft.describe() {
            output.text(&line)?;
        }
    }
    let added = draft.sign(&keyring(&args.keys_dir)?)?;
    ensure!(
        added > 0 || draft.check().is_ok(),
        "none of the keys in {} has a say in this that it has not said yet",
        args.keys_dir.display()
    );
    fs::write(&args.draft, draft.to_bytes()?).with_context(|| args.draft.display().to_string())?;
    draft::report(&draft, &args.draft, &[], output)
}
