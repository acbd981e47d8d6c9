//! The systems that are on the robot, compared.

use crate::{
    config::Config,
    fresh::Fresh,
    inputs::Inputs,
    robot::{contents, nixos, profile},
};
use jiff::Timestamp;
use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};
use surefoot_api::{Difference, RollbackTo, SystemInfo};
use surefoot_core::{
    StorePath,
    comparison::Contents,
    generations::{self, Listed, Look, Part},
    machine::Refusal,
    reboot,
    release::RebootPolicy,
};
use surefoot_store::{
    nix_daemon::{Connection, ValidPath},
    verify,
};
use tokio::sync::{Mutex, watch};

/// How long the Nix daemon may take to answer a question, which it does from its database, and to say all.
const PATIENCE: Duration = Duration::from_secs(10);
const IN_ALL: Duration = Duration::from_secs(20);

/// Knows the systems for whoever asks, one at a time. Whoever has them compared, which takes longer, does not
/// keep others from the list.
#[derive(Debug, Clone)]
pub(crate) struct Systems {
    listed: Fresh<SystemInfo>,
    comparing: Arc<Mutex<()>>,
}

impl Systems {
    /// For a robot of which this is known at any time.
    pub(crate) fn new(inputs: watch::Receiver<Option<Inputs>>) -> Self {
        Self {
            listed: Fresh::new(inputs),
            comparing: Arc::default(),
        }
    }

    /// One that has looked already.
    #[cfg(test)]
    pub(crate) fn having_seen(systems: Vec<SystemInfo>) -> Self {
        Self {
            listed: Fresh::having_seen(systems),
            comparing: Arc::default(),
        }
    }

    /// Compares, until this is dropped.
    #[cfg(test)]
    pub(crate) async fn compares(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.comparing).lock_owned().await
    }

    /// What is there.
    pub(crate) async fn list(&self) -> Arc<[SystemInfo]> {
        let listed = &self.listed;
        listed.get(async |inputs| describe(&inputs).await).await
    }

    /// What differs between two of them; `None` is what runs. Whoever hangs up does not end it, and the
    /// next one waits for it: `under_way` is dropped at its end.
    ///
    /// # Errors
    /// One of them is not there.
    pub(crate) async fn compare(
        &self,
        from: Option<RollbackTo>,
        to: RollbackTo,
        under_way: impl Send + 'static,
    ) -> Result<Difference, Refusal> {
        let systems = self.clone();
        let look = tokio::spawn(async move {
            let _under_way = under_way;
            let _alone = systems.comparing.lock().await;
            let inputs = systems.listed.inputs();
            compare(inputs.as_ref(), from.as_ref(), &to).await
        });
        look.await.unwrap_or_else(|error| {
            Err(Refusal::Refused(format!(
                "the systems cannot be compared now: {error}"
            )))
        })
    }
}

/// Lists the systems without an agent, or compares two of them, and prints that as JSON.
///
/// # Errors
/// There is no such system, or it cannot be written.
pub(crate) async fn without_agent(config: Arc<Config>, diff: &[RollbackTo]) -> anyhow::Result<()> {
    let inputs = Inputs::without_agent(config, None);
    let (from, to) = match diff {
        [] => {
            println!("{}", serde_json::to_string(&describe(&inputs).await)?);
            return Ok(());
        }
        [to] => (None, to),
        [from, to, ..] => (Some(from), to),
    };
    let difference = compare(Some(&inputs), from, to).await?;
    println!("{}", serde_json::to_string(&difference)?);
    Ok(())
}

/// What is where on the robot.
fn look() -> Look {
    let links = profile::links(Path::new(profile::PROFILES));
    let links = links.into_iter().map(|link| {
        let made = fs::symlink_metadata(profile::place(Path::new(profile::PROFILES), link.number));
        let made = made.and_then(|meta| meta.modified()).ok();
        (link, made.and_then(|made| Timestamp::try_from(made).ok()))
    });
    Look {
        links: links.collect(),
        running: nixos::system(nixos::CURRENT),
        booted: nixos::system(nixos::BOOTED),
        default: nixos::system(nixos::PROFILE),
    }
}

async fn describe(inputs: &Inputs) -> Vec<SystemInfo> {
    let listed = generations::list(&inputs.systems, &look());
    let closures = closures(inputs, listed.iter().map(|one| &one.system)).await;
    let described = tokio::task::spawn_blocking(move || {
        let mut systems = infos(&listed, closures);
        // One that only waits may not be here yet.
        systems.retain(|info| info.is(Part::Next) || nixos::is_there(&info.system));
        systems
    });
    described.await.unwrap_or_default()
}

fn infos(listed: &[Listed], closures: Vec<Option<BTreeMap<StorePath, u64>>>) -> Vec<SystemInfo> {
    let booted = nixos::boot_parts(Path::new(nixos::BOOTED));
    let own_sizes = generations::own_sizes(&closures);
    let contents: Vec<Contents> = (listed.iter().zip(closures))
        .map(|(one, paths)| Contents {
            paths,
            ..contents::brief(&one.system)
        })
        .collect();
    let runs = listed
        .iter()
        .position(|one| one.parts.contains(&Part::Running));
    let running = runs.and_then(|at| contents.get(at));
    let described = listed.iter().zip(&contents).zip(own_sizes);
    let described = described.map(|((one, contents), own_size)| {
        let toplevel = one.system.to_string();
        let parts = nixos::boot_parts(Path::new(&toplevel));
        let reasons = reboot::reasons(&booted, &parts, RebootPolicy::Auto);
        let is_there = nixos::is_there(&one.system);
        SystemInfo {
            system: one.system.clone(),
            release: one.release.clone(),
            generations: one.generations.clone(),
            parts: one.parts.iter().map(|part| (*part).into()).collect(),
            proven: one.proven,
            since: one.since,
            nixos: contents.nixos.clone(),
            kernel: contents.kernel.clone(),
            agent: contents::has_agent(&one.system),
            size: (contents.paths.as_ref()).map(|paths| paths.values().sum()),
            own_size,
            differs: match running {
                Some(running) if is_there => Difference::between(running, contents).line(),
                _ => String::new(),
            },
            reboot: (reasons.iter().filter(|_| is_there))
                .map(ToString::to_string)
                .collect(),
            lost_on: nixos::lost_on(Path::new(&toplevel)).unwrap_or_default(),
        }
    });
    described.collect()
}

async fn compare(
    inputs: Option<&Inputs>,
    from: Option<&RollbackTo>,
    to: &RollbackTo,
) -> Result<Difference, Refusal> {
    let look = look();
    let listed = inputs.map(|inputs| generations::list(&inputs.systems, &look));
    let listed = listed.unwrap_or_default();
    let find = |name: &RollbackTo| {
        let found = generations::named(name, &listed).filter(|one| nixos::is_there(&one.system));
        found.map(|one| one.system.clone()).ok_or_else(|| {
            Refusal::NothingToDo(format!(
                "{name} is not the release, the generation or the store path of a system that is on this \
                 robot; `surefoot systems` lists them"
            ))
        })
    };
    let after = find(to)?;
    let before = match from {
        Some(name) => find(name)?,
        None => (look.running.clone())
            .ok_or_else(|| Refusal::NothingToDo("nobody can tell which system runs".to_owned()))?,
    };
    let paths = match inputs {
        Some(inputs) => closures(inputs, [&before, &after]).await,
        None => vec![None, None],
    };
    let read = tokio::task::spawn_blocking(move || {
        let mut paths = paths.into_iter();
        [before, after].map(|system| Contents {
            paths: paths.next().flatten(),
            ..contents::whole(&system)
        })
    });
    match read.await {
        Ok([before, after]) => Ok(Difference::between(&before, &after)),
        Err(error) => Err(Refusal::Refused(format!(
            "the systems cannot be compared now: {error}"
        ))),
    }
}

/// The closures of systems with the size of each path, as far as the Nix daemon says them.
async fn closures(
    inputs: &Inputs,
    systems: impl IntoIterator<Item = &StorePath>,
) -> Vec<Option<BTreeMap<StorePath, u64>>> {
    let systems: Vec<&StorePath> = systems.into_iter().collect();
    let socket = inputs.config.fetch.daemon_socket();
    let asked = async {
        let mut daemon = Connection::open(&socket, PATIENCE).await?;
        verify::closure(systems.iter().copied().cloned(), &mut daemon).await
    };
    let all = match tokio::time::timeout(IN_ALL, asked).await {
        Ok(Ok(all)) => all,
        Ok(Err(error)) => {
            tracing::warn!("the systems are listed without their sizes: {error}");
            BTreeMap::new()
        }
        Err(_) => {
            tracing::warn!("the systems are listed without their sizes: the Nix daemon is slow");
            BTreeMap::new()
        }
    };
    (systems.iter())
        .map(|system| all.contains_key(*system).then(|| closure(system, &all)))
        .collect()
}

fn closure(system: &StorePath, all: &BTreeMap<StorePath, ValidPath>) -> BTreeMap<StorePath, u64> {
    let mut closure = BTreeMap::new();
    let mut next = vec![system];
    while let Some(path) = next.pop() {
        if let Some(known) = all.get(path)
            && closure.insert(path.clone(), known.nar_size).is_none()
        {
            next.extend(&known.references);
        }
    }
    closure
}
