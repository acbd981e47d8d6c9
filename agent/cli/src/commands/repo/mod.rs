//! `surefoot repo …`: making and keeping a signed repository.

mod rotate;

use crate::keyring::{self, keyring, keys_dir};

use anyhow::{Context as _, ensure};
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::json;
use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};
use surefoot_trust::{
    Editor, Keyring,
    editor::{DAY, RepositoryPlan, RolePlan, Versions},
    keys::{PrivateKey, Scheme},
};

/// Two roots of the largest size that robots read, and then some, bytes.
const MAX_FILE: u64 = 2 << 20;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a new repository and the keys that sign it.
    Init(Init),
    /// Sign again what lives short, so that robots know that no news is held back.
    ///
    /// Run it from a timer, several times in the lifetime of timestamp.json.
    Refresh(Refresh),
    /// Look at the whole repository as a robot would, and at every file it offers.
    Verify(Verify),
    /// Take away metadata that was replaced long ago, and files that only such metadata lists.
    ///
    /// Every root stays, and what is in force: a robot that was off for years needs no more. Needs
    /// no keys.
    Prune(Prune),
    /// List who may sign what.
    Keys(rotate::Keys),
    /// Replace, add or take away keys, or change how many must sign.
    Rotate(rotate::Rotate),
    /// Sign a new root where its keys are, away from the repository.
    Sign(rotate::Sign),
    /// Put a channel into the hands of others, with keys of their own.
    Delegate(rotate::Delegate),
    /// Take it back.
    Revoke(rotate::Revoke),
}

/// Arguments of `surefoot repo init`.
#[derive(Debug, clap::Args)]
pub(crate) struct Init {
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
    new_keys: rotate::NewKeys,
}

/// Arguments of `surefoot repo refresh`.
#[derive(Debug, clap::Args)]
pub(crate) struct Refresh {
    /// The repository.
    dir: PathBuf,
    /// Where the private keys are; those of online/ are enough. [default: DIR with -keys behind it]
    #[arg(long, value_name = "DIR")]
    keys_dir: Option<PathBuf>,
}

/// Arguments of `surefoot repo verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// The repository.
    dir: PathBuf,
    /// The robot's trust anchor. [default: metadata/1.root.json of the repository itself]
    #[arg(long, value_name = "FILE")]
    anchor: Option<PathBuf>,
    /// The time to judge expiry by, e.g. 2030-01-31T12:00:00Z. [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
}

/// Arguments of `surefoot repo prune`.
#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    /// The repository.
    dir: PathBuf,
    /// How long what was replaced is kept, for robots in the midst of reading and for mirrors.
    #[arg(long, value_name = "TIME", default_value = "30d")]
    keep: Lifetime,
    /// Say what would go, and leave it.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum KeyType {
    Ed25519,
    /// ECDSA on P-256.
    Ecdsa,
    /// RSA-PSS, 3072 bits.
    Rsa,
}

impl From<KeyType> for Scheme {
    fn from(kind: KeyType) -> Self {
        match kind {
            KeyType::Ed25519 => Self::Ed25519,
            KeyType::Ecdsa => Self::EcdsaP256,
            KeyType::Rsa => Self::RsaPss,
        }
    }
}

/// A time span in whole seconds: `90s`, `15m`, `12h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lifetime(u64);

impl std::str::FromStr for Lifetime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no time span; write e.g. 90s, 15m, 12h or 7d");
        let unit = text.chars().last().ok_or_else(wrong)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => DAY,
            _ => return Err(wrong()),
        };
        text[..text.len() - 1]
            .parse::<u64>()
            .ok()
            .filter(|n| *n > 0)
            .and_then(|n| n.checked_mul(seconds))
            .map(Self)
            .ok_or_else(wrong)
    }
}

/// Reads `ROLE=VALUE` for one of the four roles.
fn assignment<T: std::str::FromStr<Err: std::fmt::Display>>(
    text: &str,
) -> Result<(String, T), String> {
    let (role, value) = text
        .split_once('=')
        .ok_or_else(|| format!("'{text}' is not of the form ROLE=VALUE"))?;
    if !surefoot_trust::metadata::TOP_LEVEL.contains(&role) {
        return Err(format!(
            "there is no role '{role}'; use root, targets, snapshot or timestamp"
        ));
    }
    let value = value.parse().map_err(|e| format!("{role}: {e}"))?;
    Ok((role.to_owned(), value))
}

/// Runs one.
pub(crate) fn run(command: Command, json: bool) -> anyhow::Result<()> {
    match command {
        Command::Init(args) => init(&args, json),
        Command::Refresh(args) => refresh(&args, json),
        Command::Verify(args) => verify(&args, json),
        Command::Prune(args) => prune(&args, json),
        Command::Keys(args) => rotate::keys(&args, json),
        Command::Rotate(args) => rotate::rotate(&args, json),
        Command::Sign(args) => rotate::sign(&args, json),
        Command::Delegate(args) => rotate::delegate(&args, json),
        Command::Revoke(args) => rotate::revoke(&args, json),
    }
}

fn init(args: &Init, json: bool) -> anyhow::Result<()> {
    let keys_dir = keys_dir(&args.dir, args.new_keys.keys_dir.as_deref());
    ensure!(
        !keys_dir.starts_with(&args.dir),
        crate::errors::Usage(format!(
            "the keys must not lie in the repository, which is served to everybody: {}",
            keys_dir.display()
        ))
    );
    ensure!(
        !args.dir.join("metadata").join("1.root.json").exists(),
        surefoot_trust::Error::Exists(args.dir.clone())
    );
    let mut ring = Keyring::new();
    let mut writer = keyring::Writer::new(keys_dir.clone(), args.new_keys.encrypt)?;
    let mut role = |name: &str, threshold: u64, days: u64| -> anyhow::Result<_> {
        let threshold = last(&args.threshold, name).unwrap_or(threshold);
        let count = last(&args.keys, name).unwrap_or(threshold);
        ensure!(
            (1..=count).contains(&threshold) && count <= 100,
            crate::errors::Usage(format!(
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
    let plan = RepositoryPlan {
        root: role("root", 1, 365)?,
        targets: role("targets", 1, 180)?,
        snapshot: role("snapshot", 1, 30)?,
        timestamp: role("timestamp", 1, 7)?,
    };
    let editor = Editor::init(&args.dir, &plan, ring, Timestamp::now())?;
    let anchor = args.dir.join("metadata").join("1.root.json");
    if json {
        println!(
            "{}",
            json!({
                "repository": args.dir,
                "anchor": anchor,
                "keysDir": keys_dir,
                "keys": writer.written,
                "versions": editor.versions(),
            })
        );
        return Ok(());
    }
    println!("Repository   {}", args.dir.display());
    println!(
        "             metadata/ and targets/ in it are static files: serve them with any web server"
    );
    println!("Trust anchor {}", anchor.display());
    println!("             give it to each robot as /etc/surefoot/root.json");
    println!("Keys         {}", keys_dir.display());
    println!(
        "  root/      {} of {} must sign; move them off this machine, each to another place",
        plan.root.threshold,
        plan.root.keys.len()
    );
    println!(
        "  targets/   {} of {} must sign each release; keep them where releases are made",
        plan.targets.threshold,
        plan.targets.keys.len()
    );
    println!("  online/    snapshot and timestamp; keep them where `surefoot repo refresh` runs");
    if !args.new_keys.encrypt {
        println!("None of the keys is encrypted; --encrypt does that.");
    }
    println!();
    println!("Next:");
    println!(
        "  surefoot publish --repo {} --channel stable --model MODEL --cache URL TOPLEVEL",
        args.dir.display()
    );
    println!(
        "  surefoot repo refresh {}   # from a timer; timestamp.json is valid for {} h",
        args.dir.display(),
        plan.timestamp.lifetime / 3600
    );
    Ok(())
}

fn refresh(args: &Refresh, json: bool) -> anyhow::Result<()> {
    let keys_dir = keys_dir(&args.dir, args.keys_dir.as_deref());
    let now = Timestamp::now();
    let mut editor = Editor::open(&args.dir, keyring(&keys_dir)?)?;
    let before = editor.versions();
    let versions = editor.refresh(now)?;
    let expiries = editor.expiries();
    if json {
        let expires: serde_json::Map<_, _> = expiries
            .iter()
            .map(|(role, time)| (role.clone(), time.to_string().into()))
            .collect();
        println!("{}", json!({ "versions": versions, "expires": expires }));
        return Ok(());
    }
    for (role, expires) in expiries {
        let version = version_of(&versions, &role);
        println!(
            "{role:<9} version {version:<5} expires {expires}{}",
            if version > version_of(&before, &role) {
                "  signed now"
            } else if expires <= now {
                "  EXPIRED: sign it again with its own keys"
            } else {
                ""
            }
        );
    }
    Ok(())
}

fn prune(args: &Prune, json: bool) -> anyhow::Result<()> {
    let editor = Editor::open(&args.dir, Keyring::new())?;
    let pruned = editor.prune(args.keep.0, Timestamp::now(), args.dry_run)?;
    if json {
        println!("{}", json!({ "pruned": pruned, "dryRun": args.dry_run }));
        return Ok(());
    }
    for file in &pruned.files {
        println!("{}", file.display());
    }
    println!(
        "{} files, {} bytes{}",
        pruned.files.len(),
        pruned.bytes,
        if args.dry_run { " would go" } else { " gone" }
    );
    Ok(())
}

fn version_of(versions: &Versions, role: &str) -> u64 {
    match role {
        "root" => versions.root,
        "targets" => versions.targets,
        "snapshot" => versions.snapshot,
        "timestamp" => versions.timestamp,
        other => versions.delegated.get(other).copied().unwrap_or_default(),
    }
}

fn verify(args: &Verify, json: bool) -> anyhow::Result<()> {
    let anchor = args
        .anchor
        .clone()
        .unwrap_or_else(|| args.dir.join("metadata").join("1.root.json"));
    let bytes = read(&anchor)?;
    let now = args.at.unwrap_or_else(Timestamp::now);
    let audit = surefoot_trust::audit::audit(&args.dir, &bytes, now)?;
    let set = &audit.set;
    let version = |role: Option<u64>| role.unwrap_or_default();
    let versions = [
        ("root", set.root().role.common.version),
        (
            "targets",
            version(set.targets().map(|r| r.role.common.version)),
        ),
        (
            "snapshot",
            version(set.snapshot().map(|r| r.role.common.version)),
        ),
        (
            "timestamp",
            version(set.timestamp().map(|r| r.role.common.version)),
        ),
    ];
    let problems: Vec<String> = audit.problems.iter().map(ToString::to_string).collect();
    if json {
        let versions: serde_json::Map<_, _> = versions
            .iter()
            .map(|(role, version)| ((*role).to_owned(), (*version).into()))
            .collect();
        println!(
            "{}",
            json!({
                "versions": versions,
                "expires": set.expires().map(|t| t.to_string()),
                "delegated": audit.delegated,
                "targets": audit.targets,
                "bytes": audit.bytes,
                "problems": problems,
            })
        );
    } else {
        let words: Vec<String> = versions.iter().map(|(r, v)| format!("{r} {v}")).collect();
        println!("{}", words.join(", "));
        if let Some(expires) = set.expires() {
            println!("valid until {expires}");
        }
        println!("{} targets, {} bytes", audit.targets, audit.bytes);
        for problem in &problems {
            println!("WRONG: {problem}");
        }
    }
    ensure!(
        problems.is_empty(),
        "{} files of the repository are wrong; publish them again",
        problems.len()
    );
    Ok(())
}

/// Reads a root, a draft of one or a key: none of them is larger than [`MAX_FILE`].
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .with_context(|| path.display().to_string())?;
    ensure!(
        bytes.len() as u64 <= MAX_FILE,
        "{} has more than {MAX_FILE} bytes",
        path.display()
    );
    Ok(bytes)
}

fn last<T: Copy>(list: &[(String, T)], name: &str) -> Option<T> {
    list.iter()
        .rev()
        .find(|(role, _)| role == name)
        .map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_have_units() {
        assert_eq!("7d".parse(), Ok(Lifetime(7 * DAY)));
        assert_eq!("90s".parse(), Ok(Lifetime(90)));
        for text in [
            "",
            "7",
            "d",
            "0d",
            "-1d",
            "7 d",
            "7w",
            "99999999999999999999d",
            "7ä",
        ] {
            let result = text.parse::<Lifetime>();
            assert!(result.is_err_and(|e| e.contains("no time span")), "{text}");
        }
        assert!(
            assignment::<u64>("weather=2")
                .unwrap_err()
                .contains("no role")
        );
        assert!(
            assignment::<u64>("root")
                .unwrap_err()
                .contains("ROLE=VALUE")
        );
    }
}
