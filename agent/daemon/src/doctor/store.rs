//! The Nix store: its daemon, its room, and the systems that must stay.

use crate::inputs::Inputs;
use crate::{scrub, state::roots};
use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use surefoot_api::finding::{Finding, Subject};
use surefoot_base::{space, units::short_bytes};
use surefoot_core::{StorePath, store_path::STORE_DIR};
use surefoot_store::{Error, collect, nix_daemon::Connection, progress::Dead};

const STORE: Subject = Subject::Store;

/// How long the Nix daemon may take to answer a question, which it does from its database.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take to count what nothing keeps.
const COUNT: Duration = Duration::from_secs(60);

/// Looks at it.
pub(super) async fn findings(inputs: &Inputs) -> Vec<Finding> {
    let fetch = &inputs.config.fetch;
    let mut findings = vec![
        daemon(&fetch.daemon_socket(), &inputs.roots, PATIENCE).await,
        room(Path::new(STORE_DIR), fetch.reserve.0, async {
            let mut daemon = Connection::open(&fetch.daemon_socket(), COUNT).await?;
            collect::look(&mut daemon).await
        })
        .await,
        kept(Path::new(roots::DIR), &inputs.roots),
    ];
    findings.extend(scrubbed(
        &inputs.config.state_dir,
        inputs.config.verify.interval,
    ));
    findings
}

/// How often it is said how far a reading is.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Reads every path of the systems that are kept.
///
/// # Errors
/// The Nix daemon does not answer.
pub(super) async fn deep(inputs: &Inputs) -> anyhow::Result<Vec<Finding>> {
    let mut kept = scrub::Kept::of(&inputs.config, inputs.kept()).await?;
    let all: u64 = kept.paths.values().map(|known| known.nar_size).sum();
    let read = Arc::new(AtomicU64::new(0));
    let mut told = Instant::now();
    let mut findings = Vec::new();
    let paths: Vec<StorePath> = kept.paths.keys().cloned().collect();
    for path in &paths {
        let bytes = Arc::clone(&read);
        let count = move |more| {
            bytes.fetch_add(more, Relaxed);
        };
        let damage = kept.damage(path, count).await?;
        findings.extend(damage.map(|damage| damaged(&damage.to_string())));
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            let read = short_bytes(read.load(Relaxed));
            eprintln!("{read} of {} of the store read", short_bytes(all));
        }
    }
    if findings.is_empty() {
        let found = format!("{} paths, {}: all are whole", paths.len(), short_bytes(all));
        findings.push(Finding::ok(STORE, "reading", found));
    }
    Ok(findings)
}

/// What was found when the store was read over.
fn scrubbed(state_dir: &Path, interval: Duration) -> Vec<Finding> {
    let what = "reading";
    let scrub = match scrub::load(state_dir) {
        Ok(scrub) => scrub,
        Err(error) => {
            let advice = "it begins anew by itself; look at the disk";
            return vec![Finding::warn(STORE, what, format!("{error:#}"), advice)];
        }
    };
    if !scrub.damaged.is_empty() {
        let findings = scrub.damaged.iter();
        return findings
            .map(|(path, found)| damaged(&format!("{path} {found}")))
            .collect();
    }
    let found = match (scrub.done, scrub.at) {
        _ if interval.is_zero() => "it is not read over (verify.interval)".to_owned(),
        (Some(done), None) => format!("all was whole when it was read over, until {done:.0}"),
        (_, Some(_)) => "it is being read over; all was whole so far".to_owned(),
        (None, None) => "it has not been read over yet".to_owned(),
    };
    vec![Finding::ok(STORE, what, found)]
}

fn damaged(damage: &str) -> Finding {
    Finding::fail(
        STORE,
        "damage",
        damage,
        "where nothing that runs uses it, it is brought anew by itself (verify.repair); else, while the robot \
         stands still: nix-store --repair-path PATH --option substituters CACHE",
    )
}

/// Whether the Nix daemon answers a question that it has to open its database for: one that hangs, or cannot
/// read that, still lets everybody connect. And whether it knows what must stay.
async fn daemon(socket: &Path, roots: &BTreeMap<String, StorePath>, patience: Duration) -> Finding {
    let what = "Nix daemon";
    let systems: Vec<&StorePath> = roots.values().collect();
    let asked = async {
        let mut daemon = Connection::open(socket, patience).await?;
        daemon.valid_paths(&systems).await
    };
    match asked.await {
        Ok(known) => knows(socket, roots, &known),
        Err(error @ Error::DaemonSilent { .. }) => Finding::fail(
            STORE,
            what,
            error.to_string(),
            "see what it does: systemctl status nix-daemon; systemctl restart nix-daemon.socket nix-daemon",
        ),
        Err(error) => Finding::fail(
            STORE,
            what,
            error.to_string(),
            "systemctl start nix-daemon.socket",
        ),
    }
}

/// Whether the daemon's answer has all that must stay.
fn knows(
    socket: &Path,
    roots: &BTreeMap<String, StorePath>,
    known: &HashSet<StorePath>,
) -> Finding {
    // What is being brought need not be there yet.
    let unknown: Vec<&str> = roots
        .iter()
        .filter(|(name, system)| *name != "next" && !known.contains(*system))
        .map(|(name, _)| name.as_str())
        .collect();
    let what = "Nix daemon";
    let found = format!("it answers at {}", socket.display());
    if unknown.is_empty() {
        return Finding::ok(STORE, what, found);
    }
    Finding::fail(
        STORE,
        what,
        format!(
            "{found}, and its database does not have: {}",
            unknown.join(", ")
        ),
        "nothing that shares their paths can be imported, and a collection removes them: `nix-store --verify` says \
         more about the database, /nix/var/nix/db",
    )
}

async fn room(
    store: &Path,
    reserve: u64,
    dead: impl Future<Output = surefoot_store::Result<Dead>>,
) -> Finding {
    let what = "room";
    let free = match space::free(store) {
        Ok(free) => free,
        Err(error) => {
            let found = format!("{} cannot be looked at: {}", store.display(), error.desc());
            return Finding::fail(STORE, what, found, "install Nix");
        }
    };
    let found = format!(
        "{} are free, {} stay reserved (fetch.reserve)",
        short_bytes(free),
        short_bytes(reserve)
    );
    if free > reserve {
        Finding::ok(STORE, what, found)
    } else {
        let dead = match dead.await {
            Ok(dead) => format!(
                "{} paths that nothing keeps take {}",
                dead.paths,
                short_bytes(dead.bytes)
            ),
            Err(error) => format!("what nothing keeps cannot be counted: {error}"),
        };
        Finding::fail(
            STORE,
            what,
            format!("{found}: nothing can be fetched; {dead}"),
            "nix-store --gc removes what nothing keeps, as space.collect does where a fetch needs it; \
             nix-collect-garbage -d removes old generations as well",
        )
    }
}

/// Whether what must stay is there and has its root.
fn kept(directory: &Path, roots: &BTreeMap<String, StorePath>) -> Finding {
    let what = "kept systems";
    let lost: Vec<&String> = roots
        .iter()
        .filter(|(_, system)| !Path::new(&system.to_string()).exists())
        .map(|(name, _)| name)
        // What is being brought need not be there yet.
        .filter(|name| *name != "next")
        .collect();
    let unrooted: Vec<&String> = roots
        .iter()
        .filter(|(name, system)| {
            fs::read_link(directory.join(name)).ok().as_deref()
                != Some(Path::new(&system.to_string()))
        })
        .map(|(name, _)| name)
        .collect();
    let list = |names: &[&String]| {
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        names.join(", ")
    };
    if !lost.is_empty() {
        Finding::fail(
            STORE,
            what,
            format!("not in the store: {}", list(&lost)),
            "check the disk; the release can be published again",
        )
    } else if unrooted.is_empty() {
        Finding::ok(
            STORE,
            what,
            format!(
                "{} have their roots in {}",
                roots.len(),
                directory.display()
            ),
        )
    } else {
        Finding::fail(
            STORE,
            what,
            format!(
                "without a root in {}, so that they may be collected: {}",
                directory.display(),
                list(&unrooted)
            ),
            "systemctl restart surefootd makes them again at its next step",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_api::finding::Level;

    #[test]
    fn a_system_without_its_root_is_told() {
        let path = StorePath::from_base_name(&format!("{}-nixos", "a".repeat(32))).unwrap();
        let roots: BTreeMap<_, _> = [("next".to_owned(), path.clone())].into();
        let dir = tempfile::tempdir().unwrap();
        let finding = kept(dir.path(), &roots);
        assert_eq!(finding.level, Level::Fail);
        assert!(finding.found.contains("collected: next"), "{finding}");
        std::os::unix::fs::symlink(path.to_string(), dir.path().join("next")).unwrap();
        assert_eq!(kept(dir.path(), &roots).level, Level::Ok);
        let roots = [("confirmed".to_owned(), path)].into();
        assert!(kept(dir.path(), &roots).found.contains("not in the store"));
    }

    #[test]
    fn what_the_nix_daemon_does_not_know_of_what_must_stay_is_told() {
        let path = |c: &str| StorePath::from_base_name(&format!("{}-nixos", c.repeat(32))).unwrap();
        let roots = ["confirmed", "fallback-1", "next"];
        let roots = roots.map(str::to_owned).into_iter();
        let roots: BTreeMap<_, _> = roots.zip(["a", "b", "c"].map(path)).collect();
        let found = |known: &[&str]| {
            knows(
                Path::new("/socket"),
                &roots,
                &known.iter().map(|c| path(c)).collect(),
            )
        };
        assert_eq!(found(&["a", "b"]).level, Level::Ok);
        let lost = found(&["a"]);
        assert_eq!(lost.level, Level::Fail);
        assert!(lost.found.ends_with("does not have: fallback-1"), "{lost}");
    }

    #[tokio::test]
    async fn a_nix_daemon_that_takes_calls_and_answers_none_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let roots = BTreeMap::new();
        let ask = || daemon(&socket, &roots, Duration::from_millis(1));
        assert!(ask().await.found.contains("is gone"));
        let _hangs = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let finding = ask().await;
        assert_eq!(finding.level, Level::Fail);
        assert!(finding.found.contains("has been silent"), "{finding}");
    }

    #[tokio::test]
    async fn a_full_store_is_told_with_what_could_go() {
        let dir = tempfile::tempdir().unwrap();
        let dead = || async {
            Ok(Dead {
                paths: 3,
                bytes: 1 << 20,
            })
        };
        assert_eq!(room(dir.path(), 0, dead()).await.level, Level::Ok);
        let full = room(dir.path(), u64::MAX, dead()).await;
        assert_eq!(full.level, Level::Fail);
        assert!(
            full.found
                .contains("3 paths that nothing keeps take 1.00 MiB")
        );
        assert_eq!(
            room(Path::new("/nowhere"), 0, dead()).await.level,
            Level::Fail
        );
    }
}
