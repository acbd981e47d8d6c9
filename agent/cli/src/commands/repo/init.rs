//! `surefoot repo init`: a new repository and the keys that sign it.

use super::{
    new_keys::NewKeys,
    values::{Lifetime, assignment},
};
use crate::{desk::first_time, errors::Usage, keyring, output::Output};
use anyhow::ensure;
use serde_json::json;
use std::{path::PathBuf, sync::Arc};
use surefoot_trust::{
    Editor, Keyring,
    editor::{DAY, RepositoryPlan, RolePlan},
    keys::PrivateKey,
};

/// Arguments of `surefoot repo init`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  A repository, and keys of its own:
      surefoot repo init fleet --keys-dir keys
  Two of three people must sign a new root:
      surefoot repo init fleet --keys root=3 --threshold root=2")]
pub(crate) struct InitArgs {
    /// The repository: a new or empty directory. Serve it with any web server.
    dir: PathBuf,
    /// How many keys must sign for each role, e.g. root=2,targets=1.
    #[arg(long, value_delimiter = ',', value_name = "ROLE=N", value_parser = assignment::<u64>)]
    threshold: Vec<(String, u64)>,
    /// How many keys each role gets, e.g. root=3. [default: as many as the threshold]
    #[arg(long, value_delimiter = ',', value_name = "ROLE=N", value_parser = assignment::<u64>)]
    keys: Vec<(String, u64)>,
    /// How long signatures are valid, e.g. timestamp=7d,targets=180d. Units: d, h, m, s.
    /// [default: root=365d,targets=180d,snapshot=30d,timestamp=7d]
    #[arg(long, value_delimiter = ',', value_name = "ROLE=TIME", value_parser = assignment::<Lifetime>)]
    expires: Vec<(String, Lifetime)>,
    #[command(flatten)]
    new_keys: NewKeys,
}

/// Runs it.
///
/// # Errors
/// It did not end well.
pub(super) fn run(args: &InitArgs, output: Output) -> anyhow::Result<()> {
    let keys_dir = args.new_keys.at.first(&args.dir);
    ensure!(
        !keys_dir.starts_with(&args.dir),
        Usage(format!(
            "the keys must not lie in the repository, which is served to everybody: {}",
            keys_dir.display()
        ))
    );
    ensure!(
        !args.dir.join("metadata").join("1.root.json").exists(),
        surefoot_trust::Error::Exists(args.dir.clone())
    );
    let now = first_time()?;
    let mut ring = Keyring::new();
    let mut writer = keyring::Writer::new(keys_dir.clone(), args.new_keys.encrypt)?;
    let mut role = |name: &str, threshold: u64, days: u64| -> anyhow::Result<_> {
        let threshold = last(&args.threshold, name).unwrap_or(threshold);
        let count = last(&args.keys, name).unwrap_or(threshold);
        ensure!(
            (1..=count).contains(&threshold) && count <= 100,
            Usage(format!(
                "'{name}' cannot need {threshold} signatures with {count} keys; at most 100 keys, at least one signature"
            ))
        );
        let mut keys = Vec::new();
        for _ in 0..count {
            let key = PrivateKey::generate(args.new_keys.key_type.into())?;
            keys.push(writer.write(keyring::folder(name), name, &key)?);
            ring.add(Arc::new(key));
        }
        Ok(RolePlan {
            keys,
            threshold,
            lifetime: last(&args.expires, name).unwrap_or(Lifetime(days * DAY)).0,
        })
    };
    let (root, targets) = (role("root", 1, 365)?, role("targets", 1, 180)?);
    let (snapshot, timestamp) = (role("snapshot", 1, 30)?, role("timestamp", 1, 7)?);
    let plan = RepositoryPlan {
        root,
        targets,
        snapshot,
        timestamp,
        names: writer.names.clone(),
    };
    let editor = Editor::init(&args.dir, &plan, ring, now)?;
    let anchor = args.dir.join("metadata").join("1.root.json");
    if output.is_json() {
        return output.object(&json!({
            "repository": args.dir,
            "anchor": anchor,
            "keysDir": keys_dir,
            "keys": writer.written,
            "versions": editor.versions(),
        }));
    }
    output.text(&format!("Repository   {}", args.dir.display()))?;
    output.text("             metadata/ and targets/ in it are static files: serve them with any web server")?;
    output.text(&format!("Trust anchor {}", anchor.display()))?;
    output.text("             give it to each robot as /etc/surefoot/root.json")?;
    output.text(&format!("Keys         {}", keys_dir.display()))?;
    output.text(&format!(
        "  root/      {} of {} must sign; move them off this machine, each to another place",
        plan.root.threshold,
        plan.root.keys.len()
    ))?;
    output.text(&format!(
        "  targets/   {} of {} must sign each release; keep them where releases are made",
        plan.targets.threshold,
        plan.targets.keys.len()
    ))?;
    output.text(
        "  online/    snapshot and timestamp; keep them where `surefoot repo refresh` runs",
    )?;
    if !args.new_keys.encrypt {
        output.text("None of the keys is encrypted; --encrypt does that.")?;
    }
    output.text("")?;
    output.text("Next:")?;
    output.text(&format!(
        "  surefoot publish --repo {} --channel stable --model MODEL --cache URL TOPLEVEL",
        args.dir.display()
    ))?;
    output.text(&format!(
        "  surefoot repo refresh {}   # from a timer; timestamp.json is valid for {} h",
        args.dir.display(),
        plan.timestamp.lifetime / 3600
    ))?;
    Ok(())
}

fn last<T: Copy>(list: &[(String, T)], name: &str) -> Option<T> {
    list.iter()
        .rev()
        .find(|(role, _)| role == name)
        .map(|(_, value)| *value)
}
