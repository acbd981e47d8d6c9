//! `surefoot repo prune`: what no robot needs any more goes.

use super::values::Lifetime;
use crate::{
    deltas,
    desk::{ClockArgs, WaitArgs},
    output::Output,
};
use anyhow::Context as _;
use serde_json::json;
use std::{fs, path::PathBuf};
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
    /// A binary cache, a directory, that deltas were put into (`publish --push-deltas`): those that no
    /// release lists any more, and that have lain there for so long, go as well.
    #[arg(long, value_name = "DIR")]
    deltas: Option<PathBuf>,
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
    // Before an index goes that cannot be read.
    let unlisted = match &args.deltas {
        Some(cache) => deltas::unlisted(&editor, cache, args.keep.0, now)?,
        None => Vec::new(),
    };
    let mut pruned = editor.prune(args.keep.0, now, args.dry_run)?;
    for (path, size) in unlisted {
        if !args.dry_run {
            fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
        pruned.bytes += size;
        pruned.files.push(path);
    }
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
