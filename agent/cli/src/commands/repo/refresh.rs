//! `surefoot repo refresh`: what lives short is signed again.

use crate::{
    desk::{ClockArgs, Left, WaitArgs, left, warnings},
    errors::AlreadyPrinted,
    keyring::KeysArgs,
    output::{self, Output},
};
use anyhow::ensure;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use surefoot_trust::editor::Versions;

/// Arguments of `surefoot repo refresh`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  From a timer, once an hour:
      surefoot repo refresh fleet")]
pub(crate) struct RefreshArgs {
    /// The repository.
    dir: PathBuf,
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
pub(super) fn run(args: &RefreshArgs, output: Output) -> anyhow::Result<()> {
    let mut editor = args.wait.open(&args.dir, args.keys.ring(&args.dir)?)?;
    let now = args.clock.now_by_timer(&editor)?;
    let before = editor.versions();
    let versions = editor.refresh(now)?;
    let expiries = editor.expiries();
    let warnings = warnings(&expiries, &args.dir, now);
    let days = |left| match left {
        Left::Enough(days) | Left::Few(days) => days,
        Left::None => 0,
    };
    if output.is_json() {
        let map = |value: &dyn Fn(&surefoot_trust::editor::Expiry) -> Value| -> Map<_, _> {
            let of = expiries.iter().map(|one| (one.role.clone(), value(one)));
            of.collect()
        };
        output.object(&json!({
            "versions": versions,
            "expires": map(&|one| one.expires.to_string().into()),
            "daysLeft": map(&|one| days(left(one, now)).into()),
            "warnings": warnings,
        }))?;
    }
    for expiry in &expiries {
        let role = &expiry.role;
        let version = version_of(&versions, role);
        let signed = version > version_of(&before, role);
        output.text(&format!(
            "{role:<9} version {version:<5} expires {} ({} days left){}",
            expiry.expires,
            days(left(expiry, now)),
            if signed { "  signed now" } else { "" }
        ))?;
    }
    for warning in &warnings {
        output::notice(warning);
    }
    // Nobody believes what was just signed.
    let over = expiries
        .iter()
        .any(|expiry| left(expiry, now) == Left::None);
    ensure!(!over, AlreadyPrinted);
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
