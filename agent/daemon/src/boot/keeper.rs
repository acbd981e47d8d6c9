//! When the copy on the boot partition is made, and when it is read: see [`super::copy`].

use super::{aim, copy::rests, settings::Settings, step::Task, still_there};
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
    /// What was there before this memory, once that was read.
    recalled: Option<Option<Essentials>>,
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
        if aim::is_recorded(settings) {
            return;
        }
        kept.under_way = true;
        let (settings, shared) = (settings.clone(), Arc::clone(&self.0));
        tokio::spawn(async move {
            let copied = copied(settings).await;
            let kept = &mut *lock(&shared);
            kept.under_way = false;
            match copied {
                Ok(Some(copied)) => kept.copied = Some(copied),
                Ok(None) => kept.next = now + AFTER_FAILURE,
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
        if kept.recalled.is_some() || kept.is_waiting(now) {
            return kept.recalled.take();
        }
        kept.next = now + PACE;
        kept.under_way = true;
        let (settings, shared) = (settings.clone(), Arc::clone(&self.0));
        tokio::spawn(async move {
            let found = Task::Recall.ask::<Option<Essentials>>(&settings).await;
            let kept = &mut *lock(&shared);
            kept.under_way = false;
            // The agent asks again with its next pulse.
            kept.recalled = found.ok().map(|found| found.map(still_there));
        });
        None
    }
}

/// Has the journal copied, where there is a place for that; gives what was.
async fn copied(settings: Settings) -> anyhow::Result<Option<Essentials>> {
    if !Task::HasPlace.ask(&settings).await? {
        return Ok(None);
    }
    let said = Task::Remember.order(settings).await?;
    Ok(Some(serde_json::from_str(&said)?))
}

impl Kept {
    fn is_waiting(&self, now: Instant) -> bool {
        self.under_way || now < self.next
    }
}

fn lock(kept: &Mutex<Kept>) -> std::sync::MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
