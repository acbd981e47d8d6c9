//! What all tests of this binary need: a signed cache, a robot's store, a request.

use anyhow::{Context, Result};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};
use surefoot_core::{StorePath, closure::ClosureIndex};
use surefoot_http::{Http, Options};
use surefoot_store::{
    Error, Retry,
    cache::{Cache, place},
    fetch::{self, FetchReport},
    index,
    request::FetchRequest,
    staging::Staging,
};
use surefoot_tests::{Farm, NixDaemon, Toplevel, rig, toplevel::built};

/// Bytes of the big path that do not compress.
pub(crate) const BIG: usize = 3_000_000;

/// A closure in a signed cache, and a robot's daemon with an empty store.
pub(crate) struct Lab {
    pub(crate) daemon: NixDaemon,
    pub(crate) cache: PathBuf,
    pub(crate) toplevel: String,
    pub(crate) index: Arc<ClosureIndex>,
}

/// A system of a few paths, one of them big; `name` tells it from others.
pub(crate) fn system(name: &str) -> Result<String> {
    Toplevel::named(name).padding(BIG).build(&Farm::shared())
}

/// The fleet's key: the file with the secret one, and the public one.
pub(crate) fn key(directory: &Path) -> Result<(PathBuf, String)> {
    let secret =
        rig::run(rig::nix("nix").args(["key", "generate-secret", "--key-name", "fleet-1"]))?;
    let file = directory.join("key");
    std::fs::write(&file, &secret)?;
    let public = rig::run(
        rig::nix("nix")
            .args(["key", "convert-secret-to-public"])
            .stdin(std::fs::File::open(&file)?),
    )?;
    Ok((file, public))
}

impl Lab {
    pub(crate) fn new(compression: &str) -> Result<Self> {
        Self::with(&system("fetched")?, compression)
    }

    pub(crate) fn with(toplevel: &str, compression: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let (secret, public) = key(directory.path())?;
        let cache = directory.path().join("cache");
        Farm::shared().push(toplevel, &cache, compression, Some(&secret))?;
        let daemon = NixDaemon::start_in(directory, &format!("trusted-public-keys = {public}"))?;
        let index = Arc::new(index_of(&cache, toplevel)?);
        Ok(Self {
            daemon,
            cache,
            toplevel: toplevel.to_owned(),
            index,
        })
    }

    /// A request for the closure from this cache, impatient enough for a test.
    pub(crate) fn request(&self, cache: &str) -> FetchRequest {
        let at = self.daemon.directory();
        let mut request = FetchRequest::new(
            Arc::clone(&self.index),
            vec![cache.to_owned()],
            at.join("staging"),
            at.join("result"),
        );
        request.daemon_socket = self.daemon.socket();
        request.store_dir = self.daemon.root().join("nix/store");
        request.retry = Retry {
            tries: 4,
            base: Duration::from_millis(1),
            max: Duration::from_millis(10),
            patience: Duration::from_secs(5),
        };
        request.http = Options {
            stall_timeout: Duration::from_millis(300),
            ..Options::default()
        };
        request
    }

    /// The same with an index that was changed.
    pub(crate) fn request_with(
        &self,
        cache: &str,
        change: impl FnOnce(&mut ClosureIndex),
    ) -> FetchRequest {
        let mut request = self.request(cache);
        change(Arc::make_mut(&mut request.index));
        request
    }

    /// `surefoot fetch` of the same from these caches alone, as a process of its own.
    pub(crate) fn fetch_by_hand<T: AsRef<str>>(
        &self,
        caches: impl IntoIterator<Item = T>,
    ) -> Result<Command> {
        let at = self.daemon.directory();
        let file = at.join("index.json.zst");
        let mut index = (*self.index).clone();
        index.caches.clear();
        std::fs::write(&file, index::pack(&index)?.bytes)?;
        let mut command = Command::new(built("surefoot")?);
        command.env("NIX_DAEMON_SOCKET_PATH", self.daemon.socket());
        command.arg("fetch").arg("--index").arg(file).arg("--json");
        command.arg("--staging").arg(at.join("staging"));
        command.arg("--gc-root").arg(at.join("result"));
        for cache in caches {
            command.arg("--from").arg(cache.as_ref());
        }
        Ok(command)
    }

    /// The toplevel's place in the index: the last.
    pub(crate) fn top(&self) -> usize {
        self.index.paths.len() - 1
    }

    /// The big path's place in the index.
    pub(crate) fn big(&self) -> usize {
        let sizes = self.index.paths.iter().map(|info| info.nar_size);
        sizes
            .enumerate()
            .max_by_key(|(_, size)| *size)
            .map_or(0, |(at, _)| at)
    }

    /// The URL of the big path's file, below the cache.
    pub(crate) fn big_url(&self) -> &str {
        &self.index.paths[self.big()].download.url
    }

    /// Bytes of the big path's file.
    pub(crate) fn big_size(&self) -> u64 {
        self.index.paths[self.big()].download.file_size.unwrap_or(0)
    }

    /// The big path's name in staging.
    pub(crate) fn big_key(&self) -> String {
        let info = &self.index.paths[self.big()];
        let hash = info.download.file_hash.map(|hash| hash.hex());
        let (hash, path) = (hash.unwrap_or_default(), info.path.hash_part());
        format!("{hash}-{path}.nar.xz")
    }

    /// Checks that the store has the closure, whole, and that the GC root holds it.
    pub(crate) fn check_fetched(&self, request: &FetchRequest) -> Result<()> {
        assert_eq!(
            std::fs::read_link(&request.gc_root)?,
            Path::new(&self.toplevel)
        );
        self.daemon.collect_garbage()?;
        let valid = self.daemon.valid_paths()?;
        for info in &self.index.paths {
            assert!(
                valid.contains(&info.path.to_string()),
                "{} is not valid",
                info.path
            );
        }
        self.daemon.verify()?;
        assert_eq!(staged(request)?, Vec::<String>::new(), "left in staging");
        Ok(())
    }

    /// Checks that a failed fetch left no path that must not be there, and no root.
    pub(crate) fn check_clean(&self, request: &FetchRequest) -> Result<()> {
        assert!(!request.gc_root.exists(), "a root for what was not fetched");
        let valid = self.daemon.valid_paths()?;
        assert!(!valid.contains(&self.toplevel), "the toplevel is valid");
        self.daemon.verify()
    }
}

/// What lies in staging, the lock aside.
pub(crate) fn staged(request: &FetchRequest) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&request.staging)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "lock" {
            names.push(name);
        }
    }
    Ok(names)
}

/// Waits until nobody holds the staging area any more.
pub(crate) fn wait_unlocked(request: &FetchRequest) -> Result<()> {
    rig::wait_for("the staging area", || {
        Ok(Staging::open(&request.staging).ok())
    })
    .map(drop)
}

pub(crate) fn index_of(cache: &Path, toplevel: &str) -> Result<ClosureIndex> {
    let cache = Cache::new(&place(&cache.to_string_lossy()))?;
    let toplevel: StorePath = toplevel.parse()?;
    block_on(async { index::from_cache(&cache, &Http::default(), &toplevel).await })
        .context("cannot build the index")
}

pub(crate) fn run(request: &FetchRequest) -> Result<FetchReport, Error> {
    block_on(fetch::run(request, &()))
}

/// The runtime that the fetch would get in the agent: one thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// The Python of `tests/requirements.txt`; without it, says that the test was skipped.
pub(crate) fn python() -> Option<PathBuf> {
    let python = std::env::var_os("SUREFOOT_PYTHON").map_or_else(
        || rig::source().join("target/venv/bin/python"),
        PathBuf::from,
    );
    if !python.exists() {
        eprintln!("SKIPPED: no {}; see tests/run", python.display());
        return None;
    }
    Some(python)
}
