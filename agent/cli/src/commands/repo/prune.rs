//! `surefoot repo prune`: what no robot needs any more goes.

use super::values::Lifetime;
use crate::output::Output;
use jiff::Timestamp;
use serde_json::json;
use std::path::PathBuf;
use surefoot_trust::{Editor, Keyring};

/// Arguments of `surefoot repo prune`.
#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// The repository.
    dir: PathBuf,
    /// How long what was replaced is kept, for robots in the midst of reading and for mirrors.
    #[arg(long, value_name = "TIME", default_value = "30d")]
    keep: Lifetime,
    /// Say what would go, and leave it.
    #[arg(long)]
    dry_run: bool,
}

/// Runs it.
///
/// # Errors
/// It did not end well.
pub(super) fn run(args: &PruneArgs, output: Output) -> anyhow::Result<()> {
    let editor = Editor::open(&args.dir, Keyring::new())?;
    let pruned = editor.prune(args.keep.0, Timestamp::now(), args.dry_run)?;
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
