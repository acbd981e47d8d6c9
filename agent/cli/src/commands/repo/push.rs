//! `surefoot repo push`: a repository goes to where robots read it, and never half of it.

use super::{
    place::{Destination, Has, MAX_FILE, NEWEST, Place},
    verify,
};
use crate::{
    desk::{WaitArgs, named},
    files,
    output::{Output, sanitize},
    web_servers::NetArgs,
};
use anyhow::{Context as _, bail, ensure};
use jiff::Timestamp;
use serde_json::json;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use surefoot_base::{file, units::short_bytes};
use surefoot_trust::{
    Keyring,
    audit::{self, Audit},
    trusted_set::TrustedSet,
};

/// Arguments of `surefoot repo push`.
#[derive(Debug, clap::Args)]
pub(crate) struct PushArgs {
    /// The repository.
    dir: PathBuf,
    /// Where robots are served from: a directory, which is made if it is missing, or the URL of a bucket of an
    /// S3-compatible store (https://…), with --s3-credentials.
    #[arg(value_name = "DIR|URL")]
    destination: String,
    /// What is there went on by itself, after the backup was made from which this one was restored: write
    /// over it, provided that robots which have seen it would follow.
    #[arg(long)]
    replace: bool,
    /// Say what would be written, and write nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    net: NetArgs,
}

/// Runs it.
///
/// # Errors
/// It did not end well.
pub(super) fn run(args: &PushArgs, output: Output) -> anyhow::Result<()> {
    // Held open, and so locked: nobody changes either meanwhile.
    let source = args.wait.open(&args.dir, Keyring::new())?;
    let anchor = files::read_signed(&args.dir.join("metadata/1.root.json"))?;
    let ours = audit::audit(&args.dir, &anchor, Timestamp::now(), named)?;
    is_whole(&ours, args.dir.display()).context("nothing was written")?;
    let destination = Destination::new(&args.destination, &args.net)?;
    let newest = destination.read(NEWEST)?;
    let _held = match &destination.place {
        Place::Dir(dir) if newest.is_some() => Some(args.wait.open(dir, Keyring::new())?),
        _ => None,
    };
    let mut roots_last = true;
    if newest.is_some() {
        // Whether it has expired does not matter: the time of its own signature counts.
        let time = Timestamp::UNIX_EPOCH;
        let seen = verify::seen(&args.destination, &anchor, time, &args.net)?;
        let root = seen.root().role.common.version;
        let check = if args.replace {
            is_followed(args, &ours, seen)
        } else {
            is_behind(&ours, &seen)
        };
        check.with_context(|| format!("nothing was written to {destination}"))?;
        roots_last = source.is_believed_since(root)?;
    }
    let files = in_order(files_of(&args.dir)?, roots_last);
    let missing = missing(&files, args, &destination)?;
    let mut bytes = 0;
    for name in &missing {
        let content = file::read(&args.dir.join(name), MAX_FILE)
            .with_context(|| name.display().to_string())?;
        bytes += content.len() as u64;
        if args.dry_run {
            continue;
        }
        let name = name.to_string_lossy();
        if name == NEWEST && matches!(destination.place, Place::Bucket(_)) {
            // A bucket cannot be locked.
            ensure!(
                destination.read(NEWEST)? == newest,
                "somebody else has pushed to {destination} meanwhile, and robots see that; bring this one up to \
                 date first"
            );
        }
        destination.write(&name, content)?;
    }
    if !args.dry_run {
        let there = verify::look(&args.destination, &anchor, Timestamp::now(), &args.net)?;
        is_whole(&there, &destination)?;
    }
    if output.is_json() {
        return output.object(&json!({
            "files": files.len(),
            "written": missing.len(),
            "bytes": bytes,
            "dryRun": args.dry_run,
            "versions": source.versions(),
        }));
    }
    let said = format!(
        "{} of {} files, {} {} to {}",
        missing.len(),
        files.len(),
        short_bytes(bytes),
        if args.dry_run {
            "would be written"
        } else {
            "were written"
        },
        destination
    );
    output.text(&sanitize(&said))
}

/// Whether a robot would believe all that a repository offers.
fn is_whole(found: &Audit, place: impl std::fmt::Display) -> anyhow::Result<()> {
    match found.problems.first() {
        None => Ok(()),
        Some(problem) => bail!("{place} is not whole: {problem}"),
    }
}

/// Whether robots that have seen what the destination has would take what the source has.
fn is_followed(args: &PushArgs, ours: &Audit, seen: TrustedSet) -> anyhow::Result<()> {
    let believed = audit::follow(&args.dir, seen, Timestamp::now());
    let believed = believed.context("robots would not follow")?;
    if let Some((role, version)) = audit::differing(&believed, &ours.set).first() {
        bail!(
            "robots that have seen {role} version {version} there would stay with it: surefoot repo verify {} \
             --against {}",
            args.dir.display(),
            args.destination
        );
    }
    Ok(())
}

/// Whether there is nothing at the destination that the source does not have.
fn is_behind(ours: &Audit, seen: &TrustedSet) -> anyhow::Result<()> {
    for ((role, theirs), (_, ours)) in audit::versions(seen).into_iter().zip(ours.versions()) {
        ensure!(
            theirs <= ours,
            "it has version {theirs} of {role}, and this repository has {ours}: somebody else has pushed \
             since; bring this one up to date first"
        );
    }
    Ok(())
}

/// The order in which files may appear: targets, what lists them, then the timestamp.
///
/// A new root may have other keys for the timestamp. Where those of the root before have signed the new
/// files too, the root comes after them, and robots believe what they see at each moment. Where they have
/// not, no order helps: the root comes right before the timestamp, and a robot that asks in between sees an
/// error and asks again.
fn in_order(mut files: Vec<PathBuf>, roots_last: bool) -> Vec<PathBuf> {
    let rank = |name: &PathBuf| {
        let text = name.to_string_lossy();
        match &*text {
            NEWEST => (3, 0),
            text if text.starts_with("targets/") => (0, 0),
            text => match root_version(text) {
                Some(version) if roots_last => (4, version),
                Some(version) => (2, version),
                None => (1, 0),
            },
        }
    };
    files.sort_by_cached_key(|name| (rank(name), name.clone()));
    files
}

/// The version of a file of a root.
fn root_version(name: &str) -> Option<u64> {
    let name = name.strip_prefix("metadata/")?;
    name.strip_suffix(".root.json")?.parse().ok()
}

/// The files of a repository.
fn files_of(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for part in ["targets", "metadata"] {
        let mut waiting = vec![PathBuf::from(part)];
        while let Some(at) = waiting.pop() {
            let entries = match fs::read_dir(dir.join(&at)) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound && part == "targets" => {
                    continue;
                }
                Err(error) => return Err(error).context(at.display().to_string()),
            };
            for entry in entries {
                let entry = entry.with_context(|| at.display().to_string())?;
                let name = at.join(entry.file_name());
                let unfinished = entry
                    .file_name()
                    .to_string_lossy()
                    .starts_with(file::TEMPORARY);
                let kind = entry
                    .file_type()
                    .with_context(|| name.display().to_string())?;
                if kind.is_dir() {
                    waiting.push(name);
                } else if kind.is_file() && !unfinished {
                    files.push(name);
                }
            }
        }
    }
    Ok(files)
}

/// Those that the destination does not have. What is there under the same name with other content is
/// another repository, or one that went on elsewhere: found before anything is written.
fn missing(
    files: &[PathBuf],
    args: &PushArgs,
    destination: &Destination,
) -> anyhow::Result<Vec<PathBuf>> {
    let mut missing = Vec::new();
    for name in files {
        let text = name.to_string_lossy();
        let here = file::read(&args.dir.join(name), MAX_FILE).with_context(|| text.to_string())?;
        let has = destination
            .has(&text, &here)
            .with_context(|| text.to_string())?;
        if has == Has::Same {
            continue;
        }
        let versioned = |text: &str| {
            let name = text.strip_prefix("metadata/");
            name.is_some_and(|name| name.starts_with(|c: char| c.is_ascii_digit()))
        };
        ensure!(
            has == Has::Nothing || args.replace || !versioned(&text),
            "{text} has other content at {destination}: that is another repository, or this one was restored \
             from a backup and went on; see --replace"
        );
        missing.push(name.clone());
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_appears_before_what_it_speaks_of() {
        let files = || -> Vec<PathBuf> {
            [
                "metadata/10.root.json",
                "metadata/9.root.json",
                "metadata/12.snapshot.json",
                NEWEST,
                "targets/x/1.json",
            ]
            .map(PathBuf::from)
            .into()
        };
        let order = |roots_last| -> Vec<String> {
            let files = in_order(files(), roots_last).into_iter();
            files.map(|name| name.display().to_string()).collect()
        };
        let (nine, ten) = ("metadata/9.root.json", "metadata/10.root.json");
        assert_eq!(
            order(true),
            [
                "targets/x/1.json",
                "metadata/12.snapshot.json",
                NEWEST,
                nine,
                ten
            ]
        );
        assert_eq!(
            order(false),
            [
                "targets/x/1.json",
                "metadata/12.snapshot.json",
                nine,
                ten,
                NEWEST
            ]
        );
    }
}
