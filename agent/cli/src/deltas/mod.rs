//! Deltas at the publisher's desk: between which paths, how they are made, and where they go.

mod pairs;
mod sources;
mod unlisted;
mod workshop;

use crate::{
    output::{self, sanitize},
    place::Destination,
    web_servers::NetArgs,
};
use anyhow::Context as _;
use sources::Sources;
use std::{
    collections::{BTreeSet, HashSet},
    path::PathBuf,
};
use surefoot_core::{
    StorePath,
    closure::{ClosureIndex, Delta},
    deltas::download_bytes,
};
use surefoot_store::{cache::Cache, request::USUAL_MEMORY};
use workshop::{Job, Workshop};

pub(crate) use unlisted::unlisted;

/// Whether a release gets deltas.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Deltas")]
pub(crate) struct DeltaArgs {
    /// Make deltas of the releases before, put them into this binary cache, and list them in the closure
    /// index: a robot that has an older path then downloads what differs. A directory, the URL of a bucket,
    /// or rsync's user@host:/path; robots read the same place as one of the caches. Without this no deltas
    /// are made.
    #[arg(long, value_name = "DIR|URL|HOST:PATH")]
    push_deltas: Option<String>,
    /// Of so many releases of the channel before; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 3)]
    deltas_from: usize,
    /// Where deltas that were made are kept, so that none is made twice.
    /// [default: surefoot/deltas in $XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "DIR", requires = "push_deltas")]
    delta_cache: Option<PathBuf>,
}

/// What deltas bring to a robot that has the release before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Brought {
    /// Deltas in the index.
    deltas: usize,
    /// Their bytes.
    delta_bytes: u64,
    /// What a robot with the newest release before downloads, bytes.
    download_bytes: u64,
    /// The same without deltas.
    whole_bytes: u64,
    /// The most memory that one of them takes, bytes.
    memory: u64,
}

impl Brought {
    /// What deltas bring, in words.
    pub(crate) fn words(&self) -> String {
        use surefoot_base::units::short_bytes;
        format!(
            "{} deltas of {}: a robot with the release before downloads {} instead of {}",
            self.deltas,
            short_bytes(self.delta_bytes),
            short_bytes(self.download_bytes),
            short_bytes(self.whole_bytes)
        )
    }
}

impl DeltaArgs {
    /// How many releases before are looked at.
    pub(crate) fn from(&self) -> usize {
        self.push_deltas.as_ref().map_or(0, |_| self.deltas_from)
    }

    /// Lists deltas of these closures in the new one, and puts them where robots find them, unless it is
    /// not meant (`dry`). `None` if there is nothing to make one of.
    ///
    /// # Errors
    /// They cannot be put there; there is nowhere to make them.
    pub(crate) fn add(
        &self,
        index: &mut ClosureIndex,
        old: &[ClosureIndex],
        caches: &[Cache],
        (net, store, dry): (&NetArgs, bool, bool),
    ) -> anyhow::Result<Option<Brought>> {
        let (Some(place), Some(newest)) = (&self.push_deltas, old.first()) else {
            return Ok(None);
        };
        let workshop = Workshop {
            sources: Sources {
                caches: self.caches(old, caches)?,
                http: net.options(),
                store,
            },
            cache: self.cache()?,
        };
        let pairs = pairs::pairs(index, old);
        let jobs = pairs.iter().flat_map(|(&at, bases)| {
            let new = &index.paths[at];
            bases.iter().map(move |base| Job { at, new, base })
        });
        let mut made = workshop.make_all(jobs.collect());
        made.sort_by(|(a, one), (b, other)| (a, &one.base).cmp(&(b, &other.base)));
        if !dry {
            push(&workshop, &Destination::new(place, net)?, &made)?;
        }
        for (at, delta) in made {
            index.paths[at].deltas.push(delta);
        }
        let had: HashSet<&StorePath> = newest.paths.iter().map(|info| &info.path).collect();
        let deltas = || index.paths.iter().flat_map(|info| &info.deltas);
        Ok(Some(Brought {
            deltas: deltas().count(),
            delta_bytes: deltas().map(|delta| delta.size).sum(),
            download_bytes: download_bytes(index, &had, true),
            whole_bytes: download_bytes(index, &had, false),
            memory: deltas().map(|delta| delta.memory).max().unwrap_or(0),
        }))
    }

    /// All caches that may have a path of these closures.
    fn caches(&self, old: &[ClosureIndex], caches: &[Cache]) -> anyhow::Result<Vec<Cache>> {
        let mut all = caches.to_vec();
        let mut known: BTreeSet<String> = all.iter().map(ToString::to_string).collect();
        for url in old.iter().flat_map(|index| &index.caches) {
            if known.insert(url.clone()) {
                all.push(Cache::new(url)?);
            }
        }
        Ok(all)
    }

    fn cache(&self) -> anyhow::Result<PathBuf> {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let from = || {
            let given = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            let given = given.filter(|dir| dir.is_absolute()).or_else(home);
            given.map(|dir| dir.join("surefoot/deltas"))
        };
        let dir = self.delta_cache.clone().or_else(from);
        dir.context("there is no HOME to keep deltas in; give --delta-cache")
    }
}

/// Puts what is new to where robots read it.
fn push(
    workshop: &Workshop,
    destination: &Destination,
    made: &[(usize, Delta)],
) -> anyhow::Result<()> {
    let names: BTreeSet<PathBuf> = made
        .iter()
        .map(|(_, delta)| delta.url.clone().into())
        .collect();
    for name in names {
        destination.put(&workshop.cache, &name).with_context(|| {
            sanitize(&format!("cannot put {} to {destination}", name.display()))
        })?;
    }
    Ok(())
}

/// Says of deltas that a robot with usual settings cannot use.
pub(crate) fn warn(brought: &Brought) {
    if brought.memory > USUAL_MEMORY {
        output::notice(&format!(
            "warning: some deltas take {} MiB of memory, more than robots have by default for one: raise \
             fetch.memory there, or these take the whole path",
            brought.memory.div_ceil(1 << 20)
        ));
    }
}
