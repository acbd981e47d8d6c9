//! `surefoot repo keys`: who may sign what.

use crate::output::{Output, sanitize};
use serde_json::json;
use std::path::PathBuf;
use surefoot_trust::{Editor, Keyring};

/// Arguments of `surefoot repo keys`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  Who signs what:
      surefoot repo keys fleet")]
pub(crate) struct KeysArgs {
    /// The repository.
    dir: PathBuf,
}

/// Runs it.
///
/// # Errors
/// It did not end well.
pub(super) fn run(args: &KeysArgs, output: Output) -> anyhow::Result<()> {
    let editor = Editor::open(&args.dir, Keyring::new())?;
    let (roles, names) = (editor.roles(), editor.key_names());
    if output.is_json() {
        let roles: serde_json::Map<_, _> = roles
            .iter()
            .map(|role| {
                let keys: Vec<_> = role
                    .keys
                    .iter()
                    .map(|(id, key)| json!({"id": id, "scheme": key.scheme, "name": names.get(id)}))
                    .collect();
                let value = json!({
                    "threshold": role.threshold,
                    "keys": keys,
                    "paths": role.paths,
                });
                (role.name.clone(), value)
            })
            .collect();
        output.object(&json!({ "roles": roles }))?;
        return Ok(());
    }
    for role in roles {
        let paths = match role.paths.as_slice() {
            [] => String::new(),
            paths => format!(", for {}", paths.join(" ")),
        };
        output.text(&format!(
            "{}: {} of {} must sign{paths}",
            role.name,
            role.threshold,
            role.keys.len()
        ))?;
        for (id, key) in role.keys {
            let name = names.get(&id).map_or("", String::as_str);
            let line = format!("  {id}  {}  {}", key.scheme, sanitize(name));
            output.text(line.trim_end())?;
        }
    }
    Ok(())
}
