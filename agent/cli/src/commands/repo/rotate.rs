//! `surefoot repo rotate`: other keys, or another number of them that must sign.

use super::{
    draft,
    new_keys::{NewKeys, print_files, read_public},
};
use crate::{
    desk::{ClockArgs, WaitArgs},
    keyring::{Writer, folder},
    output::Output,
};
use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};
use surefoot_base::file;
use surefoot_trust::{
    Editor,
    editor::{Draft, RoleChange},
    keys::PrivateKey,
    metadata::{KeyId, TOP_LEVEL},
};

/// Arguments of `surefoot repo rotate`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  Replace the key of the timestamp:
      surefoot repo rotate fleet --role timestamp --remove all
  Make root.json valid for longer, signed by people who are elsewhere:
      surefoot repo rotate fleet --draft root-draft.json")]
pub(crate) struct RotateArgs {
    /// The repository.
    dir: PathBuf,
    /// The role whose keys change: root, targets, snapshot or timestamp. Without one, root.json is
    /// only made valid for longer.
    #[arg(long, value_parser = TOP_LEVEL)]
    role: Option<String>,
    /// Take keys away: names as `surefoot repo keys` lists them, or their first characters, or
    /// "all".
    #[arg(long, value_name = "KEY", requires = "role")]
    remove: Vec<String>,
    /// Make so many new keys. [default: as many as are taken away; all are replaced if nothing is
    /// said]
    #[arg(long, value_name = "N", requires = "role")]
    new: Option<u64>,
    /// Add a key that lies elsewhere: its public half in PEM.
    #[arg(long, value_name = "FILE", requires = "role")]
    add_key: Vec<PathBuf>,
    /// How many keys must sign from now on.
    #[arg(long, value_name = "N", requires = "role")]
    threshold: Option<u64>,
    /// Say who holds a key, for `surefoot repo keys`: its name as that lists it, or its first characters,
    /// and a text; without a text it has no name any more. May be given several times.
    #[arg(long, value_name = "KEY=TEXT", value_parser = key_and_name)]
    name: Vec<(String, String)>,
    /// Write the new root to this file and stop, so that `surefoot repo sign` can sign it
    /// elsewhere.
    #[arg(long, value_name = "FILE", conflicts_with = "finish")]
    draft: Option<PathBuf>,
    /// Put a draft that has all its signatures into force.
    #[arg(long, value_name = "FILE", conflicts_with = "role")]
    finish: Option<PathBuf>,
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
pub(super) fn run(args: &RotateArgs, output: Output) -> anyhow::Result<()> {
    let mut editor = args
        .wait
        .open(&args.dir, args.new_keys.at.ring(&args.dir)?)?;
    let now = args.clock.now_whatever_was_signed(&editor)?;
    if let Some(file) = &args.finish {
        let draft = draft::read(file)?;
        editor.change_root(&draft, now)?;
        return report(&editor, &draft, &[], output);
    }
    let mut writer = Writer::new(args.new_keys.at.first(&args.dir), args.new_keys.encrypt)?;
    let result = change(args, editor, &mut writer, now, output);
    writer.undo(result)
}

fn change(
    args: &RotateArgs,
    mut editor: Editor,
    writer: &mut Writer,
    now: Timestamp,
    output: Output,
) -> anyhow::Result<()> {
    let mut changes = BTreeMap::new();
    if let Some(role) = &args.role {
        let known = &editor.root().roles[role].keyids;
        let nothing_said = args.remove.is_empty()
            && args.new.is_none()
            && args.add_key.is_empty()
            && args.threshold.is_none();
        let remove = if nothing_said {
            known.clone()
        } else {
            find_keys(role, known, &args.remove)?
        };
        let replaced = (remove.len() as u64).saturating_sub(args.add_key.len() as u64);
        let mut add = read_public(&args.add_key)?;
        for _ in 0..args.new.unwrap_or(replaced).min(100) {
            let key = Arc::new(PrivateKey::generate(args.new_keys.key_type.into())?);
            add.push(writer.write(folder(role), role, &key)?);
            editor.add_key(key);
        }
        let change = RoleChange {
            add,
            remove,
            threshold: args.threshold,
        };
        changes.insert(role.clone(), change);
    }
    let mut draft = editor.draft_root(&changes, now)?;
    let mut names = writer.names.clone();
    let known: Vec<KeyId> = (editor.roles().into_iter())
        .flat_map(|role| role.keys)
        .map(|(id, _)| id)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    for (key, name) in &args.name {
        let found = find_keys("the repository", &known, std::slice::from_ref(key))?;
        names.extend(found.into_iter().map(|id| (id, name.clone())));
    }
    draft.name_keys(&names)?;
    draft.sign(editor.keys())?;
    if let Some(path) = &args.draft {
        file::replace(path, &draft.to_bytes()?, 0o644)
            .with_context(|| path.display().to_string())?;
        return draft::report(&draft, path, &writer.written, output);
    }
    draft.check().with_context(|| {
        "the keys at hand cannot sign the new root; write it with --draft FILE and sign it where the keys are with `surefoot repo sign`"
    })?;
    editor.change_root(&draft, now)?;
    report(&editor, &draft, &writer.written, output)
}

fn key_and_name(text: &str) -> Result<(String, String), String> {
    let (key, name) = text.split_once('=').ok_or("write KEY=TEXT")?;
    Ok((key.to_owned(), name.to_owned()))
}

/// The keys that were meant by their first characters.
fn find_keys(role: &str, known: &[KeyId], said: &[String]) -> anyhow::Result<Vec<KeyId>> {
    if said.iter().any(|s| s == "all") {
        return Ok(known.to_vec());
    }
    said.iter()
        .map(|said| {
            let mut found = known.iter().filter(|id| id.starts_with(said.as_str()));
            let id = found.next().with_context(|| {
                format!("'{role}' has no key {said}; `surefoot repo keys` lists them")
            })?;
            ensure!(
                found.next().is_none(),
                "'{role}' has several keys that begin with {said}"
            );
            Ok(id.clone())
        })
        .collect()
}

fn report(
    editor: &Editor,
    draft: &Draft,
    written: &[PathBuf],
    output: Output,
) -> anyhow::Result<()> {
    if output.is_json() {
        return output.object(&json!({
            "versions": editor.versions(),
            "changes": draft.describe(),
            "keys": written,
        }));
    }
    for line in draft.describe() {
        output.text(&line)?;
    }
    output.text("in force")?;
    print_files(written, output)?;
    Ok(())
}
