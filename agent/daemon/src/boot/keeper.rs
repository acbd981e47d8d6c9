//! When the copy on the boot partition is made, and when it is read: see [`copy`].

use super::{
    aim,
    copy::{self, rests},
    settings::Settings,
    step::Task,
    still_there,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use surefoot_core::{
    essentials::Essentials, journal::Journal, machine::state::State, time::Instant,
};

/// Between two copies, and after one that failed.
const PACE: Duration = Duration::from_secs(60);
const AFTER_FAILURE: Duration = Duration::from_secs(600);

/// Sees to it that there is a copy while the robot rests. Where it cannot be made all goes on without it.
#[derive(Debug, Default)]
pub(crate) struct Keeper(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// What was copied last by this agent.
    copied: Option<Essentials>,
    under_way: bool,
    next: Instant,
    /// Why it was not, last.
    why: String,
}

impl Keeper {
    /// Has the journal copied, beside everything else, if it has changed and time has come.
    pub(crate) fn tend(&self, journal: &Journal, settings: &Settings, now: Instant) {
        if !rests(journal) || lock(&self.0).is_waiting(now) {
            return;
        }
        let kept = &mut *lock(&self.0);
        if kept.copied.as_ref() == Some(&Essentials::of(journal)) {
            return;
        }
        kept.next = now + PACE;
        if aim::is_recorded(settings) || copy::place(settings).is_none() {
            return;
        }
        kept.under_way = true;
        let (settings, shared) = (settings.clone(), Arc::clone(&self.0));
        tokio::spawn(async move {
            let said = Task::Remember.order(settings).await;
            let copied = said.and_then(|said| Ok(serde_json::from_str(&said)?));
            let kept = &mut *lock(&shared);
            kept.under_way = false;
            match copied {
                Ok(copied) => kept.copied = Some(copied),
                Err(error) => {
                    kept.next = now + AFTER_FAILURE;
                    let why = format!("{error:#}");
                    if kept.why != why {
                        tracing::info!(
                            "the essentials were not copied to the boot partition: {why}"
                        );
                        kept.why = why;
                    }
                }
            }
        });
    }
}

impl Keeper {
    /// The copy of the memory before this one, as soon as it can be read: the boot partition was not mounted
    /// when this memory began, say. `Some(None)` where there is none.
    pub(crate) fn recall(
        &self,
        journal: &Journal,
        settings: &Settings,
        now: Instant,
    ) -> Option<Option<Essentials>> {
        if !journal.copy_unread || journal.state != State::Idle {
            return None;
        }
        let kept = &mut *lock(&self.0);
        if kept.is_waiting(now) {
            return None;
        }
        kept.next = now + PACE;
        copy::read(settings)
            .ok()
            .map(|found| found.map(still_there))
    }
}

impl Kept {
    fn is_waiting(&self, now: Instant) -> bool {
        self.under_way || now < self.next
    }
}

fn lock(kept: &Mutex<Kept>) -> std::sync::MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
