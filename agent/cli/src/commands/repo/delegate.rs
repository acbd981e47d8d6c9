//! `surefoot repo delegate`: a channel gets keys of its own.

use super::{
    new_keys::{NewKeys, print_files, read_public},
    values::Lifetime,
};
use crate::{
    desk::{ClockArgs, WaitArgs},
    keyring::Writer,
    output::Output,
};
use serde_json::json;
use std::{path::PathBuf, sync::Arc};
use surefoot_core::release::{Name, manifest_target};
use surefoot_trust::{
    Editor,
    editor::{Delegation, RolePlan},
    keys::PrivateKey,
};

/// Arguments of `surefoot repo delegate`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  The team of the lab signs its own channel:
      surefoot repo delegate fleet lab --channel lab")]
pub(crate) struct DelegateArgs {
    /// The repository.
    dir: PathBuf,
    /// Names the role, and the folder of its keys. One that exists gets these keys and paths
    /// instead.
    name: String,
    /// A channel that its keys sign from now on, and no others.
    #[arg(long, value_name = "NAME")]
    channel: Vec<String>,
    /// Other target paths, as patterns: * and ? match anything but a slash.
    #[arg(long, value_name = "PATTERN")]
    path: Vec<String>,
    /// How many keys must sign.
    #[arg(long, value_name = "N", default_value_t = 1)]
    threshold: u64,
    /// How many keys to make. [default: as many as must sign]
    #[arg(long, value_name = "N")]
    keys: Option<u64>,
    /// A key that exists: its public half in PEM. The private one must be at hand.
    #[arg(long, value_name = "FILE")]
    public_key: Vec<PathBuf>,
    /// How long its signatures are valid.
    #[arg(long, value_name = "TIME", default_value = "180d")]
    expires: Lifetime,
    #[command(flatten)]
    new_keys: NewKeys,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    clock: ClockArgs,
}

/// Runs it.
///
/// # Errors
/// It did not end well.
pub(super) fn run(args: &DelegateArgs, output: Output) -> anyhow::Result<()> {
    let at = &args.new_keys.at;
    let mut writer = Writer::new(at.first(&args.dir), args.new_keys.encrypt)?;
    let mut editor = args.wait.open(&args.dir, at.ring(&args.dir)?)?;
    let now = args.clock.now_whatever_was_signed(&editor)?;
    let mut work = || -> anyhow::Result<Delegation> {
        let delegation = delegation(args, &mut editor, &mut writer)?;
        editor.delegate(&delegation, now)?;
        Ok(delegation)
    };
    let result = work();
    let delegation = writer.undo(result)?;
    if output.is_json() {
        return output.object(&json!({
            "role": args.name,
            "paths": delegation.paths,
            "keys": writer.written,
            "versions": editor.versions(),
        }));
    }
    output.text(&format!(
        "{} of {} keys of '{}' must sign {} from now on",
        args.threshold,
        delegation.role.keys.len(),
        args.name,
        delegation.paths.join(" ")
    ))?;
    print_files(&writer.written, output)?;
    Ok(())
}

fn delegation(
    args: &DelegateArgs,
    editor: &mut Editor,
    writer: &mut Writer,
) -> anyhow::Result<Delegation> {
    let mut keys = read_public(&args.public_key)?;
    let missing = args.threshold.saturating_sub(keys.len() as u64);
    for _ in 0..args.keys.unwrap_or(missing).min(100) {
        let key = Arc::new(PrivateKey::generate(args.new_keys.key_type.into())?);
        keys.push(writer.write(&args.name, &args.name, &key)?);
        editor.add_key(key);
    }
    let mut paths = Vec::new();
    for channel in &args.channel {
        let channel: Name = channel.parse()?;
        paths.push(manifest_target(&channel));
    }
    if !paths.is_empty() {
        // What a release consists of is found by its digest, whoever lists it.
        paths.push("closures/*".to_owned());
    }
    paths.extend(args.path.iter().cloned());
    Ok(Delegation {
        name: args.name.clone(),
        role: RolePlan {
            keys,
            threshold: args.threshold,
            lifetime: args.expires.0,
        },
        paths,
    })
}
