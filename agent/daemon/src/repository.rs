//! The signed repository, as the agent sees it.

use crate::{
    config::Config,
    fetching,
    robot::{
        clock,
        identity::{self, Identity},
    },
};
use anyhow::{Context as _, bail};
use jiff::Timestamp;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use surefoot_api::{ClockState, Knowledge, Word};
use surefoot_base::file::{self, ReadError};
use surefoot_core::{
    closure::{ClosureIndex, MAX_COMPRESSED_INDEX_BYTES},
    journal::{MAX_SEEN, Seen},
    offers::{Offers, Robot},
    release::{Label, Listed, MAX_MANIFEST_BYTES, Manifest, Name, Target, manifest_target},
    rollout::Moment,
};
use surefoot_http::Options;
use surefoot_trust::{Client, Clock, Error, Refresh, trusted_set::TrustedSet};
use tokio::sync::{Mutex, watch};

/// The anchor is a root metadata file; nobody's is larger than this, bytes.
const MAX_ANCHOR: u64 = 1 << 20;

/// A poll as a whole, every file of it, takes no longer than this many times the silence that is
/// allowed for one answer.
const POLL_LIMIT: u32 = 20;

/// What a configuration says of the repository, and of what in it concerns this robot. A
/// [`Repository`] knows nothing else of the configuration, so one that gives the same needs no other
/// repository.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Source {
    /// With the bytes of the anchor, or none if it cannot be read: it may be another one under the same
    /// name.
    trust: surefoot_trust::Config,
    /// Where the anchor is.
    root: PathBuf,
    channel: Name,
    model: Name,
    labels: Vec<Label>,
    identity: Identity,
    /// How long time goes on from when the repository was signed.
    fresh: Duration,
    /// How long one piece of work may take.
    limit: Duration,
}

impl Source {
    /// Reads the trust anchor, if it can be read already.
    pub(crate) fn new(config: &Config, state_dir: &Path) -> Self {
        let anchor = read_anchor(&config.root).unwrap_or_default();
        let mut trust = surefoot_trust::Config::new(
            config.repository.as_str(),
            anchor,
            state_dir.join("trust"),
        );
        trust.pace.window = config.poll.timeout;
        trust.http = Options {
            connect_timeout: config.poll.timeout,
            stall_timeout: config.poll.timeout,
            ..fetching::http(config)
        };
        Self {
            trust,
            root: config.root.clone(),
            channel: config.channel.clone(),
            model: config.model.clone(),
            labels: config.labels.iter().map(|label| label.0.clone()).collect(),
            identity: identity::of(config),
            fresh: config.rollout.fresh,
            limit: config.poll.timeout * POLL_LIMIT,
        }
    }

    /// Whether the anchor can be used, and what is trusted so far can be read.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn anchored(&self) -> anyhow::Result<()> {
        open(self.trust()?).map(drop)
    }

    /// With the anchor, which may have come since.
    fn trust(&self) -> anyhow::Result<surefoot_trust::Config> {
        let mut trust = self.trust.clone();
        if trust.anchor.is_empty() {
            trust.anchor = read_anchor(&self.root)?;
        }
        Ok(trust)
    }
}

/// What is known of the repository.
#[derive(Debug, Default)]
struct Opened {
    /// Opened when it is needed: a robot whose trust anchor or metadata cannot be read has an agent all
    /// the same, which says so, and can go back.
    client: Option<Client>,
    moment: Moment,
}

/// The repository and the channel that this robot follows.
pub(crate) struct Repository {
    opened: Arc<Mutex<Opened>>,
    source: Source,
    knowledge: Arc<watch::Sender<Option<Knowledge>>>,
}

impl Repository {
    /// From this source; asks nothing of the disk or the network yet.
    pub(crate) fn new(source: Source, knowledge: Arc<watch::Sender<Option<Knowledge>>>) -> Self {
        Self {
            opened: Arc::default(),
            source,
            knowledge,
        }
    }

    /// Where this comes from.
    pub(crate) const fn source(&self) -> &Source {
        &self.source
    }

    /// The same from another source, once a poll that is under way has ended. What is trusted stays
    /// locked; after an error the old source is in force.
    ///
    /// # Errors
    /// The trust anchor is missing or broken, or the URL cannot be used.
    pub(crate) async fn reopen(&self, source: Source) -> anyhow::Result<Self> {
        let trust = source.trust()?;
        if let Some(client) = &mut self.opened.lock().await.client {
            client.reconfigure(trust)?;
        }
        Ok(Self {
            opened: Arc::clone(&self.opened),
            source,
            knowledge: Arc::clone(&self.knowledge),
        })
    }

    /// Reads the repository: what it has for this robot.
    ///
    /// # Errors
    /// Why nothing in it is to be believed, or why it was not reached.
    pub(crate) async fn poll(&self) -> anyhow::Result<Offers> {
        // There may be no such channel yet.
        Ok(self
            .read()
            .await?
            .map_or_else(Offers::default, |(manifest, moment)| {
                manifest.offers(&Robot {
                    model: &self.source.model,
                    labels: &self.source.labels,
                    identity: Some(&self.source.identity),
                    moment,
                })
            }))
    }

    /// Reads the repository: the manifest of the channel; `None` if the fleet signs that there is no such
    /// channel.
    ///
    /// # Errors
    /// As [`Repository::poll`].
    pub(crate) async fn manifest(&self) -> anyhow::Result<Option<Manifest>> {
        Ok(self.read().await?.map(|(manifest, _)| manifest))
    }

    /// Reads the repository: the manifest of the channel, and the time by which its rollouts are judged.
    async fn read(&self) -> anyhow::Result<Option<(Manifest, Option<Timestamp>)>> {
        self.within(async |client, moment| {
            let refresh = refresh(client, moment).await?;
            tracing::debug!(bytes = refresh.bytes_received, expires = %refresh.expires, "refreshed");
            self.knowledge.send_replace(Some(Knowledge {
                signed: refresh.issued,
                expires: refresh.expires,
                clock: Word::Known(match refresh.clock {
                    Clock::Trusted => ClockState::Trusted,
                    Clock::Unsynced => ClockState::Unsynced,
                    Clock::Stepped => ClockState::Stepped,
                }),
            }));
            if refresh.clock == Clock::Stepped {
                tracing::warn!(
                    "the clock reads {}, but signed files are from {}: judging by those",
                    Timestamp::now(),
                    refresh.now
                );
            }
            let name = manifest_target(&self.source.channel);
            let bytes = match client.target(&name, MAX_MANIFEST_BYTES).await {
                Err(Error::NoSuchTarget { .. }) => return Ok(None),
                bytes => bytes?,
            };
            let manifest = Manifest::parse(&bytes, &self.source.channel)
                .with_context(|| format!("{name} in the repository"))?;
            let moment = moment.at(clock::since_boot(), self.source.fresh);
            Ok(Some((manifest, moment)))
        })
        .await
    }

    /// A time that is known to have passed, where the clock cannot be trusted.
    pub(crate) fn known_time(&self) -> Option<Timestamp> {
        self.knowledge.borrow().as_ref().and_then(known_time)
    }

    /// Whether the repository can still be read.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn reachable(&self) -> anyhow::Result<()> {
        self.within(async |client, moment| {
            refresh(client, moment).await?;
            Ok(())
        })
        .await
    }

    /// Brings the closure index of a target.
    ///
    /// # Errors
    /// It is not there, or not what was signed.
    pub(crate) async fn index(&self, target: &Target) -> anyhow::Result<ClosureIndex> {
        self.within(async |client, _| {
            let packed = client
                .target(&target.index, MAX_COMPRESSED_INDEX_BYTES)
                .await?;
            let index = surefoot_store::index::unpack(&packed)
                .with_context(|| format!("{} in the repository", target.index))?;
            anyhow::ensure!(
                index.toplevel == target.system,
                "{} is the closure of {}, not of {}; publish the release again",
                target.index,
                index.toplevel,
                target.system
            );
            Ok(index)
        })
        .await
    }

    /// One piece of work at a time, all of it within the limit; no connection is kept after it: an idle
    /// agent has none.
    async fn within<T>(
        &self,
        work: impl AsyncFnOnce(&mut Client, &mut Moment) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut opened = self.opened.lock().await;
        let Opened { client, moment } = &mut *opened;
        let client = match client {
            Some(client) => client,
            none => none.insert(open(self.source.trust()?)?),
        };
        client.limit(self.source.limit);
        let result = work(client, moment).await;
        client.close();
        result
    }
}

/// A time that is known to have passed, where the clock cannot be trusted.
pub(crate) fn known_time(knowledge: &Knowledge) -> Option<Timestamp> {
    knowledge
        .signed
        .filter(|_| knowledge.clock != ClockState::Trusted)
}

/// Brings what is trusted up to date, and notes what time it is by that.
async fn refresh(client: &mut Client, moment: &mut Moment) -> anyhow::Result<Refresh> {
    let refresh = client.refresh(clock::now()).await?;
    let (signed, news) = refresh.timestamp;
    let now = clock::since_boot();
    *moment = moment.after(refresh.versions.timestamp, signed, news, now);
    Ok(refresh)
}

/// Opens what is trusted so far; asks nothing of the network.
fn open(trust: surefoot_trust::Config) -> anyhow::Result<Client> {
    let client = Client::new(trust)?;
    if let Some(damage) = client.damage() {
        tracing::error!(
            damage,
            "the trusted metadata was damaged; went on from what is whole"
        );
    }
    Ok(client)
}

/// The releases for this robot in the manifests that were read before, newest last: as far as the copies
/// in the state directory go. Nothing is asked of the network, and nothing is believed but that these
/// releases were there.
pub(crate) fn seen(config: &Config, state_dir: &Path) -> Vec<Seen> {
    let mut seen: Vec<Seen> =
        surefoot_trust::cached_targets(&state_dir.join("trust"), MAX_MANIFEST_BYTES)
            .filter_map(|bytes| Manifest::parse(&bytes, &config.channel).ok())
            .flat_map(|manifest| manifest.releases)
            .filter_map(|listed| match listed {
                Listed::Known(release) => Some(Seen {
                    system: release.systems.get(&config.model)?.toplevel.clone(),
                    release: release.id,
                }),
                Listed::Other(_) => None,
            })
            .collect();
    seen.drain(..seen.len().saturating_sub(MAX_SEEN));
    seen
}

/// Whether a client could begin with the trust anchor at this place.
///
/// # Errors
/// Why not.
pub(crate) fn usable_anchor(path: &Path) -> anyhow::Result<()> {
    let anchor = read_anchor(path)?;
    TrustedSet::bootstrap(&anchor)
        .map(drop)
        .with_context(|| format!("the trust anchor {} cannot be used", path.display()))
}

/// The trust anchor's bytes.
///
/// # Errors
/// It is missing, or larger than any root metadata.
pub(crate) fn read_anchor(path: &Path) -> anyhow::Result<Vec<u8>> {
    match file::read(path, MAX_ANCHOR) {
        Err(ReadError::TooLarge { limit }) => {
            bail!(
                "the trust anchor {} has more than {limit} bytes",
                path.display()
            )
        }
        bytes => bytes.with_context(|| {
            format!(
                "cannot read the trust anchor {}; it is the root.json of the fleet's repository",
                path.display()
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{MINIMAL, good};

    #[test]
    fn a_reload_opens_the_repository_anew_where_something_of_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let anchor = dir.path().join("root.json");
        std::fs::write(&anchor, "{}").unwrap();
        let source = |keys: &str| {
            Source::new(
                &good(&[&format!("{MINIMAL}root = {anchor:?}\n{keys}")]),
                dir.path(),
            )
        };
        let before = source("");
        for keys in ["[health]\nsoak = \"50s\"", "[poll]\ninterval = \"50s\""] {
            assert_eq!(source(keys), before, "{keys}");
        }
        for keys in [
            "labels = [\"site=hall-3\"]",
            "ca_file = \"/etc/ca.pem\"",
            "[poll]\ntimeout = \"59s\"",
        ] {
            assert_ne!(source(keys), before, "{keys}");
        }
        std::fs::write(&anchor, "{ }").unwrap();
        assert_ne!(source(""), before, "another anchor under the same name");
    }

    #[test]
    fn an_anchor_that_is_missing_is_said_when_it_is_needed_and_may_come_later() {
        let dir = tempfile::tempdir().unwrap();
        let anchor = dir.path().join("root.json");
        let config = good(&[&format!("{MINIMAL}root = {anchor:?}\n")]);
        let source = Source::new(&config, dir.path());
        let error = format!("{:#}", source.trust().unwrap_err());
        assert!(
            error.contains("root.json of the fleet's repository"),
            "{error}"
        );
        std::fs::write(&anchor, "{}").unwrap();
        assert_eq!(source.trust().unwrap().anchor, b"{}");
    }
}
