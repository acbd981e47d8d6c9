//! Says it when nothing comes of what the agent waits for, and whom that waits for itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};
use surefoot_api::Stall;
use surefoot_core::{
    machine::{Effect, Event},
    stall::{Task, Waits},
    time::Instant,
};
use surefoot_store::locks;
use tokio::sync::watch;

/// How often it is looked whom a stalled task waits for.
const LOOK: Duration = Duration::from_secs(30);

/// What it means that the boot partition does not answer.
const UNANSWERED: &str =
    "its mount hangs or its disk is dead (dmesg); what needs the boot loader waits";

/// Knows what the agent waits for.
pub(crate) struct Watch {
    waits: watch::Sender<(Waits, Duration)>,
    /// What has stalled.
    pub(crate) found: watch::Receiver<Vec<Stall>>,
    start: tokio::time::Instant,
}

impl Watch {
    /// From now on, with what may bring nothing for how long, the store whose locks may be waited for, and
    /// since when the boot partition has not answered, which has been waited for long enough already.
    pub(crate) fn start(
        after: Duration,
        store: PathBuf,
        silence: watch::Receiver<Option<tokio::time::Instant>>,
    ) -> Self {
        let (waits, told) = watch::channel((Waits::default(), after));
        let (say, found) = watch::channel(Vec::new());
        let start = tokio::time::Instant::now();
        tokio::spawn(look((told, silence), say, store, start));
        Self {
            waits,
            found,
            start,
        }
    }

    /// By another configuration.
    pub(crate) fn set(&self, after: Duration) {
        self.waits.send_modify(|waits| waits.1 = after);
    }

    /// An effect goes out.
    pub(crate) fn asked(&self, effect: &Effect) {
        let now = since(self.start);
        self.waits.send_modify(|waits| waits.0.asked(effect, now));
    }

    /// An event has come.
    pub(crate) fn answered(&self, event: &Event) {
        self.waits.send_modify(|waits| waits.0.answered(event));
    }

    /// The fetch has got further.
    pub(crate) fn fetched(&self) {
        let now = since(self.start);
        self.waits
            .send_if_modified(|(waits, after)| waits.moved(Task::Fetch, *after, now));
    }
}

/// On a clock that stands still while the robot is suspended.
fn since(start: tokio::time::Instant) -> Instant {
    Instant::default() + start.elapsed()
}

/// Ends with the agent.
async fn look(
    (mut told, mut silence): (
        watch::Receiver<(Waits, Duration)>,
        watch::Receiver<Option<tokio::time::Instant>>,
    ),
    say: watch::Sender<Vec<Stall>>,
    store: PathBuf,
    start: tokio::time::Instant,
) {
    let mut said = BTreeSet::new();
    loop {
        let now = since(start);
        let (mut stalled, next) = {
            let (waits, after) = &*told.borrow_and_update();
            (waits.stalled(*after, now), waits.next(*after, now))
        };
        if let Some(since) = *silence.borrow_and_update() {
            stalled.insert(Task::Partition, since.elapsed());
        }
        said.retain(|task| {
            let stalls = stalled.contains_key(task);
            if !stalls {
                tracing::info!("{task} goes on, or has ended");
            }
            stalls
        });
        let mut next = next.map(|at| at.since(now));
        if stalled.is_empty() {
            say.send_if_modified(|stalls| !std::mem::take(stalls).is_empty());
        } else {
            let stalls = describe(&stalled, &store).await;
            for (task, stall) in stalled.keys().zip(&stalls) {
                if said.insert(*task) {
                    tracing::warn!("{stall}");
                }
            }
            say.send_replace(stalls);
            next = Some(next.unwrap_or(LOOK).min(LOOK));
        }
        let next = async {
            match next {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = told.changed() => if changed.is_err() { return },
            Ok(()) = silence.changed() => {}
            () = next => {}
        }
    }
}

async fn describe(stalled: &BTreeMap<Task, Duration>, store: &std::path::Path) -> Vec<Stall> {
    let store = store.to_owned();
    let locks = tokio::task::spawn_blocking(move || locks::waited_for(&store)).await;
    let locks = locks.unwrap_or_default();
    let stall = |(task, silent): (&Task, &Duration)| {
        let why = match task {
            // Only these wait for the Nix daemon.
            Task::Fetch | Task::Inspection => (!locks.is_empty()).then(|| locks::list(&locks)),
            Task::Partition => Some(UNANSWERED.to_owned()),
            _ => None,
        };
        Stall {
            what: task.to_string(),
            seconds: silent.as_secs(),
            why,
        }
    };
    stalled.iter().map(stall).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_core::{StorePath, health::Beside, time::Instant};

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_said_and_taken_back_once_it_moves() {
        let after = Duration::from_secs(60);
        let dir = tempfile::tempdir().unwrap();
        let silence = watch::Sender::default();
        let mut watch = Watch::start(after, dir.path().into(), silence.subscribe());
        watch.asked(&Effect::Poll);
        watch.answered(&Event::PollFailed("no route".into()));
        let system = StorePath::from_base_name(&format!("{}-x", "0".repeat(32))).unwrap();
        watch.asked(&Effect::Probe {
            system,
            against: Box::default(),
            at: Instant::default(),
            beside: Beside::Agent,
        });
        let start = tokio::time::Instant::now();
        watch.found.changed().await.unwrap();
        assert_eq!(start.elapsed(), after);
        let found = watch.found.borrow_and_update().clone();
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].what.as_str(), found[0].seconds),
            ("the round of health checks", 60)
        );
        watch.answered(&Event::Probed(Default::default()));
        watch.found.changed().await.unwrap();
        assert_eq!(*watch.found.borrow_and_update(), []);
        // What has not answered was waited for already.
        silence.send_replace(Some(tokio::time::Instant::now()));
        watch.found.changed().await.unwrap();
        let found = watch.found.borrow_and_update().clone();
        assert_eq!(found[0].what, "the look at the boot partition");
        assert_eq!(found[0].why.as_deref(), Some(UNANSWERED));
        silence.send_replace(None);
        watch.found.changed().await.unwrap();
        assert_eq!(*watch.found.borrow(), []);
    }
}
