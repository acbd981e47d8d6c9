//! `surefoot repo sign`: a draft is signed where its keys are.

use super::{draft, review, verify};
use crate::{
    errors::Usage,
    files,
    keyring::KeysArgs,
    output::{Output, sanitize},
    web_servers::{self, NetArgs},
};
use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use serde_json::json;
use std::path::PathBuf;
use surefoot_base::file;
use surefoot_trust::{
    Keyring, audit,
    editor::{Draft, MAX_DRAFT_BYTES, TargetsDraft},
};

/// Arguments of `surefoot repo sign`.
#[derive(Debug, clap::Args)]
#[command(mut_arg("keys_dir", |keys| keys.required(true)))]
#[command(after_long_help = r"Examples:
  Sign a draft of a root:
      surefoot repo sign root-draft.json --keys-dir /media/stick/keys
  Look at what a release changes, and sign it:
      surefoot repo sign release-draft.json --repo fleet --keys-dir keys")]
pub(crate) struct SignArgs {
    /// The draft that `--draft` of `surefoot repo rotate`, publish, rollout, recall, promote or retire wrote.
    /// Signatures are added to it.
    draft: PathBuf,
    /// The repository that a draft of releases is for: a directory, or the URL that robots reach it by. What
    /// the draft changes there is shown, and who has a say in it stands there. A draft of a root needs
    /// nothing.
    #[arg(long, value_name = "DIR|URL")]
    repo: Option<String>,
    /// The root that the repository is believed by, as robots have it. [default: the first root of the
    /// repository itself]
    #[arg(long, value_name = "FILE", requires = "repo")]
    anchor: Option<PathBuf>,
    #[command(flatten)]
    keys: KeysArgs,
    #[command(flatten)]
    net: NetArgs,
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
    file::replace(&args.draft, &draft.to_bytes()?, 0o644).with_context(name)?;
    draft::report(&draft, &args.draft, &[], output)
}

fn is_of_use(signed: bool) -> anyhow::Result<()> {
    ensure!(
        signed,
        "none of the keys at hand has a say in this that it has not said yet"
    );
    Ok(())
}

/// Signs releases: first says all that the signature would change in the repository.
fn sign_targets(
    args: &SignArgs,
    bytes: &[u8],
    keys: &Keyring,
    output: Output,
) -> anyhow::Result<()> {
    let name = || args.draft.display().to_string();
    let mut draft = TargetsDraft::parse(bytes).with_context(name)?;
    let place = args.repo.as_ref().ok_or_else(|| {
        Usage("say with --repo which repository the releases are for: a directory or a URL".into())
    })?;
    let anchor = verify::anchor(place, args.anchor.as_deref(), &args.net)?;
    let now = Timestamp::now();
    let (role, before) = web_servers::wait(async {
        let wanted = draft.files().keys();
        let options = args.net.options();
        Ok(audit::in_force(place, options, &anchor, now, draft.role(), wanted).await?)
    })?;
    let lines = review::lines(&draft, &role.targets, &before, now)?;
    for line in &lines {
        output.text(&sanitize(line))?;
    }
    let added = draft.sign(keys, &role)?;
    let missing = draft.check(&role).err().map(|e| e.to_string());
    is_of_use(added > 0 || missing.is_none())?;
    file::replace(&args.draft, &draft.to_bytes()?, 0o644).with_context(name)?;
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
