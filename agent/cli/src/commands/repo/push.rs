//! `surefoot repo push`: a repository goes to where robots read it, and never half of it.

use super::verify;
use crate::{
    desk::{WaitArgs, named, released},
    files,
    output::{self, Output, sanitize},
    place::{self, Destination, Guard, Has, NEWEST, is_versioned},
    web_servers::{self, NetArgs},
};
use anyhow::{Context as _, bail, ensure};
use jiff::Timestamp;
use serde_json::json;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use surefoot_base::{file, units::short_bytes};
use surefoot_core::release::manifest_channel;
use surefoot_trust::{
    Keyring,
    audit::{self, Audit},
    trusted_set::TrustedSet,
};

/// Arguments of `surefoot repo push`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  To a bucket:
      surefoot repo push fleet https://s3.example.org/updates --s3-credentials https://s3.example.org=credentials
  To a server, over ssh:
      surefoot repo push fleet www@updates.example.org:/srv/fleet")]
pub(crate) struct PushArgs {
    /// The repository.
    dir: PathBuf,
    /// Where robots are served from: a directory, which is made if it is missing; the URL of a bucket of an
    /// S3-compatible store (https://…), with --s3-credentials; or a directory of another machine, which the
    /// system's rsync reaches (user@host:/path over ssh, or rsync://host/module/path).
    #[arg(value_name = "DIR|URL|HOST:PATH")]
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
    let newest = destination.newest()?;
    let _held = match &destination {
        Destination::Dir(dir) if newest.is_some() => Some(args.wait.open(dir, Keyring::new())?),
        _ => None,
    };
    let mut roots_last = true;
    if newest.is_some() {
        // Whether it has expired does not matter: the time of its own signature counts.
        let time = Timestamp::UNIX_EPOCH;
        let seen = verify::seen(&destination.readable(), &anchor, time, &args.net)?;
        let root = seen.root().role.common.version;
        let check = if args.replace {
            is_followed(args, &destination, &ours, seen)
        } else {
            is_behind(&ours, &seen).map_err(|error| lacking(error, args, &destination, &anchor))
        };
        check.with_context(|| format!("nothing was written to {destination}"))?;
        roots_last = source.is_believed_since(root)?;
    }
    let files = in_order(files_of(&args.dir)?, roots_last);
    let missing = missing(&files, args, &destination)
        .map_err(|error| match newest {
            Some(_) => lacking(error, args, &destination, &anchor),
            None => error,
        })
        .with_context(|| format!("nothing was written to {destination}"))?;
    let mut bytes = 0;
    for name in &missing {
        let found = fs::metadata(args.dir.join(name));
        bytes += found.with_context(|| name.display().to_string())?.len();
    }
    let mut guard = Guard::Kept;
    if !args.dry_run {
        for together in missing.chunk_by(|a, b| step(a, roots_last) == step(b, roots_last)) {
            let names: Vec<&PathBuf> = together.iter().collect();
            if names != [Path::new(NEWEST)] {
                destination.write(&args.dir, &names, args.replace)?;
                continue;
            }
            let comes = step(Path::new(NEWEST), roots_last);
            let there = files.iter().filter(|name| step(name, roots_last) < comes);
            let there: Vec<PathBuf> = there.cloned().collect();
            guard = destination.write_newest(&args.dir, newest.as_ref(), &there)?;
        }
        if let Destination::Remote(remote) = &destination {
            if let Some(name) = remote.differing(&args.dir, &files)?.first() {
                bail!(
                    "{destination} is not whole: it has other content in {}",
                    name.display()
                );
            }
        } else {
            let there = verify::look(&args.destination, &anchor, Timestamp::now(), &args.net)?;
            is_whole(&there, &destination)?;
        }
    }
    if guard == Guard::Looked {
        output::notice(&format!(
            "warning: {destination} cannot be locked and does not write by a condition (If-Match), so of two who \
             push in the same moment one could be lost: push from one desk at a time"
        ));
    }
    if output.is_json() {
        return output.object(&json!({
            "files": files.len(),
            "written": missing.len(),
            "bytes": bytes,
            "dryRun": args.dry_run,
            "guarded": guard == Guard::Kept,
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
fn is_followed(
    args: &PushArgs,
    destination: &Destination,
    ours: &Audit,
    seen: TrustedSet,
) -> anyhow::Result<()> {
    let believed = audit::follow(&args.dir, seen, Timestamp::now());
    let believed = believed.context("robots would not follow")?;
    if let Some((role, version)) = audit::differing(&believed, &ours.set).first() {
        bail!(
            "robots that have seen {role} version {version} there would stay with it: surefoot repo verify {} \
             --against {destination}",
            args.dir.display(),
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

/// The same refusal with what robots see there and this copy does not have, as far as that can be read.
fn lacking(
    error: anyhow::Error,
    args: &PushArgs,
    destination: &Destination,
    anchor: &[u8],
) -> anyhow::Error {
    let of = |place: &str| {
        let is_manifest = |name: &str| manifest_channel(name).is_some();
        let (options, time) = (args.net.options(), Timestamp::UNIX_EPOCH);
        let files = web_servers::wait(async {
            Ok(audit::targets(place, options, anchor, time, is_manifest).await?)
        });
        files.map(|files| released(&files))
    };
    let (theirs, ours) = (of(&destination.readable()), of(&args.dir.to_string_lossy()));
    let (Ok(theirs), Ok(ours)) = (theirs, ours) else {
        return error;
    };
    let lacking: Vec<String> = (theirs.iter())
        .filter_map(|(name, release)| match ours.get(name) {
            None => Some(format!("{name}, which is not here")),
            Some(ours) if ours != release => Some(format!("{name}, which is another here")),
            Some(_) => None,
        })
        .collect();
    let more = lacking.len().saturating_sub(MOST_NAMED);
    let mut words = lacking[..lacking.len() - more].join("; ");
    if more > 0 {
        words = format!("{words}; and {more} more");
    }
    if lacking.is_empty() {
        words = "the same releases as here, signed at another time".to_owned();
    }
    anyhow::anyhow!("{error}. It has {words}")
}

/// So many releases are named to who lacks them.
const MOST_NAMED: usize = 5;

/// The order in which files may appear: targets, what lists them, then the timestamp.
///
/// A new root may have other keys for the timestamp. Where those of the root before have signed the new
/// files too, the root comes after them, and robots believe what they see at each moment. Where they have
/// not, no order helps: the root comes right before the timestamp, and a robot that asks in between sees an
/// error and asks again.
fn in_order(mut files: Vec<PathBuf>, roots_last: bool) -> Vec<PathBuf> {
    files.sort_by_cached_key(|name| (step(name, roots_last), name.clone()));
    files
}

/// What is written together, and when: a root each by itself, after the one before.
fn step(name: &Path, roots_last: bool) -> (u8, u64) {
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
}

/// The version of a file of a root.
fn root_version(name: &str) -> Option<u64> {
    let name = name.strip_prefix("metadata/")?;
    name.strip_suffix(".root.json")?.parse().ok()
}

/// The files of a repository. Links to files are followed, as the web server of a directory does.
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
                if (entry.file_name().to_string_lossy()).starts_with(file::TEMPORARY) {
                    continue;
                }
                let name = at.join(entry.file_name());
                let shown = || name.display().to_string();
                let kind = entry.file_type().with_context(shown)?;
                if kind.is_dir() {
                    waiting.push(name);
                } else if fs::metadata(entry.path()).with_context(shown)?.is_file() {
                    files.push(name);
                } else {
                    bail!(
                        "{} is {}, which would not be pushed: put files in its place",
                        name.display(),
                        if kind.is_symlink() {
                            "a link that leads to no file"
                        } else {
                            "neither a file nor a directory"
                        }
                    );
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
    let differing = match destination {
        Destination::Remote(remote) => Some(remote.differing(&args.dir, files)?),
        _ => None,
    };
    let mut missing = Vec::new();
    for name in files {
        if differing
            .as_ref()
            .is_some_and(|names| !names.contains(name))
        {
            continue;
        }
        let text = name.to_string_lossy();
        let here = place::read(&args.dir, name)?;
        let has = destination
            .has(&text, &here)
            .with_context(|| text.to_string())?;
        if has == Has::Same {
            continue;
        }
        ensure!(
            has == Has::Nothing || args.replace || !is_versioned(&text),
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
