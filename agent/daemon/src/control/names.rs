//! What users are called. The database may lie on a network and never answer, so it is asked on threads of
//! their own: one at a time for each user, whichever of their ids they call by, and never for root.

use super::{limits::LOOKUP, users::User};
use std::{collections::HashMap, sync::Arc};
use tokio::sync::Mutex;

/// Whose turn it is to have a name looked up.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<User, Turn>);

/// The turns of one user: the next one comes when the database has answered.
pub(super) type Turn = Arc<Mutex<()>>;

impl Names {
    /// The turns of a user. Those of users for whom nothing is looked up are forgotten.
    pub(super) fn turn(&mut self, user: &User) -> Turn {
        self.0.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(self.0.entry(user.clone()).or_default())
    }
}

/// The name that the database has for an id. `None` if it has none, or that cannot be known in time.
pub(super) async fn of(
    uid: u32,
    turn: Turn,
    look_up: impl FnOnce(u32) -> Option<String> + Send + 'static,
) -> Option<String> {
    if uid == 0 {
        return Some("root".to_owned());
    }
    let name = async {
        let turn = turn.lock_owned().await;
        let lookup = tokio::task::spawn_blocking(move || {
            // Whoever asked may have given up: the turn ends with the answer all the same.
            let _turn = turn;
            look_up(uid)
        });
        lookup.await.ok().flatten()
    };
    tokio::time::timeout(LOOKUP, name).await.ok().flatten()
}

/// Asks the database, for as long as it takes.
pub(super) fn in_database(uid: u32) -> Option<String> {
    let user = nix::unistd::User::from_uid(uid.into()).ok()??;
    Some(user.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    #[tokio::test(start_paused = true)]
    async fn a_database_that_hangs_keeps_one_thread_of_a_user_and_neither_others_nor_root() {
        let mut names = Names::default();
        let (alice, bob) = (User::Uid(1000), User::Uid(1001));
        let asked = Arc::new(AtomicUsize::new(0));
        let (release, hangs) = mpsc::channel::<()>();
        let first = Arc::clone(&asked);
        // Time stands still while a thread is at work, so it is moved by hand.
        let hanging = tokio::spawn(of(100_000, names.turn(&alice), move |_| {
            first.fetch_add(1, Ordering::SeqCst);
            let _ = hangs.recv();
            None
        }));
        while asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let again: Vec<_> = (1..20)
            .map(|id| {
                let asked = Arc::clone(&asked);
                let turn = names.turn(&alice);
                tokio::spawn(of(100_000 + id, turn, move |_| {
                    asked.fetch_add(1, Ordering::SeqCst);
                    None
                }))
            })
            .collect();
        tokio::task::yield_now().await;
        tokio::time::advance(LOOKUP * 2).await;
        assert_eq!(hanging.await.unwrap(), None);
        for one in again {
            assert_eq!(one.await.unwrap(), None);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let turn = names.turn(&bob);
        let found = of(1001, turn, |_| Some("bob".to_owned())).await;
        assert_eq!(found.as_deref(), Some("bob"));
        let turn = names.turn(&alice);
        assert_eq!(of(0, turn, |_| None).await.as_deref(), Some("root"));

        // It answers at last, and the next one has its turn.
        release.send(()).unwrap();
        let turn = names.turn(&alice);
        let found = of(1000, turn, |_| Some("alice".to_owned())).await;
        assert_eq!(found.as_deref(), Some("alice"));
        names.turn(&bob);
        assert_eq!(names.0.len(), 1, "turns that nobody waits for are kept");
    }
}
