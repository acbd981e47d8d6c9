//! The signed repository, as the agent sees it.

use crate::{config::Config, fetching, robot::clock};
use anyhow::{Context as _, bail};
use jiff::Timestamp;
use std::{path::Path, sync::Arc, time::Duration};
use surefoot_api::{ClockState, Knowledge};
use surefoot_base::file::{self, ReadError};
use surefoot_core::{
    closure::{ClosureIndex, MAX_COMPRESSED_INDEX_BYTES},
    release::{Label, MAX_MANIFEST_BYTES, Manifest, Name, Target, manifest_target},
};
use surefoot_http::Options;
use surefoot_trust::{Client, Clock, Error};
use tokio::sync::{Mutex, watch};

/// The anchor is a root metadata file; nobody's is larger than this, bytes.
const MAX_ANCHOR: u64 = 1 << 20;

/// A poll as a whole, every file of it, takes no longer than this many times the silence that is
/// allowed for one answer.
const POLL_LIMIT: u32 = 20;

/// The repository and the channel that this robot follows.
pub(crate) struct Repository {
    client: Arc<Mutex<Client>>,
    channel: Name,
    model: Name,
    labels: Vec<Label>,
    limit: Duration,
    knowledge: Arc<watch::Sender<Option<Knowledge>>>,
    anchor: Vec<u8>,
}

impl Repository {
    /// Opens what is trusted so far; asks nothing of the network.
    ///
    /// # Errors
    /// The trust anchor is missing or broken, or the URL cannot be used.
    pub(crate) fn open(
        config: &Config,
        state_dir: &Path,
        knowledge: Arc<watch::Sender<Option<Knowledge>>>,
    ) -> anyhow::Result<Self> {
        let trust = trust(config, state_dir)?;
        let anchor = trust.anchor.clone();
        let client = Client::new(trust)?;
        if let Some(damage) = client.damage() {
            tracing::error!(
                damage,
                "the trusted metadata was damaged; went on from what is whole"
            );
        }
        let client = Arc::new(Mutex::new(client));
        Ok(Self::with(config, client, knowledge, anchor))
    }

    /// Whether a configuration's trust anchor is still the one that this began with. One that
    /// cannot be read is not.
    pub(crate) fn has_anchor(&self, config: &Config) -> bool {
        read_anchor(&config.root).is_ok_and(|anchor| anchor == self.anchor)
    }

    /// The same by another configuration, once a poll that is under way has ended. What is trusted
    /// stays locked; after an error the old configuration is in force.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) async fn reopen(&self, config: &Config, state_dir: &Path) -> anyhow::Result<Self> {
        let trust = trust(config, state_dir)?;
        let anchor = trust.anchor.clone();
        self.client.lock().await.reconfigure(trust)?;
        let client = Arc::clone(&self.client);
        let knowledge = Arc::clone(&self.knowledge);
        Ok(Self::with(config, client, knowledge, anchor))
    }

    fn with(
        config: &Config,
        client: Arc<Mutex<Client>>,
        knowledge: Arc<watch::Sender<Option<Knowledge>>>,
        anchor: Vec<u8>,
    ) -> Self {
        Self {
            client,
            channel: config.channel.clone(),
            model: config.model.clone(),
            labels: config.labels.iter().map(|label| label.0.clone()).collect(),
            limit: config.poll.timeout * POLL_LIMIT,
            knowledge,
            anchor,
        }
    }

    /// Reads the repository: what this robot should run, if anything.
    ///
    /// # Errors
    /// Why nothing in it is to be believed, or why it was not reached.
    pub(crate) async fn poll(&self) -> anyhow::Result<Option<Target>> {
        self.within(async |client| {
            let refresh = client.refresh(clock::now()).await?;
            tracing::debug!(bytes = refresh.bytes_received, expires = %refresh.expires, "refreshed");
            self.knowledge.send_replace(Some(Knowledge {
                signed: refresh.issued,
                expires: refresh.expires,
                clock: match refresh.clock {
                    Clock::Trusted => ClockState::Trusted,
                    Clock::Unsynced => ClockState::Unsynced,
                    Clock::Stepped => ClockState::Stepped,
                },
            }));
            if refresh.clock == Clock::Stepped {
                tracing::warn!(
                    "the clock reads {}, but signed files are from {}: judging by those",
                    Timestamp::now(),
                    refresh.now
                );
            }
            let name = manifest_target(&self.channel);
            let bytes = match client.target(&name, MAX_MANIFEST_BYTES).await {
                // The fleet signs that there is no such channel: it may be yet to come.
                Err(Error::NoSuchTarget { .. }) => return Ok(None),
                bytes => bytes?,
            };
            let manifest = Manifest::parse(&bytes, &self.channel)
                .with_context(|| format!("{name} in the repository"))?;
            Ok(manifest.target(&self.model, &self.labels))
        })
        .await
    }

    /// Whether the repository can still be read.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn reachable(&self) -> anyhow::Result<()> {
        self.within(async |client| {
            client.refresh(clock::now()).await?;
            Ok(())
        })
        .await
    }

    /// Brings the closure index of a target.
    ///
    /// # Errors
    /// It is not there, or not what was signed.
    pub(crate) async fn index(&self, target: &Target) -> anyhow::Result<ClosureIndex> {
        self.within(async |client| {
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

    /// One piece of work at a time, all of it within the limit; no connection and no free memory is
    /// kept after it: an idle agent has none.
    async fn within<T>(
        &self,
        work: impl AsyncFnOnce(&mut Client) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut client = self.client.lock().await;
        client.limit(self.limit);
        let result = work(&mut client).await;
        client.close();
        give_memory_back();
        result
    }
}

/// Gives the kernel what an allocator keeps of freed memory: after an update several times what an
/// idle agent uses, in pieces between what is still used (`malloc_trim(3)`).
#[cfg(target_env = "gnu")]
fn give_memory_back() {
    // SAFETY: it takes a number, may be called at any time from any thread, and locks what it needs.
    #[allow(
        unsafe_code,
        reason = "there is no safe way to ask the C library for it"
    )]
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

#[cfg(not(target_env = "gnu"))]
const fn give_memory_back() {}

/// The trust layer's part of the configuration.
fn trust(config: &Config, state_dir: &Path) -> anyhow::Result<surefoot_trust::Config> {
    let anchor = read_anchor(&config.root)?;
    let mut trust =
        surefoot_trust::Config::new(config.repository.as_str(), anchor, state_dir.join("trust"));
    trust.pace.window = config.poll.timeout;
    trust.http = Options {
        connect_timeout: config.poll.timeout,
        stall_timeout: config.poll.timeout,
        ..fetching::http(config)
    };
    Ok(trust)
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
