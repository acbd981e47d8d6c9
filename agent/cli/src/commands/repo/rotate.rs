//! `surefoot repo rotate`, `sign`, `keys`, `delegate` and `revoke`: who may sign what.

use super::{KeyType, Lifetime};
use crate::keyring::{Writer, folder, keyring, keys_dir};
use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use surefoot_trust::{
    Editor,
    editor::{Delegation, Draft, RoleChange, RolePlan},
    keys::{PrivateKey, public_key},
    metadata::{Key, KeyId, TOP_LEVEL},
};

/// Arguments of `surefoot repo rotate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Rotate {
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
    /// Write the new root to this file and stop, so that `surefoot repo sign` can sign it
    /// elsewhere.
    #[arg(long, value_name = "FILE", conflicts_with = "finish")]
    draft: Option<PathBuf>,
    /// Put a draft that has all its signatures into force.
    #[arg(long, value_name = "FILE", conflicts_with = "role")]
    finish: Option<PathBuf>,
    #[command(flatten)]
    new_keys: NewKeys,
}

/// How new keys are made.
#[derive(Debug, clap::Args)]
pub(super) struct NewKeys {
    /// Where the private keys are. [default: DIR with -keys behind it]
    #[arg(long, value_name = "DIR")]
    pub(super) keys_dir: Option<PathBuf>,
    /// The kind of new keys.
    #[arg(long, value_enum, default_value = "ed25519")]
    pub(super) key_type: KeyType,
    /// Encrypt new keys with a passphrase: asked for, or the first line of the file that
    /// SUREFOOT_PASSPHRASE_FILE names.
    #[arg(long)]
    pub(super) encrypt: bool,
}

/// Arguments of `surefoot repo sign`.
#[derive(Debug, clap::Args)]
pub(crate) struct Sign {
    /// The draft that `surefoot repo rotate --draft` wrote. Signatures are added to it.
    draft: PathBuf,
    /// Where the private keys are.
    #[arg(long, value_name = "DIR")]
    keys_dir: PathBuf,
}

/// Arguments of `surefoot repo keys`.
#[derive(Debug, clap::Args)]
pub(crate) struct Keys {
    /// The repository.
    dir: PathBuf,
}

/// Arguments of `surefoot repo delegate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Delegate {
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
}

/// Arguments of `surefoot repo revoke`.
#[derive(Debug, clap::Args)]
pub(crate) struct Revoke {
    /// The repository.
    dir: PathBuf,
    /// The delegated role.
    name: String,
    /// Where the private keys are. [default: DIR with -keys behind it]
    #[arg(long, value_name = "DIR")]
    keys_dir: Option<PathBuf>,
}

pub(super) fn rotate(args: &Rotate, json: bool) -> anyhow::Result<()> {
    let keys_dir = keys_dir(&args.dir, args.new_keys.keys_dir.as_deref());
    let mut editor = Editor::open(&args.dir, keyring(&keys_dir)?)?;
    let now = Timestamp::now();
    if let Some(file) = &args.finish {
        let draft = read_draft(file)?;
        editor.change_root(&draft, now)?;
        return report(&editor, &draft, &[], json);
    }
    let mut writer = Writer::new(keys_dir, args.new_keys.encrypt)?;
    let result = change(args, editor, &mut writer, now, json);
    writer.undo(result)
}

fn change(
    args: &Rotate,
    mut editor: Editor,
    writer: &mut Writer,
    now: Timestamp,
    json: bool,
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
    draft.sign(editor.keys())?;
    if let Some(file) = &args.draft {
        fs::write(file, draft.to_bytes()?).with_context(|| file.display().to_string())?;
        return report_draft(&draft, file, &writer.written, json);
    }
    draft.check().with_context(|| {
        "the keys at hand cannot sign the new root; write it with --draft FILE and sign it where the keys are with `surefoot repo sign`"
    })?;
    editor.change_root(&draft, now)?;
    report(&editor, &draft, &writer.written, json)
}

pub(super) fn sign(args: &Sign, json: bool) -> anyhow::Result<()> {
    let mut draft = read_draft(&args.draft)?;
    if !json {
        for line in draft.describe() {
            println!("{line}");
        }
    }
    let added = draft.sign(&keyring(&args.keys_dir)?)?;
    ensure!(
        added > 0 || draft.check().is_ok(),
        "none of the keys in {} has a say in this that it has not said yet",
        args.keys_dir.display()
    );
    fs::write(&args.draft, draft.to_bytes()?).with_context(|| args.draft.display().to_string())?;
    report_draft(&draft, &args.draft, &[], json)
}

pub(super) fn keys(args: &Keys, json: bool) -> anyhow::Result<()> {
    let editor = Editor::open(&args.dir, surefoot_trust::Keyring::new())?;
    let roles = editor.roles();
    if json {
        let roles: serde_json::Map<_, _> = roles
            .iter()
            .map(|role| {
                let keys: Vec<_> = role
                    .keys
                    .iter()
                    .map(|(id, key)| json!({"id": id, "scheme": key.scheme}))
                    .collect();
                let value = json!({
                    "threshold": role.threshold,
                    "keys": keys,
                    "paths": role.paths,
                });
                (role.name.clone(), value)
            })
            .collect();
        println!("{}", json!({ "roles": roles }));
        return Ok(());
    }
    for role in roles {
        let paths = match role.paths.as_slice() {
            [] => String::new(),
            paths => format!(", for {}", paths.join(" ")),
        };
        println!(
            "{}: {} of {} must sign{paths}",
            role.name,
            role.threshold,
            role.keys.len()
        );
        for (id, key) in role.keys {
            println!("  {id}  {}", key.scheme);
        }
    }
    Ok(())
}

pub(super) fn delegate(args: &Delegate, json: bool) -> anyhow::Result<()> {
    let keys_dir = keys_dir(&args.dir, args.new_keys.keys_dir.as_deref());
    let mut writer = Writer::new(keys_dir.clone(), args.new_keys.encrypt)?;
    let mut editor = Editor::open(&args.dir, keyring(&keys_dir)?)?;
    let mut work = || -> anyhow::Result<Delegation> {
        let delegation = delegation(args, &mut editor, &mut writer)?;
        editor.delegate(&delegation, Timestamp::now())?;
        Ok(delegation)
    };
    let result = work();
    let delegation = writer.undo(result)?;
    if json {
        println!(
            "{}",
            json!({
                "role": args.name,
                "paths": delegation.paths,
                "keys": writer.written,
                "versions": editor.versions(),
            })
        );
        return Ok(());
    }
    println!(
        "{} of {} keys of '{}' must sign {} from now on",
        args.threshold,
        delegation.role.keys.len(),
        args.name,
        delegation.paths.join(" ")
    );
    print_files(&writer.written);
    Ok(())
}

fn delegation(
    args: &Delegate,
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
        let channel: surefoot_core::release::Name = channel.parse()?;
        paths.push(surefoot_core::release::manifest_target(&channel));
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

pub(super) fn revoke(args: &Revoke, json: bool) -> anyhow::Result<()> {
    let keys_dir = keys_dir(&args.dir, args.keys_dir.as_deref());
    let mut editor = Editor::open(&args.dir, keyring(&keys_dir)?)?;
    editor.revoke(&args.name, Timestamp::now())?;
    if json {
        println!("{}", json!({ "versions": editor.versions() }));
    } else {
        println!(
            "'{}' has no say any more; what it listed is not offered any more",
            args.name
        );
    }
    Ok(())
}

fn read_draft(file: &Path) -> anyhow::Result<Draft> {
    Draft::parse(&super::read(file)?).with_context(|| file.display().to_string())
}

fn read_public(files: &[PathBuf]) -> anyhow::Result<Vec<Key>> {
    files
        .iter()
        .map(|file| {
            let name = file.display().to_string();
            let pem = super::read(file)?;
            Ok(public_key(&name, &String::from_utf8_lossy(&pem))?)
        })
        .collect()
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

fn report(editor: &Editor, draft: &Draft, written: &[PathBuf], json: bool) -> anyhow::Result<()> {
    if json {
        println!(
            "{}",
            json!({
                "versions": editor.versions(),
                "changes": draft.describe(),
                "keys": written,
            })
        );
        return Ok(());
    }
    for line in draft.describe() {
        println!("{line}");
    }
    println!("in force");
    print_files(written);
    Ok(())
}

fn report_draft(draft: &Draft, file: &Path, written: &[PathBuf], json: bool) -> anyhow::Result<()> {
    let missing = draft.check().err().map(|e| e.to_string());
    if json {
        println!(
            "{}",
            json!({
                "draft": file,
                "changes": draft.describe(),
                "complete": missing.is_none(),
                "missing": missing,
                "keys": written,
            })
        );
        return Ok(());
    }
    print_files(written);
    match missing {
        Some(missing) => println!(
            "{missing}\nTake {0} to where the keys are: surefoot repo sign {0} --keys-dir …",
            file.display()
        ),
        None => println!(
            "All signatures are there. Next: surefoot repo rotate DIR --finish {}",
            file.display()
        ),
    }
    Ok(())
}

fn print_files(written: &[PathBuf]) {
    for path in written {
        println!("new key {}", path.display());
    }
}
