//! `surefoot repo refresh`: what lives short is signed again.

use crate::{
    keyring::{keyring, keys_dir},
    output::Output,
};
use jiff::Timestamp;
use serde_json::json;
use std::path::PathBuf;
use surefoot_trust::{Editor, editor::Versions};

/// Arguments of `surefoot repo refresh`.
#[derive(Debug, clap::Args)]
pub(crate) struct RefreshArgs {
    /// The repository.
    dir: PathBuf,
    /// Where the private keys are; those of online/ are enough. [default: DIR with -keys behind it]
    #[arg(long, value_name = "DIR")]
    keys_dir: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// It did not end well.
pub(super) fn run(args: &RefreshArgs, output: Output) -> anyhow::Result<()> {
    let keys_dir = keys_dir(&args.dir, args.keys_dir.as_deref());
    let now = Timestamp::now();
    let mut editor = Editor::open(&args.dir, keyring(&keys_dir)?)?;
    let before = editor.versions();
    let versions = editor.refresh(now)?;
    let expiries = editor.expiries();
    if output.is_json() {
        let expires: serde_json::Map<_, _> = expiries
            .iter()
            .map(|(role, time)| (role.clone(), time.to_string().into()))
            .collect();
        output.object(&json!({ "versions": versions, "expires": expires }))?;
        return Ok(());
    }
    for (role, expires) in expiries {
        let version = version_of(&versions, &role);
        output.text(&format!(
            "{role:<9} version {version:<5} expires {expires}{}",
            if version > version_of(&before, &role) {
                "  signed now"
            } else if expires <= now {
                "  EXPIRED: sign it again with its own keys"
            } else {
                ""
            }
        ))?;
    }
    Ok(())
}

fn version_of(versions: &Versions, role: &str) -> u64 {
    match role {
        "root" => versions.root,
        "targets" => versions.targets,
        "snapshot" => versions.snapshot,
        "timestamp" => versions.timestamp,
        other => versions.delegated.get(other).copied().unwrap_or_default(),
    }
}
