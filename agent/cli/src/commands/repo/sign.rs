//! `surefoot repo sign`: a draft is signed where its keys are.

use super::draft;
use crate::{
    commands::releases::how_far,
    files,
    keyring::KeysArgs,
    output::{Output, sanitize},
};
use anyhow::{Context as _, ensure};
use serde_json::json;
use std::{fs, path::PathBuf};
use surefoot_core::release::{Listed, Manifest, Name};
use surefoot_trust::{
    Keyring,
    editor::{Draft, MAX_DRAFT_BYTES, TargetsDraft},
};

/// So many releases of a channel are shown to who signs a draft, newest first.
const NEWEST: usize = 5;

/// Arguments of `surefoot repo sign`.
#[derive(Debug, clap::Args)]
#[command(mut_arg("keys_dir", |keys| keys.required(true)))]
pub(crate) struct SignArgs {
    /// The draft that `--draft` of `surefoot repo rotate`, publish, rollout, recall, promote or retire wrote.
    /// Signatures are added to it.
    draft: PathBuf,
    #[command(flatten)]
    keys: KeysArgs,
}

/// Runs it.
///
/// # Errors
/// It did not end well.
pub(super) fn run(args: &SignArgs, output: Output) -> anyhow::Result<()> {
    let name = || args.draft.display().to_string();
    let bytes = files::read(&args.draft, MAX_DRAFT_BYTES).with_context(name)?;
    let keys = args.keys.ring(&args.draft)?;
    if TargetsDraft::is_one(&bytes) {
        return sign_targets(args, &bytes, &keys, output);
    }
    let mut draft = Draft::parse(&bytes).with_context(name)?;
    if !output.is_json() {
        for line in draft.describe() {
            output.text(&sanitize(&line))?;
        }
    }
    let added = draft.sign(&keys)?;
    is_of_use(added > 0 || draft.check().is_ok())?;
    fs::write(&args.draft, draft.to_bytes()?).with_context(name)?;
    draft::report(&draft, &args.draft, &[], output)
}

fn is_of_use(signed: bool) -> anyhow::Result<()> {
    ensure!(
        signed,
        "none of the keys at hand has a say in this that it has not said yet"
    );
    Ok(())
}

/// Signs releases: first says which, with their systems.
fn sign_targets(
    args: &SignArgs,
    bytes: &[u8],
    keys: &Keyring,
    output: Output,
) -> anyhow::Result<()> {
    let name = || args.draft.display().to_string();
    let mut draft = TargetsDraft::parse(bytes).with_context(name)?;
    let mut lines = draft.describe();
    for (target, bytes) in draft.files() {
        lines.extend(newest(target, bytes));
    }
    for line in &lines {
        output.text(&sanitize(line))?;
    }
    let added = draft.sign(keys)?;
    let missing = draft.check().err().map(|e| e.to_string());
    is_of_use(added > 0 || missing.is_none())?;
    fs::write(&args.draft, draft.to_bytes()?).with_context(name)?;
    let object = json!({
        "draft": args.draft,
        "changes": lines,
        "complete": missing.is_none(),
        "missing": missing,
    });
    output.object(&object)?;
    output.text(&match missing {
        Some(missing) => missing,
        None => format!(
            "All signatures are there. Next: surefoot repo finish DIR {}",
            args.draft.display()
        ),
    })
}

/// The newest releases of a manifest, and what has become of them.
fn newest(target: &str, bytes: &[u8]) -> Vec<String> {
    let channel = target
        .strip_prefix("channels/")
        .and_then(|name| name.strip_suffix(".json"));
    let Some(Ok(channel)) = channel.map(str::parse::<Name>) else {
        return Vec::new();
    };
    let Ok(manifest) = Manifest::parse(bytes, &channel) else {
        return vec![format!(
            "channel {channel}: a manifest that cannot be read here"
        )];
    };
    let newest = manifest.releases.iter().rev().take(NEWEST);
    newest
        .map(|listed| match listed {
            Listed::Known(release) => {
                let systems: Vec<String> = (release.systems.iter())
                    .map(|(model, system)| format!("{model} {}", system.toplevel))
                    .collect();
                format!(
                    "channel {channel}, release {}: {}; {}",
                    release.id,
                    systems.join(", "),
                    how_far(release, None)
                )
            }
            Listed::Other(_) => format!("channel {channel}, release {}", listed.id()),
        })
        .collect()
}
