//! One client among all of them: its place, and what its user has had.

use super::{
    caller::Caller,
    limits::Limits,
    names::{self, Names},
    places::{Doing, Full, Id, Places},
    rates::{Rate, Rates},
    users::User,
};
use crate::tally::{Tally, Turned};
use std::{
    collections::HashSet,
    fmt,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use surefoot_api::{ErrorReply, method::Role};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

/// What is known of all clients.
#[derive(Debug, Clone, Default)]
pub(super) struct Clients(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    places: Places,
    calls: Rates,
    changes: Rates,
    comparisons: Rates,
    /// Whose comparison is under way.
    comparing: HashSet<User>,
    names: Names,
    tally: Tally<Turned, User>,
}

impl Clients {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a client in. The one that has to give up its place for it comes along.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn enter(
        &self,
        caller: Caller,
        role: Role,
        user: User,
    ) -> Result<(Client, Option<Id>), Full> {
        let (id, left) = self.known().places.enter(role, &user)?;
        let client = Client {
            caller,
            role,
            user,
            id,
            clients: self.clone(),
            receipt: Mutex::default(),
        };
        Ok((client, left))
    }

    /// Counts what was not granted; whether it is to be written in the log. `user`: `None` if nobody
    /// knows whose it was.
    pub(super) fn count(&self, turned: Turned, user: Option<&User>) -> bool {
        self.known().tally.count(turned, user, Instant::now())
    }

    /// When there is something to sum up for the log.
    pub(super) fn summary_due(&self) -> Option<Instant> {
        self.known().tally.due()
    }

    /// Writes down what was only counted.
    pub(super) fn sum_up(&self) {
        let lines = self.known().tally.sum_up();
        for line in lines {
            tracing::info!("{line}");
        }
    }
}

/// A client that has a place; it gives it up when this is dropped.
#[derive(Debug)]
pub(super) struct Client {
    caller: Caller,
    role: Role,
    user: User,
    id: Id,
    clients: Clients,
    /// Where it is said that it was told the answer which it gets next.
    receipt: Mutex<Option<oneshot::Sender<()>>>,
}

impl Client {
    /// It gets an answer of the agent's next, who wants to know that.
    pub(super) fn owes(&self, receipt: oneshot::Sender<()>) {
        *self.receipt.lock().unwrap_or_else(PoisonError::into_inner) = Some(receipt);
    }

    /// Whether somebody wants to know that it was told, and still waits for that; `None` if nobody does.
    pub(super) fn receipt(&self) -> Option<oneshot::Sender<()>> {
        let mut receipt = self.receipt.lock().unwrap_or_else(PoisonError::into_inner);
        receipt.take()
    }

    pub(super) const fn id(&self) -> Id {
        self.id
    }

    /// Says what it does: whether its place may be given to another.
    pub(super) fn does(&self, doing: Doing) {
        self.clients.known().places.does(self.id, doing);
    }

    /// Says that it does not hear its answer at once, and holds no lease.
    pub(super) fn does_not_listen(&self) {
        self.clients.known().places.does_not_listen(self.id);
    }

    /// Whom it is counted with, as text.
    pub(super) fn counted(&self) -> String {
        self.user.to_string()
    }

    /// Its name for people and as owner of holds: `alice`, or `uid 1000` where the user database has none,
    /// or does not answer.
    pub(super) async fn name(&self) -> String {
        let turn = self.clients.known().names.turn(&self.user);
        let name = names::of(self.uid, turn, names::in_database);
        name.await.unwrap_or_else(|| format!("uid {}", self.uid))
    }

    /// Waits until its user has not called too often.
    pub(super) async fn turn(&self) {
        let rate = Limits::of(self.role).calls;
        loop {
            let taken = (self.clients.known().calls).take(&self.user, rate, Instant::now());
            match taken {
                Ok(()) => return,
                Err(wait) => sleep(wait).await,
            }
        }
    }

    /// Whether its user may have something written to the disk again.
    ///
    /// # Errors
    /// [`ErrorReply::Refused`]: there was too much of it.
    pub(super) fn may_change(&self) -> Result<(), ErrorReply> {
        let rate = Limits::of(self.role).changes;
        let taken = (self.clients.known().changes).take(&self.user, rate, Instant::now());
        taken.map_err(|wait| self.too_often(rate, wait))
    }

    /// Whether systems may be compared for its user again. The comparison is under way until what this gives
    /// is dropped.
    ///
    /// # Errors
    /// [`ErrorReply::Refused`]: one is under way, or there were too many.
    pub(super) fn may_compare(&self) -> Result<Comparing, ErrorReply> {
        let rate = Limits::of(self.role).comparisons;
        let mut known = self.clients.known();
        if known.comparing.contains(&self.user) {
            return Err(ErrorReply::Refused {
                why: "systems are being compared for you already: wait for that".to_owned(),
            });
        }
        let taken = (known.comparisons).take(&self.user, rate, Instant::now());
        if taken.is_ok() {
            known.comparing.insert(self.user.clone());
        }
        drop(known);
        taken.map_err(|wait| self.too_often(rate, wait))?;
        Ok(Comparing {
            user: self.user.clone(),
            clients: self.clients.clone(),
        })
    }

    fn too_often(&self, rate: Rate, wait: Duration) -> ErrorReply {
        if self.counts(Turned::Off) {
            tracing::info!(client = %self, "refused: it asks too often");
        }
        ErrorReply::Refused {
            why: format!(
                "you ask too often: it may be {} times at once, and then once in {} s; try again in {} s",
                rate.burst,
                rate.every.as_secs(),
                wait.as_secs() + 1
            ),
        }
    }

    /// Counts what was not granted to it; whether it is to be written in the log.
    pub(super) fn counts(&self, turned: Turned) -> bool {
        self.clients.count(turned, Some(&self.user))
    }
}

/// A comparison that is under way.
#[derive(Debug)]
pub(super) struct Comparing {
    user: User,
    clients: Clients,
}

impl Drop for Comparing {
    fn drop(&mut self) {
        self.clients.known().comparing.remove(&self.user);
    }
}

impl Deref for Client {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.caller.fmt(f)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.clients.known().places.leave(self.id);
    }
}
