//! `surefoot repo finish`: a draft that has its signatures is put into force.

use super::review;
use crate::{
    desk::{ClockArgs, WaitArgs},
    files,
    keyring::KeysArgs,
    output::{Output, sanitize},
};
use anyhow::{Context as _, ensure};
use serde_json::json;
use std::path::PathBuf;
use surefoot_trust::editor::{MAX_DRAFT_BYTES, TargetsDraft};

/// Arguments of `surefoot repo finish`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  Put a signed draft into force:
      surefoot repo finish fleet release-draft.json")]
pub(crate) struct FinishArgs {
    /// The repository.
    dir: PathBuf,
    /// The draft that `--draft` of publish, rollout, recall, promote or retire wrote.
    draft: PathBuf,
    /// The draft lets in more robots now than when it was drafted, as its plan goes on by time, and that is
    /// meant.
    #[arg(long)]
    plan_goes_on: bool,
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
    let (role, before) = editor.drafted_from(&draft)?;
    let changes = review::lines(&draft, &role, &before, now)?;
    if !args.plan_goes_on {
        review::check_creep(&draft, &role, &before, now)?;
    }
    let versions = editor.finish_targets(&draft, now)?;
    output.result(&json!({ "changes": changes, "versions": versions }), |_| {
        let changes: Vec<String> = changes.iter().map(|line| sanitize(line)).collect();
        format!("{}\nin force", changes.join("\n"))
    })
}
