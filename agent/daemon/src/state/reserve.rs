//! The reserve: room beside the journal that a way back gives free first, and that is taken again when
//! the robot rests and there is room.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use surefoot_base::{reserve::Reserve, space, units::short_bytes};
use surefoot_core::time::Instant;

/// The file, in the state directory.
const NAME: &str = "reserve";

/// Time from giving it free, or from a try to take it in vain, to the next try.
const AGAIN: Duration = Duration::from_secs(10);

/// The reserve of a state directory of this configuration (`state_reserve`).
pub(crate) fn at(state_dir: &Path, size: u64) -> Reserve {
    Reserve::new(state_dir.join(NAME), size)
}

/// Gives the reserve free and takes it again.
#[derive(Debug)]
pub(crate) struct Keeper {
    reserve: Mutex<Reserve>,
    making: Arc<Making>,
    next: Mutex<Instant>,
}

/// What is shared with the thread that makes it.
#[derive(Debug, Default)]
struct Making {
    under_way: AtomicBool,
    stop: AtomicBool,
    /// Why there is none.
    why: Mutex<Option<String>>,
}

impl Keeper {
    pub(super) fn new(state_dir: &Path, size: u64) -> Self {
        let reserve = at(state_dir, size);
        let missing = size > 0 && !reserve.is_there();
        let making = Making {
            why: Mutex::new(missing.then(|| "it has not been made yet".to_owned())),
            ..Making::default()
        };
        Self {
            reserve: Mutex::new(reserve),
            making: Arc::new(making),
            next: Mutex::default(),
        }
    }

    /// Why there is no reserve although there should be one.
    pub(crate) fn lacking(&self) -> Option<String> {
        lock(&self.making.why).clone()
    }

    /// The configuration was read again.
    pub(crate) fn resize(&self, state_dir: &Path, size: u64) {
        *lock(&self.reserve) = at(state_dir, size);
    }

    /// Takes the room again, beside everything else, if it is missing and time has come.
    pub(crate) fn tend(&self, now: Instant) {
        let reserve = lock(&self.reserve).clone();
        let mut next = lock(&self.next);
        if now < *next || self.making.under_way.load(Ordering::Relaxed) {
            return;
        }
        *next = now + AGAIN;
        if reserve.is_there() {
            *lock(&self.making.why) = None;
            return;
        }
        let making = Arc::clone(&self.making);
        making.stop.store(false, Ordering::Relaxed);
        making.under_way.store(true, Ordering::Relaxed);
        let make = move || {
            let made = reserve.make(&making.stop, fastrand::fill);
            *lock(&making.why) = made.err().map(|error| why(&reserve, &error));
            making.under_way.store(false, Ordering::Relaxed);
        };
        let thread = std::thread::Builder::new().name("reserve".to_owned());
        if let Err(error) = thread.spawn(make) {
            self.making.under_way.store(false, Ordering::Relaxed);
            tracing::warn!("cannot start a thread: {error}");
        }
    }

    /// Gives the room free if less than that is free: a way back begins.
    pub(crate) fn make_room(&self, now: Instant) {
        let reserve = lock(&self.reserve).clone();
        let dir = reserve.path().parent().unwrap_or(Path::new("/"));
        if space::free(dir).is_ok_and(|free| free < reserve.size()) {
            self.give_free(now, "a way back began, and the disk was nearly full");
        }
    }

    /// Gives the room free. Says whether there was any.
    pub(crate) fn give_free(&self, now: Instant, why: &str) -> bool {
        self.making.stop.store(true, Ordering::Relaxed);
        *lock(&self.next) = now + AGAIN;
        match lock(&self.reserve).give_free() {
            Ok(true) => {
                tracing::warn!("the reserve was given free: {why}");
                *lock(&self.making.why) = Some(format!("it was given free: {why}"));
                true
            }
            Ok(false) => false,
            Err(error) => {
                tracing::error!("the reserve cannot be given free: {error}");
                false
            }
        }
    }
}

fn why(reserve: &Reserve, error: &io::Error) -> String {
    let size = short_bytes(reserve.size());
    match error.kind() {
        io::ErrorKind::StorageFull => {
            let dir = reserve.path().parent().unwrap_or(Path::new("/"));
            let free = space::free(dir).map(short_bytes).unwrap_or_default();
            format!(
                "only {free} are free at {}; it takes {size}, and as much again has to stay free",
                dir.display()
            )
        }
        io::ErrorKind::Interrupted => "the room was needed while it was being made".to_owned(),
        _ => format!("it cannot be made: {error}"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for the thread.
    fn made(keeper: &Keeper) {
        while keeper.making.under_way.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_reserve_is_given_free_and_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = Keeper::new(dir.path(), 1 << 10);
        let is_there = || at(dir.path(), 1 << 10).is_there();
        assert_eq!(keeper.lacking().unwrap(), "it has not been made yet");
        keeper.tend(Instant(0));
        made(&keeper);
        assert!(is_there());
        assert_eq!(keeper.lacking(), None);
        // There is room enough: a way back needs none of it.
        keeper.make_room(Instant(1));
        assert!(is_there());
        assert!(keeper.give_free(Instant(1), "the disk was full"));
        assert!(!keeper.give_free(Instant(1), "the disk was full"));
        assert!(!is_there());
        assert!(keeper.lacking().unwrap().contains("the disk was full"));
        keeper.tend(Instant(2));
        made(&keeper);
        assert!(!is_there(), "not at once: who is short of room needs it");
        keeper.tend(Instant(1) + AGAIN);
        made(&keeper);
        assert!(is_there());
        assert_eq!(keeper.lacking(), None);
    }

    #[test]
    fn a_reserve_that_does_not_fit_says_so_and_none_is_not_missed() {
        let dir = tempfile::tempdir().unwrap();
        let keeper = Keeper::new(dir.path(), u64::MAX);
        keeper.tend(Instant(0));
        made(&keeper);
        assert!(keeper.lacking().unwrap().contains("has to stay free"));
        // Nobody wants one any more.
        keeper.resize(dir.path(), 0);
        keeper.tend(Instant(0) + AGAIN);
        made(&keeper);
        assert_eq!(keeper.lacking(), None);
        assert_eq!(Keeper::new(dir.path(), 0).lacking(), None);
    }
}
