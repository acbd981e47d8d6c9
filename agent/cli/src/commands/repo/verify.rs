//! `surefoot repo verify`: the whole repository, as a robot sees it.

use crate::{
    desk::{Left, left, named, warnings},
    errors::Usage,
    files,
    output::{self, Output, sanitize},
    place::is_url,
    web_servers::{self, NetArgs},
};
use anyhow::ensure;
use jiff::Timestamp;
use serde_json::json;
use std::path::{Path, PathBuf};
use surefoot_trust::{
    audit::{self, Audit, audit_at, differing, first_root, follow},
    trusted_set::TrustedSet,
};

/// Arguments of `surefoot repo verify`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  As a robot would see it:
      surefoot repo verify https://updates.example.org/fleet")]
pub(crate) struct VerifyArgs {
    /// The repository: a directory, or the URL that robots reach it by.
    #[arg(value_name = "DIR|URL")]
    place: String,
    /// The robot's trust anchor. [default: the first root of the repository itself]
    #[arg(long, value_name = "FILE")]
    anchor: Option<PathBuf>,
    /// Another state of it, which robots have seen: a directory or a URL. Says what they would refuse here,
    /// or pass over: after a backup was restored, or before a copy replaces what is served.
    #[arg(long, value_name = "DIR|URL")]
    against: Option<String>,
    /// The time to judge expiry by, e.g. 2030-01-31T12:00:00Z. [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    #[command(flatten)]
    net: NetArgs,
}

/// Looks at all of a repository.
///
/// # Errors
/// What makes a robot believe none of it.
pub(super) fn look(
    place: &str,
    anchor: &[u8],
    now: Timestamp,
    net: &NetArgs,
) -> anyhow::Result<Audit> {
    if is_url(place) {
        return web_servers::wait(async {
            Ok(audit_at(place, net.options(), anchor, now, named).await?)
        });
    }
    Ok(audit::audit(Path::new(place), anchor, now, named)?)
}

/// What a robot believes of a repository, whatever it offers.
///
/// # Errors
/// As [`look`].
pub(super) fn seen(
    place: &str,
    anchor: &[u8],
    now: Timestamp,
    net: &NetArgs,
) -> anyhow::Result<TrustedSet> {
    web_servers::wait(async { Ok(audit::seen(place, net.options(), anchor, now).await?) })
}

/// What robots that have seen another state of a repository would refuse in it, or pass over.
fn against(
    audit: &Audit,
    args: &VerifyArgs,
    anchor: &[u8],
    now: Timestamp,
) -> anyhow::Result<Vec<String>> {
    let Some(other) = &args.against else {
        return Ok(Vec::new());
    };
    ensure!(
        !is_url(&args.place),
        Usage("--against compares a repository in a directory with another place".into())
    );
    let seen = seen(other, anchor, now, &args.net)?;
    Ok(match follow(Path::new(&args.place), seen, now) {
        Err(error) => vec![format!("robots that have seen {other} refuse this one: {error}")],
        Ok(believed) => (differing(&believed, &audit.set).into_iter())
            .map(|(role, version)| {
                format!(
                    "robots that have seen {other} stay with {role} version {version} of there, which is \
                     another file than here"
                )
            })
            .collect(),
    })
}

/// The root that a repository is believed by: the one that was given, or the first that lies there.
///
/// # Errors
/// It cannot be read.
pub(super) fn anchor(place: &str, given: Option<&Path>, net: &NetArgs) -> anyhow::Result<Vec<u8>> {
    match given {
        Some(file) => files::read_signed(file),
        None if is_url(place) => {
            output::notice(
                "without --anchor the first root that lies there is believed; robots have one of their own",
            );
            web_servers::wait(async { Ok(first_root(place, net.options()).await?) })
        }
        None => files::read_signed(&Path::new(place).join("metadata/1.root.json")),
    }
}

/// Runs it.
///
/// # Errors
/// It did not end well.
pub(super) fn run(args: &VerifyArgs, output: Output) -> anyhow::Result<()> {
    let bytes = anchor(&args.place, args.anchor.as_deref(), &args.net)?;
    let now = args.at.unwrap_or_else(Timestamp::now);
    let audit = look(&args.place, &bytes, now, &args.net)?;
    let set = &audit.set;
    let versions = audit.versions();
    let strangers = against(&audit, args, &bytes, now)?;
    let expiries = audit.expiries();
    for warning in warnings(&expiries, Path::new(&args.place), now) {
        output::notice(&warning);
    }
    let problems: Vec<String> = audit.problems.iter().map(ToString::to_string).collect();
    if output.is_json() {
        let versions: serde_json::Map<_, _> = versions
            .iter()
            .map(|(role, version)| ((*role).to_owned(), (*version).into()))
            .collect();
        output.object(&json!({
            "versions": versions,
            "expires": set.expires().map(|t| t.to_string()),
            "delegated": audit.delegated,
            "targets": audit.targets,
            "bytes": audit.bytes,
            "problems": problems,
            "against": args.against.as_ref().map(|_| &strangers),
        }))?;
    } else {
        let words: Vec<String> = versions.iter().map(|(r, v)| format!("{r} {v}")).collect();
        output.text(&words.join(", "))?;
        if let Some(expires) = set.expires() {
            output.text(&format!("valid until {expires}"))?;
        }
        for expiry in &expiries {
            if let Left::Enough(days) | Left::Few(days) = left(expiry, now) {
                output.text(&format!("  {:<9} {days} days left", expiry.role))?;
            }
        }
        output.text(&format!("{} targets, {} bytes", audit.targets, audit.bytes))?;
        for problem in &problems {
            output.text(&format!("WRONG: {}", sanitize(problem)))?;
        }
        for stranger in &strangers {
            output.text(&format!("WRONG: {}", sanitize(stranger)))?;
        }
    }
    ensure!(
        problems.is_empty(),
        "{} files of the repository are wrong; publish them again",
        problems.len()
    );
    ensure!(
        strangers.is_empty(),
        "robots would not follow: new keys for timestamp, snapshot and targets let them count anew (surefoot \
         repo rotate {} --role …)",
        args.place
    );
    Ok(())
}
