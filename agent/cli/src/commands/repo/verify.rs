//! `surefoot repo verify`: the whole repository, as a robot sees it.

use crate::{
    desk::{Left, left, warnings},
    files,
    output::{self, Output},
};
use anyhow::ensure;
use jiff::Timestamp;
use serde_json::json;
use std::path::PathBuf;
use surefoot_trust::Editor;

/// Arguments of `surefoot repo verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// The repository.
    dir: PathBuf,
    /// The robot's trust anchor. [default: metadata/1.root.json of the repository itself]
    #[arg(long, value_name = "FILE")]
    anchor: Option<PathBuf>,
    /// The time to judge expiry by, e.g. 2030-01-31T12:00:00Z. [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

/// Runs it.
///
/// # Errors
/// It did not end well.
pub(super) fn run(args: &VerifyArgs, output: Output) -> anyhow::Result<()> {
    let anchor = args
        .anchor
        .clone()
        .unwrap_or_else(|| args.dir.join("metadata").join("1.root.json"));
    let bytes = files::read_signed(&anchor)?;
    let now = args.at.unwrap_or_else(Timestamp::now);
    let audit = surefoot_trust::audit::audit(&args.dir, &bytes, now)?;
    let set = &audit.set;
    let version = |role: Option<u64>| role.unwrap_or_default();
    let versions = [
        ("root", set.root().role.common.version),
        (
            "targets",
            version(set.targets().map(|r| r.role.common.version)),
        ),
        (
            "snapshot",
            version(set.snapshot().map(|r| r.role.common.version)),
        ),
        (
            "timestamp",
            version(set.timestamp().map(|r| r.role.common.version)),
        ),
    ];
    let expiries = Editor::look(&args.dir)?.expiries();
    for warning in warnings(&expiries, &args.dir, now) {
        output::notice(&warning);
    }
    let problems: Vec<String> = audit.problems.iter().map(ToString::to_string).collect();
    if output.is_json() {
        let versions: serde_json::Map<_, _> = versions
            .iter()
            .map(|(role, version)| ((*role).to_owned(), (*version).into()))
            .collect();
        output.object(&json!({
            "versions": versions,
            "expires": set.expires().map(|t| t.to_string()),
            "delegated": audit.delegated,
            "targets": audit.targets,
            "bytes": audit.bytes,
            "problems": problems,
        }))?;
    } else {
        let words: Vec<String> = versions.iter().map(|(r, v)| format!("{r} {v}")).collect();
        output.text(&words.join(", "))?;
        if let Some(expires) = set.expires() {
            output.text(&format!("valid until {expires}"))?;
        }
        for expiry in &expiries {
            if let Left::Enough(days) | Left::Few(days) = left(expiry, now) {
                output.text(&format!("  {:<9} {days} days left", expiry.role))?;
            }
        }
        output.text(&format!("{} targets, {} bytes", audit.targets, audit.bytes))?;
        for problem in &problems {
            output.text(&format!("WRONG: {problem}"))?;
        }
    }
    ensure!(
        problems.is_empty(),
        "{} files of the repository are wrong; publish them again",
        problems.len()
    );
    Ok(())
}
