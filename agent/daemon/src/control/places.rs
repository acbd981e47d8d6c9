//! Who has a place at the socket, and who gives one up.
//!
//! Each role has places of its own, so whoever is let in is in nobody's way who may do more or less.
//! Within a role, a newcomer for whom there is no place takes one from whoever has most: the connection
//! that has been idle longest. So somebody who has fewer than others never loses one to them, however
//! many they want.

use super::{limits::Limits, users::User};
use std::collections::HashMap;
use surefoot_api::method::Role;

/// A connection.
pub(super) type Id = u64;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Doing {
    /// It watches, or says nothing: the first to go.
    Idle,
    /// A call is being read or answered.
    Busy,
    /// The agent is being asked for it, or a lease hangs on it: nobody takes its place. It ends when the
    /// connection is idle again, not before: the answer has to arrive, if somebody listens.
    Kept,
}

/// There is no place, and nobody who has to give one up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// A place that is taken.
#[derive(Debug)]
struct Taken {
    role: Role,
    user: User,
    doing: Doing,
    /// The turn at which it did something last.
    since: u64,
}

/// All places.
#[derive(Debug, Default)]
pub(super) struct Places {
    taken: HashMap<Id, Taken>,
    turn: u64,
}

impl Places {
    /// Takes a newcomer in. Who gives up a place for that comes along, and has to be hung up on.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn enter(&mut self, role: Role, user: &User) -> Result<(Id, Option<Id>), Full> {
        let mut left = None;
        if self.of(role).count() >= Limits::of(role).places {
            let leaves = self.most_dispensable(role, user).ok_or(Full)?;
            self.taken.remove(&leaves);
            left = Some(leaves);
        }
        self.turn += 1;
        let taken = Taken {
            role,
            user: user.clone(),
            doing: Doing::Idle,
            since: self.turn,
        };
        self.taken.insert(self.turn, taken);
        Ok((self.turn, left))
    }

    /// A connection does something else now.
    pub(super) fn does(&mut self, id: Id, doing: Doing) {
        self.turn += 1;
        if let Some(taken) = self.taken.get_mut(&id) {
            if (taken.doing, doing) != (Doing::Kept, Doing::Busy) {
                taken.doing = doing;
            }
            taken.since = self.turn;
        }
    }

    /// Whoever is answered does not listen, and holds no lease: its place may be given to another.
    pub(super) fn does_not_listen(&mut self, id: Id) {
        if let Some(taken) = self.taken.get_mut(&id) {
            taken.doing = taken.doing.min(Doing::Busy);
        }
    }

    /// A connection has ended.
    pub(super) fn leave(&mut self, id: Id) {
        self.taken.remove(&id);
    }

    fn of(&self, role: Role) -> impl Iterator<Item = (&Id, &Taken)> {
        self.taken
            .iter()
            .filter(move |(_, taken)| taken.role == role)
    }

    /// Who goes for a newcomer: of those who have most, the newcomer counted, the one that has been
    /// idle longest; nobody who is kept. If none of them can go, none of those who have less does,
    /// unless it has more than the newcomer.
    fn most_dispensable(&self, role: Role, newcomer: &User) -> Option<Id> {
        let mut counts = HashMap::from([(newcomer, 1)]);
        for (_, taken) in self.of(role) {
            *counts.entry(&taken.user).or_default() += 1;
        }
        let own = counts.get(newcomer).copied().unwrap_or_default();
        (self.of(role))
            .filter(|(_, taken)| taken.doing != Doing::Kept)
            .filter_map(|(id, taken)| Some((id, taken, *counts.get(&taken.user)?)))
            .filter(|(_, _, count)| *count >= own)
            .min_by_key(|(_, taken, count)| (std::cmp::Reverse(*count), taken.doing, taken.since))
            .map(|(id, _, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROLES: [Role; 4] = [Role::Anyone, Role::App, Role::Technician, Role::Root];

    fn user(uid: u32) -> User {
        User::Uid(uid)
    }

    fn count(places: &Places, role: Role, uid: u32) -> usize {
        places.of(role).filter(|(_, t)| t.user == user(uid)).count()
    }

    #[test]
    fn nobody_can_shut_the_others_out() {
        let mut places = Places::default();
        // As many users as there can be, with as many connections as they like, busy all of them.
        for round in 0..20 {
            for uid in 2000..2100 {
                if let Ok((id, _)) = places.enter(Role::Anyone, &user(uid + round)) {
                    places.does(id, Doing::Busy);
                }
            }
        }
        for role in [Role::App, Role::Technician, Role::Root] {
            for _ in 0..Limits::of(role).places {
                assert!(matches!(places.enter(role, &user(0)), Ok((_, None))));
            }
        }
        // Nor can one among those who may do no more than others.
        let mut places = Places::default();
        for _ in 0..1000 {
            assert!(places.enter(Role::Anyone, &user(2000)).is_ok());
        }
        for _ in 0..5 {
            assert!(places.enter(Role::Anyone, &user(3000)).is_ok());
        }
        for _ in 0..1000 {
            assert!(places.enter(Role::Anyone, &user(2000)).is_ok());
        }
        assert_eq!(count(&places, Role::Anyone, 3000), 5);
    }

    #[test]
    fn the_longest_idle_of_whoever_has_most_goes_first() {
        let mut places = Places::default();
        let mut enter = |uid| places.enter(Role::Anyone, &user(uid)).unwrap();
        let (own, _) = enter(1);
        let ids: Vec<Id> = (1..Limits::of(Role::Anyone).places)
            .map(|_| enter(2).0)
            .collect();
        places.does(ids[0], Doing::Busy);
        places.does(ids[1], Doing::Idle);
        let mut enter = |uid| places.enter(Role::Anyone, &user(uid)).unwrap().1;
        assert_eq!(enter(3), Some(ids[2]));
        assert_eq!(enter(1), Some(ids[3]));
        assert_eq!(enter(2), Some(ids[4]));
        assert!(places.taken.contains_key(&own));
    }

    #[test]
    fn whoever_holds_a_lease_or_waits_for_the_agent_stays() {
        let mut places = Places::default();
        let ids: Vec<Id> = (0..Limits::of(Role::App).places)
            .map(|_| places.enter(Role::App, &user(1)).unwrap().0)
            .collect();
        for id in &ids {
            places.does(*id, Doing::Kept);
        }
        // While it hears the answer, too.
        places.does(ids[7], Doing::Busy);
        assert_eq!(places.enter(Role::App, &user(1)), Err(Full));
        assert_eq!(places.enter(Role::App, &user(2)), Err(Full));
        places.does(ids[7], Doing::Idle);
        assert_eq!(places.enter(Role::App, &user(2)).unwrap().1, Some(ids[7]));
    }

    #[test]
    fn whoever_does_not_hear_its_answer_keeps_nobody_out() {
        let mut places = Places::default();
        for _ in 0..Limits::of(Role::App).places {
            let (id, _) = places.enter(Role::App, &user(1)).unwrap();
            places.does(id, Doing::Kept);
            places.does_not_listen(id);
        }
        assert!(places.enter(Role::App, &user(2)).is_ok());
    }

    #[test]
    fn leases_leave_places_for_others() {
        assert!(surefoot_core::lease::MAX_LEASES < Limits::of(Role::App).places);
    }

    proptest! {
        #[test]
        fn places_are_dealt_fairly(
            steps in prop::collection::vec((0usize..4, 0u32..6, 0u8..8, any::<prop::sample::Index>()), 0..300),
        ) {
            let mut places = Places::default();
            for (role, uid, what, which) in steps {
                let role = ROLES[role];
                let mut ids: Vec<Id> = places.taken.keys().copied().collect();
                ids.sort_unstable();
                match what {
                    0 if !ids.is_empty() => places.leave(ids[which.index(ids.len())]),
                    1 if !ids.is_empty() => {
                        let doing = [Doing::Idle, Doing::Busy, Doing::Kept][which.index(3)];
                        places.does(ids[which.index(ids.len())], doing);
                    }
                    _ => {
                        let before: HashMap<Id, (Role, User, Doing)> = (places.taken.iter())
                            .map(|(id, t)| (*id, (t.role, t.user.clone(), t.doing)))
                            .collect();
                        let counts: Vec<usize> = (0..6).map(|uid| count(&places, role, uid)).collect();
                        let full = places.of(role).count() == Limits::of(role).places;
                        let entered = places.enter(role, &user(uid));
                        if let Ok((id, left)) = entered {
                            prop_assert!(!before.contains_key(&id) && places.taken.contains_key(&id));
                            prop_assert_eq!(left.is_some(), full);
                            if let Some(left) = left {
                                let (of, whose, doing) = &before[&left];
                                prop_assert!(!places.taken.contains_key(&left));
                                // Nobody of another role, nobody who is kept.
                                prop_assert_eq!(*of, role);
                                prop_assert!(*doing != Doing::Kept);
                                // And nobody who had less than the newcomer has now.
                                let User::Uid(loser) = whose else { unreachable!() };
                                let had = counts[*loser as usize];
                                prop_assert!(*loser == uid || had > counts[uid as usize]);
                            }
                        } else {
                            prop_assert!(full);
                        }
                    }
                }
                for role in ROLES {
                    prop_assert!(places.of(role).count() <= Limits::of(role).places);
                }
            }
        }
    }
}
