//! `surefoot repo revoke`: what was delegated is taken back.

use crate::{
    desk::{ClockArgs, Desk, WaitArgs, remember},
    keyring::KeysArgs,
    output::Output,
};
use serde_json::json;
use std::{collections::BTreeSet, path::PathBuf};
use surefoot_core::release::{Manifest, manifest_target};

/// Arguments of `surefoot repo revoke`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  The lab signs nothing any more:
      surefoot repo revoke fleet lab")]
pub(crate) struct RevokeArgs {
    /// The repository.
    dir: PathBuf,
    /// The delegated role.
    name: String,
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
pub(super) fn run(args: &RevokeArgs, output: Output) -> anyhow::Result<()> {
    let mut desk = Desk::read(args.wait.open(&args.dir, args.keys.ring(&args.dir)?)?);
    let now = args.clock.now_whatever_was_signed(desk.editor())?;
    let theirs = desk.editor().targets_of(&args.name)?;
    let of_theirs = |manifest: &&Manifest| theirs.contains(&manifest_target(&manifest.channel));
    let channels: Vec<Manifest> = (desk.channels().iter().filter(of_theirs).cloned()).collect();
    // What other channels name stays offered. Of one that cannot be read nobody knows what it names.
    let unreadable = !desk.unreadable().is_empty();
    let others = desk.channels().iter().filter(|it| !of_theirs(it));
    let named: BTreeSet<String> = (others.flat_map(Manifest::indexes).map(Into::into)).collect();
    let editor = desk.editor_mut();
    for manifest in &channels {
        remember(editor, manifest)?;
    }
    editor.publish(now)?;
    editor.revoke(&args.name, |index| unreadable || named.contains(index), now)?;
    if output.is_json() {
        output.object(&json!({ "versions": editor.versions() }))?;
    } else {
        output.text(&format!(
            "'{}' has no say any more; what it listed is not offered any more, but for what other channels name",
            args.name
        ))?;
    }
    Ok(())
}
