//! Deltas are made with all processors and in bounded memory, and never twice.

use super::sources::Sources;
use crate::{
    output::{self, Bar, sanitize},
    place::DELTAS,
};
use anyhow::{Context as _, ensure};
use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};
use surefoot_base::file;
use surefoot_core::{
    Sha256,
    closure::{Delta, PathInfo},
};
use surefoot_delta::{Codec, Limits, make};

/// How deltas are coded.
const CODEC: Codec = Codec::Predict;
/// A delta of which no more than this part of the NAR's file is left is kept, in hundredths.
const KEPT: u64 = 80;
/// What a delta takes in the compressed index, bytes.
const ENTRY: u64 = 160;
/// Memory that those which are made at a time take together, bytes; one always may.
const MEMORY: u64 = 2 << 30;
/// What is searched at a time is no larger, bytes; and what finding takes for each byte of that.
const PIECE: u64 = 64 << 20;
const FOR_EACH: u64 = 8;
/// Deltas that are read from the cache have at most this size, bytes.
const MAX_DELTA: u64 = 256 << 20;

/// What a file of a delta ends with.
pub(super) const SUFFIX: &str = ".delta";

/// How far it is, for [`Bar`].
const BAR: &str = "Deltas {bar:30} {bytes:>11} of {total_bytes}  {eta} left  {msg}";

/// A delta that is to be made.
pub(super) struct Job<'a> {
    /// The place of the path in the closure.
    pub(super) at: usize,
    pub(super) new: &'a PathInfo,
    pub(super) base: &'a PathInfo,
}

/// Where deltas are made, and kept for the next time.
pub(super) struct Workshop {
    pub(super) sources: Sources,
    pub(super) cache: PathBuf,
}

/// What is under way.
struct State<'a> {
    waiting: VecDeque<Job<'a>>,
    /// Memory that is taken, bytes.
    memory: u64,
    /// Bytes of NARs that are done.
    done: u64,
    made: Vec<(usize, Delta)>,
}

impl Workshop {
    /// Makes all that are worth it. What cannot be made is said and left out: robots take the whole path.
    pub(super) fn make_all(&self, mut jobs: Vec<Job<'_>>) -> Vec<(usize, Delta)> {
        let total = jobs.iter().map(|job| job.new.nar_size).sum();
        // A large one that begins last would end long after all others.
        jobs.sort_by_key(|job| std::cmp::Reverse(job.new.nar_size));
        let bar = Bar::new(BAR);
        let state = Mutex::new(State {
            waiting: jobs.into(),
            memory: 0,
            done: 0,
            made: Vec::new(),
        });
        let freed = Condvar::new();
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let work = || {
            while let Some((job, memory)) = next(&state, &freed) {
                let made = self.make(&job);
                let mut state = lock(&state);
                state.memory -= memory;
                state.done += job.new.nar_size;
                match made {
                    Ok(delta) => state.made.extend(delta.map(|delta| (job.at, delta))),
                    Err(error) => output::notice(&sanitize(&format!(
                        "warning: no delta for {}: {error:#}",
                        job.new.path
                    ))),
                }
                if let Some(bar) = &bar {
                    let message = format!("{} left", state.waiting.len());
                    bar.update(state.done, total, message);
                }
                drop(state);
                freed.notify_all();
            }
        };
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
        let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.made
    }

    /// One delta; `None` if it is not worth it.
    fn make(&self, job: &Job<'_>) -> anyhow::Result<Option<Delta>> {
        let (new, base) = (job.new, job.base);
        let full = new.download.size(new.nar_size);
        let pair = self.cache.join("pairs").join(pair(job));
        let known = file::read_if_there(&pair, 100).ok().flatten();
        let known = known.and_then(|bytes| String::from_utf8(bytes).ok());
        if known.as_deref() == Some("") {
            return Ok(None);
        }
        let kept = known.and_then(|name| {
            let bytes = file::read(&self.place(&name), MAX_DELTA).ok()?;
            (sha256(&bytes).ok()?.hex() == name).then_some(bytes)
        });
        let (old, wanted) = (self.sources.open(base)?, || self.sources.open(new));
        let delta = match kept {
            Some(bytes) => bytes,
            None => {
                let mut bytes = Vec::new();
                make(&*old, &*wanted()?, CODEC, &mut bytes)?;
                if (bytes.len() as u64 + ENTRY) * 100 > full * KEPT {
                    write(&pair, b"")?;
                    return Ok(None);
                }
                bytes
            }
        };
        // What robots will do with it.
        let limits = Limits {
            memory: u64::MAX,
            result: new.nar_size,
        };
        let opened = surefoot_delta::Delta::open(&delta, &limits)?;
        let header = opened.header();
        ensure!(
            header.base_digest == base.nar_hash.0 && header.result_digest == new.nar_hash.0,
            "what lies in the store or the cache is not what was published"
        );
        opened
            .apply(&*old, &mut io::sink())
            .context("it does not give back what it was made from")?;
        let digest = sha256(&delta)?;
        let name = digest.hex();
        write(&self.place(&name), &delta)?;
        write(&pair, name.as_bytes())?;
        Ok(Some(Delta {
            base: base.path.clone(),
            base_nar_hash: base.nar_hash,
            codec: header.codec.name().into(),
            memory: header.memory,
            url: format!("{DELTAS}/{name}{SUFFIX}"),
            sha256: digest,
            size: delta.len() as u64,
        }))
    }

    /// Where the delta of this digest lies.
    fn place(&self, name: &str) -> PathBuf {
        self.cache.join(DELTAS).join(format!("{name}{SUFFIX}"))
    }
}

fn lock<'a, 'b>(state: &'a Mutex<State<'b>>) -> MutexGuard<'a, State<'b>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next job, once there is memory for it, and how much.
fn next<'a>(state: &Mutex<State<'a>>, freed: &Condvar) -> Option<(Job<'a>, u64)> {
    let mut state = lock(state);
    loop {
        let job = state.waiting.front()?;
        let size = job.new.nar_size.max(job.base.nar_size).min(PIECE);
        let memory = size * FOR_EACH;
        if state.memory == 0 || state.memory + memory <= MEMORY {
            state.memory += memory;
            return Some((state.waiting.pop_front()?, memory));
        }
        state = freed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
}

/// The name of what is known of a pair.
fn pair(job: &Job<'_>) -> String {
    let (base, new) = (job.base.nar_hash.hex(), job.new.nar_hash.hex());
    format!("{base}-{new}-{}", CODEC.name())
}

fn sha256(bytes: &[u8]) -> io::Result<Sha256> {
    surefoot_delta::digest(&bytes).map(Sha256)
}

fn write(place: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || -> io::Result<()> {
        file::make_dirs(place.parent().unwrap_or(place))?;
        file::replace_unsynced(place, bytes, 0o644)
    };
    write().with_context(|| place.display().to_string())
}
