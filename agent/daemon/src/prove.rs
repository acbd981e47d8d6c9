//! `surefootd --prove`: whether this agent, with the configuration and the rights that it has here, could
//! bring the robot the next release.
//!
//! Asked of the agent of a system on trial, beside the one that drives the trial. It changes nothing of what
//! that one remembers: it reads copies.

use crate::{
    config::{self, Config},
    control::{self, AgentHandle, Published, Roles},
    doctor::Doctor,
    repository::{Repository, Source},
    robot::proof::{REFUSED, STUCK, UNKNOWN, UNREACHED},
    state::{journal, roots},
    status,
    systems::Systems,
};
use anyhow::{Context as _, anyhow, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use surefoot_api::{Client, method::Status};
use surefoot_base::{file, space};
use surefoot_core::{
    StorePath,
    closure::SignaturePolicy,
    journal::Journal,
    lease::Leases,
    machine::{
        Machine, Policy,
        state::{State, Trial},
    },
    release::Target,
};
use surefoot_store::nix_daemon::{Connection, offer};
use tokio::sync::{mpsc, watch};

/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(90);

/// How long the Nix daemon may take of that to answer.
pub(crate) const NIX_LIMIT: Duration = Duration::from_secs(10);

/// What is copied at most: files, bytes of all of them, and directories in directories.
const MAX_FILES: usize = 4096;
const MAX_BYTES: u64 = 128 << 20;
const MAX_DEPTH: usize = 4;

/// Where the Nix daemon writes down what it is asked about, and the least room that it needs, bytes.
const NIX: &str = "/nix/var/nix";
const ROOM: u64 = 1 << 20;

/// The control socket beside the copies.
const SOCKET: &str = "control.socket";

/// Where the agent's own files of these names lie in its state directory.
const JOURNAL: [&str; 2] = ["journal.0", "journal.1"];
const TRUST: &str = "trust";

/// Why it is not proven.
#[derive(Debug)]
enum Doubt {
    /// It could not go on.
    Refused(anyhow::Error),
    /// The repository is not reached, or not believed today.
    Unreached(anyhow::Error),
    /// The Nix daemon does not answer: it is the robot's, and served the system before as well.
    Stuck(anyhow::Error),
    /// This robot's disk is in the way: that says nothing of the system.
    Unasked(anyhow::Error),
}

/// As the program's answer: says in one line what is wrong.
pub(crate) fn answer(system: &StorePath, file: &Path) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let proven = runtime
        .context("cannot start")
        .map_err(Doubt::Unreached)
        .and_then(|runtime| {
            runtime.block_on(async {
                let late = || Doubt::Unreached(anyhow!("no answer within {} s", LIMIT.as_secs()));
                let proven = tokio::time::timeout(LIMIT, prove(system, file)).await;
                proven.unwrap_or_else(|_| Err(late()))
            })
        });
    let (why, status) = match proven {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Doubt::Refused(why)) => (why, REFUSED),
        Err(Doubt::Unreached(why)) => (why, UNREACHED),
        Err(Doubt::Stuck(why)) => (why, STUCK),
        Err(Doubt::Unasked(why)) => (why, UNKNOWN),
    };
    eprintln!("{}", format!("{why:#}").replace('\n', "; "));
    ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX))
}

async fn prove(system: &StorePath, file: &Path) -> Result<(), Doubt> {
    let config = config::load(file)
        .map_err(|problems| anyhow!("it refuses its configuration: {}", problems.brief()))
        .map_err(Doubt::Refused)?;
    let scratch = tempfile::tempdir()
        .context("cannot make a directory for copies")
        .map_err(Doubt::Unasked)?;
    copy(&config.state_dir, scratch.path()).map_err(Doubt::Unasked)?;
    let (journal, on_trial) = remembers(system, scratch.path()).map_err(Doubt::Refused)?;
    answers(&config, journal, &scratch.path().join(SOCKET))
        .await
        .context("it does not say how the robot is")
        .map_err(Doubt::Refused)?;
    let source = Source::new(&config, scratch.path());
    source.anchored().map_err(Doubt::Refused)?;
    // Before the repository: this needs no network, and whether that is there excuses nothing of it.
    let stuck = || Doubt::Stuck(anyhow!("no answer within {} s", NIX_LIMIT.as_secs()));
    let imported = tokio::time::timeout(NIX_LIMIT, imports(&config, system)).await;
    let full = match imported.map_err(|_| stuck())? {
        Ok(()) => None,
        Err(why) => Some(full(&config, why).map_err(Doubt::Refused)?),
    };
    let repository = Repository::new(source, Arc::new(watch::Sender::new(None)));
    let manifest = repository.manifest().await.map_err(Doubt::Unreached)?;
    let served = manifest.map_or_else(
        || {
            Err(format!(
                "the repository {} has no channel '{}'",
                config.repository, config.channel
            ))
        },
        |manifest| {
            let labels: Vec<_> = config.labels.iter().map(|label| label.0.clone()).collect();
            // What somebody switched to by hand is not a release.
            on_trial.map_or(Ok(()), |target| {
                manifest.serves(&config.model, &labels, &target.release)
            })
        },
    );
    served.map_err(|why| Doubt::Refused(anyhow!("it would get no release any more: {why}")))?;
    full.map_or(Ok(()), |why| Err(Doubt::Unasked(why)))
}

/// Why nothing could be imported, if a full disk is to blame for it.
///
/// # Errors
/// None is: what was wrong, as it was.
fn full(config: &Config, why: anyhow::Error) -> anyhow::Result<anyhow::Error> {
    let places = [Path::new(NIX), &config.state_dir];
    let full = |place: &&&Path| space::free(space::existing(place)).is_ok_and(|free| free < ROOM);
    match places.iter().find(full) {
        Some(place) => Ok(why.context(format!("{} is full", place.display()))),
        None => Err(why),
    }
}

/// Copies what the agent remembers.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut left = (MAX_FILES, MAX_BYTES);
    for name in JOURNAL {
        copy_file(&from.join(name), &to.join(name), &mut left)?;
    }
    copy_dir(&from.join(TRUST), &to.join(TRUST), MAX_DEPTH, &mut left)
        .with_context(|| format!("cannot copy {}", from.join(TRUST).display()))
}

fn copy_dir(from: &Path, to: &Path, depth: usize, left: &mut (usize, u64)) -> anyhow::Result<()> {
    if depth == 0 {
        bail!("{} lies too deep", from.display());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, to) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_dir(&entry.path(), &to, depth - 1, left)?;
        } else if kind.is_file() {
            copy_file(&entry.path(), &to, left)?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &PathBuf, (files, bytes): &mut (usize, u64)) -> anyhow::Result<()> {
    let cannot = || format!("cannot copy {}", from.display());
    *files = files.checked_sub(1).context("too many files")?;
    let Some(content) = file::read_if_there(from, *bytes).with_context(cannot)? else {
        return Ok(());
    };
    *bytes = bytes.saturating_sub(content.len() as u64);
    fs::write(to, content).with_context(cannot)
}

/// What this agent reads in the journal of the one that drives, and the release on trial; `None` if
/// somebody switched by hand.
fn remembers(system: &StorePath, state: &Path) -> anyhow::Result<(Journal, Option<Target>)> {
    let rooted = roots::any(Path::new(roots::DIR));
    let journal =
        journal::read(state, rooted).context("it cannot use what this robot remembers")?;
    match &journal.state {
        State::Trial(Trial {
            system: on_trial,
            target,
            ..
        }) if on_trial == system => {
            let target = target.clone();
            Ok((journal, target))
        }
        state => Err(anyhow!(
            "it does not find its own trial in what this robot remembers, but the state '{}'",
            state.name()
        )),
    }
}

/// Whether this agent can say how the robot is: `surefoot status`, asked over a control socket of its own.
async fn answers(config: &Config, journal: Journal, socket: &Path) -> anyhow::Result<()> {
    let state = surefoot_api::State::from(&journal.state);
    let machine = Machine::new(journal, Leases::default());
    let status = status::of(
        &machine,
        config,
        &Policy::from(config),
        None,
        None,
        None,
        None,
    );
    let (published, roles) = (
        watch::Sender::new(Published::now(status, Arc::new([]))),
        watch::Sender::new(Roles::resolve(&config.control).0),
    );
    let inputs = watch::Sender::new(None);
    let handle = AgentHandle {
        requests: mpsc::channel(1).0,
        lost: mpsc::unbounded_channel().0,
        published: published.subscribe(),
        roles: roles.subscribe(),
        doctor: Doctor::new(inputs.subscribe()),
        systems: Systems::new(inputs.subscribe()),
    };
    let server = control::serve(control::listen_alone(socket)?, handle);
    let at = socket.to_owned();
    let asked = tokio::task::spawn_blocking(move || Client::connect(&at)?.call(&Status {}));
    let answer = tokio::select! {
        never = server => match never {},
        answer = asked => answer.context("nobody asks")??,
    };
    if answer.status.state != state {
        bail!("it says that the robot is {}", answer.status.doing);
    }
    Ok(())
}

/// Whether the Nix daemon would take the next release from this process: the system itself, which it has
/// already, is offered to it once more, with its signatures. The daemon checks those first, and only then
/// looks whether it has the path; so nothing is written.
async fn imports(config: &Config, system: &StorePath) -> anyhow::Result<()> {
    let cannot = "it could import nothing more";
    let policy = config.fetch.signatures;
    // Whoever calls this waits no longer.
    let mut daemon = Connection::open(&config.fetch.daemon_socket(), 2 * NIX_LIMIT)
        .await
        .context(cannot)?;
    let known = daemon.path_info(system).await.context(cannot)?;
    let known =
        known.with_context(|| format!("{cannot}: the Nix daemon does not know {system}"))?;
    // What proves itself, and what came without a signature, says nothing of keys.
    if policy == SignaturePolicy::Nix && (known.ca.is_some() || known.signatures.is_empty()) {
        return Ok(());
    }
    offer(&mut daemon, policy, system, known)
        .await
        .context(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("trust/a/b")).unwrap();
        fs::write(from.join("journal.0"), "j").unwrap();
        fs::write(from.join("trust/a/b/file"), "t").unwrap();
        std::os::unix::fs::symlink("/dev/zero", from.join("trust/endless")).unwrap();
        fs::create_dir(&to).unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::read(to.join("trust/a/b/file")).unwrap(), b"t");
        assert_eq!(fs::read(to.join("journal.0")).unwrap(), b"j");
        assert!(!to.join("trust/endless").exists() && !to.join("journal.1").exists());

        let most = |files, bytes| copy_dir(&from, &to, 5, &mut (files, bytes));
        assert!(most(2, 2).is_ok());
        assert!(most(1, 2).is_err());
        assert!(most(2, 1).is_err());
        fs::create_dir_all(from.join("trust/a/b/c/d/e")).unwrap();
        assert!(copy(&from, &to).is_err());
    }

    #[tokio::test]
    async fn it_says_how_the_robot_is_on_a_socket_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let config = config::tests::good(&[config::tests::MINIMAL]);
        let socket = dir.path().join(SOCKET);
        answers(&config, Journal::default(), &socket).await.unwrap();
        // Another agent that answers there is none of its own.
        let other = dir.path().join("other");
        let _taken = std::os::unix::net::UnixListener::bind(&other).unwrap();
        assert!(answers(&config, Journal::default(), &other).await.is_err());
    }

    #[test]
    fn an_agent_that_does_not_find_its_trial_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let system = StorePath::from_base_name(&format!("{}-nixos", "1".repeat(32))).unwrap();
        let why = remembers(&system, dir.path()).unwrap_err().to_string();
        assert!(why.contains("does not find its own trial"), "{why}");
    }
}
