//! `surefoot repo finish`: a draft that has its signatures is put into force.

use crate::{
    desk::{ClockArgs, WaitArgs},
    files,
    keyring::KeysArgs,
    output::Output,
};
use anyhow::{Context as _, ensure};
use serde_json::json;
use std::path::PathBuf;
use surefoot_trust::editor::{MAX_DRAFT_BYTES, TargetsDraft};

/// Arguments of `surefoot repo finish`.
#[derive(Debug, clap::Args)]
pub(crate) struct FinishArgs {
    /// The repository.
    dir: PathBuf,
    /// The draft that `--draft` of publish, rollout, recall, promote or retire wrote.
    draft: PathBuf,
    #[command(flatten)]
    keys: KeysArgs,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    clock: ClockArgs,
}

/// Runs it.
///
/// # Errors
/// It did not end well.
pub(super) fn run(args: &FinishArgs, output: Output) -> anyhow::Result<()> {
    let name = || args.draft.display().to_string();
    let bytes = files::read(&args.draft, MAX_DRAFT_BYTES).with_context(name)?;
    ensure!(
        TargetsDraft::is_one(&bytes),
        "{} is not a draft of targets; a draft of a root: surefoot repo rotate {} --finish {0}",
        args.draft.display(),
        args.dir.display()
    );
    let draft = TargetsDraft::parse(&bytes).with_context(name)?;
    let mut editor = args.wait.open(&args.dir, args.keys.ring(&args.dir)?)?;
    let now = args.clock.now_whatever_was_signed(&editor)?;
    let versions = editor.finish_targets(&draft, now)?;
    let changes = draft.describe();
    output.result(&json!({ "changes": changes, "versions": versions }), |_| {
        format!("{}\nin force", changes.join("\n"))
    })
}
