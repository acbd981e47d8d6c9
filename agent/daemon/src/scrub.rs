//! Reads over the confirmed system and those to fall back to, while the robot has nothing else to do, and
//! brings anew what is damaged.

use crate::{config::Config, fetching, gates, inputs::Inputs, repository, robot::nixos};
use anyhow::Context as _;
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};
use surefoot_api::State;
use surefoot_base::file;
use surefoot_core::{
    StorePath,
    gate::Stage,
    machine::Event,
    scrub::{Next, Scrub},
    store_path::STORE_DIR,
};
use surefoot_http::pace::Bandwidth;
use surefoot_store::{
    Wrongs,
    nix_daemon::{Connection, ValidPath},
    repair::{self, Outcome},
    verify::{self, Damage, Reader, Verified},
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

/// A start of the robot is left alone for so long, and so is what could not be read.
const SETTLE: Duration = Duration::from_secs(600);
/// How often what is damaged is read again: somebody may have replaced it.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
/// How much reading a power cut may cost.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// A larger memory is not read, bytes.
const MAX_BYTES: u64 = 4 << 20;

/// What every reading needs.
pub(crate) struct Kept {
    reader: Reader,
    daemon: Connection,
    /// What is kept, with what the store knows of it.
    pub(crate) paths: BTreeMap<StorePath, ValidPath>,
}

impl Kept {
    /// These systems with all that they refer to.
    ///
    /// # Errors
    /// The Nix daemon does not answer.
    pub(crate) async fn of(
        config: &Config,
        systems: impl IntoIterator<Item = StorePath>,
    ) -> anyhow::Result<Self> {
        let fetch = &config.fetch;
        let mut daemon = Connection::open(&fetch.daemon_socket(), fetch.daemon_timeout).await?;
        let paths = verify::closure(systems, &mut daemon).await?;
        let reader = Reader::new(STORE_DIR.into(), Bandwidth::new(config.verify.rate.0));
        Ok(Self {
            reader,
            daemon,
            paths,
        })
    }

    /// The same, read when nobody else reads.
    fn idle(self) -> Self {
        let reader = self.reader.idle();
        Self { reader, ..self }
    }

    /// What is wrong with one of them, if anything.
    ///
    /// # Errors
    /// The Nix daemon does not answer.
    pub(crate) async fn damage(
        &mut self,
        path: &StorePath,
        count: impl Fn(u64) + Send + 'static,
    ) -> anyhow::Result<Option<Damage>> {
        let known = self.paths.get(path).map(|known| known.nar_hash);
        let damage = self.reader.damage(path, known, &mut self.daemon, count);
        Ok(damage.await?)
    }
}

/// How far it is, as its file in the state directory remembers.
///
/// # Errors
/// It cannot be read.
pub(crate) fn load(state_dir: &Path) -> anyhow::Result<Scrub> {
    let bytes = file::read_if_there(&place(state_dir), MAX_BYTES)?;
    let scrub = bytes.map(|bytes| serde_json::from_slice(&bytes));
    Ok(scrub.transpose()?.unwrap_or_default())
}

fn place(state_dir: &Path) -> PathBuf {
    state_dir.join("scrub.json")
}

fn save(state_dir: &Path, scrub: &Scrub) -> anyhow::Result<()> {
    let file = place(state_dir);
    let bytes = serde_json::to_vec(scrub)?;
    file::replace(&file, &bytes, 0o600).with_context(|| format!("cannot write {}", file.display()))
}

/// Whom it is told.
pub(crate) struct Found {
    /// What is damaged now.
    pub(crate) found: watch::Sender<Vec<String>>,
    /// What happened.
    pub(crate) say: mpsc::UnboundedSender<Event>,
}

/// What a stretch of reading found, for the history.
#[derive(Default)]
struct News {
    damaged: Vec<String>,
    repaired: Vec<String>,
}

/// Reads as long as the agent lives, and says what is damaged.
pub(crate) async fn run(
    mut inputs: watch::Receiver<Option<Inputs>>,
    verified: Verified,
    found: Found,
) {
    // What came wrong once is not fetched again before it has changed.
    let wrongs = Wrongs::default();
    let mut wait = SETTLE;
    loop {
        let Some(look) = inputs.borrow_and_update().clone() else {
            if inputs.changed().await.is_err() {
                return;
            }
            continue;
        };
        let interval = look.config.verify.interval;
        if interval.is_zero() {
            (found.found).send_if_modified(|found| !std::mem::take(found).is_empty());
            if inputs.changed().await.is_err() {
                return;
            }
            continue;
        }
        let other = |inputs: &Option<Inputs>| {
            let now = inputs.as_ref().map(|inputs| inputs.config.verify.interval);
            now.is_some_and(|now| now != interval)
        };
        tokio::select! {
            () = tokio::time::sleep(wait.min(interval)) => {}
            // Another configuration counts at once, and an agent that is gone has nothing read.
            changed = inputs.wait_for(other) => match changed {
                Ok(_) => continue,
                Err(_) => return,
            }
        }
        let mut news = News::default();
        let read = read_on(&mut inputs, &verified, &wrongs, &found, &mut news).await;
        wait = read.unwrap_or_else(|error| {
            tracing::warn!("cannot read over the store: {error:#}");
            SETTLE
        });
        let News { damaged, repaired } = news;
        if !damaged.is_empty() || !repaired.is_empty() {
            // The agent may have ended; then nobody needs to know.
            let _ = found.say.send(Event::Scrubbed { damaged, repaired });
        }
    }
}

/// Reads until there is nothing to read, or the robot has something to do. Gives how long to wait then.
async fn read_on(
    inputs: &mut watch::Receiver<Option<Inputs>>,
    verified: &Verified,
    wrongs: &Wrongs,
    found: &Found,
    news: &mut News,
) -> anyhow::Result<Duration> {
    let Some(look) = inputs.borrow_and_update().clone().filter(is_idle) else {
        return Ok(SETTLE);
    };
    let config = &look.config;
    let mut scrub = load(&config.state_dir).unwrap_or_else(|error| {
        tracing::warn!("the reading of the store begins anew: {error:#}");
        Scrub::default()
    });
    let mut kept = Kept::of(config, look.kept()).await?.idle();
    let paths: BTreeSet<StorePath> = kept.paths.keys().cloned().collect();
    let (mut saved, mut moved) = (Instant::now(), 0);
    let again: Vec<StorePath> = scrub.damaged.keys().cloned().collect();
    let mut again = again.into_iter();
    let wait = loop {
        tell(&scrub, &found.found);
        let beside = again.next();
        let path = match (
            &beside,
            scrub.next(&paths, config.verify.interval, Timestamp::now()),
        ) {
            (Some(path), _) => path.clone(),
            (None, Next::Read(path)) => path.clone(),
            (None, Next::Wait(wait)) => break wait,
            (None, Next::End) => {
                scrub.end(&paths, Timestamp::now());
                tracing::info!(
                    "{} paths of the store were read, {} of them are damaged",
                    paths.len(),
                    scrub.damaged.len()
                );
                save(&config.state_dir, &scrub)?;
                if let Err(error) = verified.save() {
                    tracing::warn!("cannot remember what was verified: {error}");
                }
                continue;
            }
        };
        let damage = tokio::select! {
            damage = kept.damage(&path, |_| ()) => damage?,
            () = until_busy(inputs) => break SETTLE,
        };
        let known = scrub.damaged.contains_key(&path);
        if let Some(damage) = &damage {
            verified.forget(&path);
            if !known {
                tracing::error!("{damage}");
                news.damaged.push(damage.to_string());
            }
        } else {
            verified.add(path.clone());
            if known {
                news.repaired.push(path.to_string());
            }
        }
        let damaged = damage.is_some();
        let damage = damage.map(|damage| damage.found);
        if beside.is_some() {
            scrub.look(&path, damage);
        } else {
            scrub.read(&path, damage);
        }
        if damaged || saved.elapsed() >= SAVE_EVERY {
            // What is damaged is remembered before it is touched.
            save(&config.state_dir, &scrub)?;
            saved = Instant::now();
        }
        if damaged && let Some(known) = kept.paths.get(&path) {
            let known = (&path, known);
            match mend(&look, inputs, known, wrongs, &found.say, &mut moved).await {
                Ok(Outcome::Stopped) => break SETTLE,
                Ok(Outcome::Repaired) => {
                    tracing::info!("{path} was damaged and has come anew");
                    verified.add(path.clone());
                    news.repaired.push(path.to_string());
                    scrub.look(&path, None);
                    save(&config.state_dir, &scrub)?;
                }
                Ok(Outcome::InUse) => scrub.stays(&path, "what runs uses it"),
                Ok(Outcome::Nowhere) => scrub.stays(&path, "no cache that is known here has it"),
                Err(error) => scrub.stays(&path, &format!("it cannot be brought now: {error:#}")),
            }
        }
    };
    save(&config.state_dir, &scrub)?;
    tell(&scrub, &found.found);
    let again = (!scrub.damaged.is_empty()).then_some(LOOK_AGAIN.min(config.verify.interval));
    Ok(again.map_or(wait, |again| wait.min(again)))
}

/// Brings a damaged path anew, unless the robot has something to do meanwhile. `moved`: the bytes that were
/// moved since `look`.
///
/// # Errors
/// Why it is not brought now.
async fn mend(
    look: &Inputs,
    inputs: &mut watch::Receiver<Option<Inputs>>,
    path: (&StorePath, &ValidPath),
    wrongs: &Wrongs,
    say: &mpsc::UnboundedSender<Event>,
    moved: &mut u64,
) -> anyhow::Result<Outcome> {
    let config = &look.config;
    anyhow::ensure!(config.verify.repair, "verify.repair is off");
    let status = look.status.as_deref();
    let traffic = status.and_then(|status| status.traffic.as_ref());
    if let Some(traffic) = traffic
        && let Some(limit) = traffic.limit_bytes
    {
        // The status is of before the first of them.
        anyhow::ensure!(
            traffic.bytes.saturating_add(*moved) < limit,
            "what may be fetched in a day is used up (fetch.daily_limit)"
        );
    }
    if let Some(closed) = gates::closed(config, Stage::Download).await.first() {
        anyhow::bail!("a gate is closed: {closed}");
    }
    let staging = config.state_dir.join("staging");
    let mut request = fetching::request_from_caches(config, path.0.clone(), staging);
    request.wrongs = wrongs.clone();
    let knowledge = status.and_then(|status| status.knowledge.as_ref());
    request.http.known_time = knowledge.and_then(repository::known_time);
    let running = [nixos::CURRENT, nixos::BOOTED].map(PathBuf::from);
    let done = repair::run(&request, path, &running, until_busy(inputs)).await?;
    *moved = moved.saturating_add(done.wire_bytes);
    if done.wire_bytes > 0 {
        let _ = say.send(Event::Moved {
            bytes: done.wire_bytes,
            wasted: done.wasted_bytes,
            more: false,
        });
    }
    Ok(done.outcome?)
}

fn tell(scrub: &Scrub, found: &watch::Sender<Vec<String>>) {
    let now: Vec<String> = (scrub.damaged.iter())
        .map(|(path, found)| format!("{path} {found}"))
        .collect();
    found.send_if_modified(|before| {
        let news = *before != now;
        *before = now;
        news
    });
}

/// Whether nothing of an update is under way, and no lease says that the robot works.
fn is_idle(inputs: &Inputs) -> bool {
    inputs.status.as_ref().is_some_and(|status| {
        status.state == State::Idle && !status.leases.iter().any(|lease| lease.busy)
    })
}

async fn until_busy(inputs: &mut watch::Receiver<Option<Inputs>>) {
    let busy = |inputs: &Option<Inputs>| !inputs.as_ref().is_some_and(is_idle);
    // An agent that is gone has nothing read.
    let _ = inputs.wait_for(busy).await;
}
