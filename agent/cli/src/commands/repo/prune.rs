//! `surefoot repo prune`: what no robot needs any more goes.

use super::values::Lifetime;
use crate::{
    desk::{ClockArgs, WaitArgs},
    output::Output,
};
use serde_json::json;
use std::path::PathBuf;
use surefoot_trust::Keyring;

/// Arguments of `surefoot repo prune`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  What would go:
      surefoot repo prune fleet --dry-run")]
pub(crate) struct PruneArgs {
    /// The repository.
    dir: PathBuf,
    /// How long what was replaced is kept, for robots in the midst of reading and for mirrors.
    #[arg(long, value_name = "TIME", default_value = "30d")]
    keep: Lifetime,
    /// Say what would go, and leave it.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    clock: ClockArgs,
}

/// Runs it.
///
/// # Errors
/// It did not end well.
pub(super) fn run(args: &PruneArgs, output: Output) -> anyhow::Result<()> {
    let editor = args.wait.open(&args.dir, Keyring::new())?;
    let now = args.clock.now_whatever_was_signed(&editor)?;
    let pruned = editor.prune(args.keep.0, now, args.dry_run)?;
    if output.is_json() {
        return output.object(&json!({ "pruned": pruned, "dryRun": args.dry_run }));
    }
    for file in &pruned.files {
        output.text(&format!("{}", file.display()))?;
    }
    output.text(&format!(
        "{} files, {} bytes{}",
        pruned.files.len(),
        pruned.bytes,
        if args.dry_run { " would go" } else { " gone" }
    ))?;
    Ok(())
}
