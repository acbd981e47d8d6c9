//! Leases: the robot's own software says whether it is busy, and for how long that is to be believed.
//!
//! While one says "busy", nothing is switched and nothing reboots. Time makes a "free" into silence, and
//! never a "busy" into a "free": a busy lease whose holder died, or that was not said again in time, is
//! an orphan, and an orphan is busy until its owner takes it again or ends it, a technician ends it, or
//! the robot boots. A lease that the configuration requires must say "free": its silence means busy.

use crate::{gate::Closed, release::Name, time::Instant};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{fmt, time::Duration};

/// Leases at the same time, at most; those that the configuration requires are not counted.
pub const MAX_LEASES: usize = 64;

/// How many of them one user may have, so that none takes all of them.
pub const MAX_LEASES_OF_ONE: usize = 16;

/// The longest that a lease is believed without being said again, unless a connection holds it.
pub const MAX_TTL: Duration = Duration::from_secs(3600);

/// Whose lease it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// The user, as the kernel has it: two may share a name, and a name may go to another.
    pub uid: u32,
    /// Its name, for people.
    pub name: String,
    /// The user whose leases this one is counted with: subordinate ids count as the user who has them.
    #[serde(default)]
    pub counted: String,
}

/// The name of the lease that stands for what cannot be read. Nobody may take it.
const UNREADABLE: &str = "unreadable";

/// A connection that holds leases, by its number. One that has ended is never meant again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Holder(pub u64);

/// Why nobody stands behind a busy lease any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Loss {
    /// The connection that held it ended, and nobody had ended the lease.
    Died,
    /// It was not said again in time.
    Silent,
    /// The agent restarted, and the holder has not come back.
    Restart,
    /// What was said before the agent restarted cannot be read.
    Unreadable,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Died => "its holder died",
            Self::Silent => "it was not said again in time",
            Self::Restart => "its holder has not come back since the agent restarted",
            Self::Unreadable => "what was said before the agent restarted cannot be read",
        })
    }
}

/// What keeps a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kept {
    /// It is believed until this time of the boot.
    Until(Instant),
    /// It is believed for as long as this connection lasts.
    By(Holder),
    /// Nothing: it is an orphan, and busy.
    Orphan {
        /// Why.
        loss: Loss,
        /// Since when, in this boot.
        since: Instant,
    },
}

/// What one program says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// What it speaks of: `gripper`, `mission`.
    pub name: Name,
    /// Whose it is.
    pub owner: Owner,
    /// Whether the robot must not be touched now.
    pub busy: bool,
    /// Why, in the owner's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How long it is believed.
    pub kept: Kept,
}

impl Lease {
    /// When it ends or becomes an orphan by itself.
    #[must_use]
    pub const fn until(&self) -> Option<Instant> {
        match self.kept {
            Kept::Until(until) => Some(until),
            Kept::By(_) | Kept::Orphan { .. } => None,
        }
    }

    /// Why it is an orphan, and since when.
    #[must_use]
    pub const fn orphan(&self) -> Option<(Loss, Instant)> {
        match self.kept {
            Kept::Orphan { loss, since } => Some((loss, since)),
            Kept::Until(_) | Kept::By(_) => None,
        }
    }

    /// Nobody stands behind it any more: whether anything is left of it.
    const fn orphaned(&mut self, loss: Loss, since: Instant) -> bool {
        if self.busy && self.orphan().is_none() {
            self.kept = Kept::Orphan { loss, since };
        }
        self.busy
    }

    /// Why it keeps the robot as it is, for people.
    fn no(&self) -> Closed {
        let mut why = "busy".to_owned();
        if let Some(words) = &self.why {
            why = format!("{why}: {words}");
        }
        if let Some((loss, _)) = self.orphan() {
            why = format!(
                "{why}; {loss}; it is ended by: surefoot lease {} --end",
                self.name
            );
        }
        Closed {
            gate: format!("lease {}", self.name),
            why,
        }
    }
}

/// A lease that must say that the robot is free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Required {
    /// Its name.
    pub name: Name,
    /// Who may say it, by name or number; `None` for every user who may take leases.
    pub user: Option<String>,
}

impl Required {
    /// Whether this is somebody whose word counts.
    #[must_use]
    pub fn heeds(&self, owner: &Owner) -> bool {
        (self.user.as_ref())
            .is_none_or(|user| *user == owner.name || *user == owner.uid.to_string())
    }
}

/// Everything that is said now. It lasts as long as a boot, and is written where that ends with it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Leases(Vec<Lease>);

/// Why a lease was not taken, or not ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else has it.
    #[error("the lease '{name}' belongs to {owner}")]
    Taken {
        /// Which one.
        name: Name,
        /// Whose it is.
        owner: String,
    },
    /// Another connection of the same user holds it: what one program ends must not end what another
    /// relies on.
    #[error("another program of {owner} holds the lease '{name}'; it ends with that program")]
    Held {
        /// Which one.
        name: Name,
        /// Whose it is.
        owner: String,
    },
    /// The configuration gives it to another user.
    #[error("the lease '{name}' is {user}'s alone (gates.leases)")]
    Reserved {
        /// Which one.
        name: Name,
        /// Whose word counts.
        user: String,
    },
    /// The agent itself says this when it has to.
    #[error("no program may take a lease named '{UNREADABLE}': the agent itself says that")]
    Agents,
    /// The user has [`MAX_LEASES_OF_ONE`].
    #[error("you have {MAX_LEASES_OF_ONE} leases already; end one of them")]
    TooManyOfOne,
    /// There are [`MAX_LEASES`].
    #[error("there are {MAX_LEASES} leases already; end one of them")]
    TooMany,
}

/// Who wants to end a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ender {
    /// Its owner, over this connection.
    Owner(u32, Holder),
    /// Somebody who may end all.
    Anyone,
}

impl Leases {
    /// What stands for everything that was said where that cannot be read: a lease of root's that is busy
    /// until a technician ends it.
    #[must_use]
    pub fn unreadable(now: Instant) -> Self {
        let lease = UNREADABLE.parse().ok().map(|name| Lease {
            name,
            owner: Owner {
                uid: 0,
                name: "root".to_owned(),
                counted: String::new(),
            },
            busy: true,
            why: None,
            kept: Kept::Orphan {
                loss: Loss::Unreadable,
                since: now,
            },
        });
        Self(lease.into_iter().collect())
    }

    /// What was said, each lease by itself: one that only another version can read is busy, whatever else
    /// it says.
    #[must_use]
    pub fn read(said: Vec<Value>, now: Instant) -> Self {
        let all = said.len();
        let read = said.into_iter().map(serde_json::from_value::<Lease>);
        let mut leases = Self(read.filter_map(Result::ok).collect());
        if leases.0.len() < all {
            leases.0.retain(|lease| lease.name.as_str() != UNREADABLE);
            leases.0.extend(Self::unreadable(now).0);
        }
        leases.0.sort_by(|a, b| a.name.cmp(&b.name));
        leases
    }

    /// What is left of it after a restart of the agent: connections have not outlasted that.
    #[must_use]
    pub fn restarted(mut self, now: Instant) -> Self {
        self.0.retain_mut(|lease| match lease.kept {
            Kept::By(_) => lease.orphaned(Loss::Restart, now),
            Kept::Until(_) | Kept::Orphan { .. } => true,
        });
        self
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.0.iter()
    }

    /// The one of this name.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<&Lease> {
        self.0.iter().find(|lease| lease.name == *name)
    }

    /// Whether this owner says that the robot is busy by this name.
    #[must_use]
    pub fn is_busy(&self, name: &Name, by: &Owner) -> bool {
        let said = self.get(name);
        said.is_some_and(|said| said.busy && said.owner.uid == by.uid)
    }

    /// Takes a lease, or says it again, over a connection and given those that the configuration
    /// requires.
    ///
    /// # Errors
    /// [`LeaseError`]: it is somebody else's, or there are too many.
    pub fn put(
        &mut self,
        lease: Lease,
        over: Holder,
        required: &[Required],
    ) -> Result<(), LeaseError> {
        if lease.name.as_str() == UNREADABLE {
            return Err(LeaseError::Agents);
        }
        let rule = required.iter().find(|rule| rule.name == lease.name);
        if let Some(rule) = rule
            && !rule.heeds(&lease.owner)
        {
            return Err(LeaseError::Reserved {
                name: lease.name,
                user: rule.user.clone().unwrap_or_default(),
            });
        }
        let place = self.0.binary_search_by(|old| old.name.cmp(&lease.name));
        match place.map(|at| &mut self.0[at]) {
            Ok(old) => {
                let owner = || old.owner.name.clone();
                // What somebody said before the configuration gave it to another keeps nobody out.
                let rightful = rule.is_none_or(|rule| rule.heeds(&old.owner));
                if rightful && old.owner.uid != lease.owner.uid {
                    return Err(LeaseError::Taken {
                        name: lease.name,
                        owner: owner(),
                    });
                }
                if rightful && matches!(old.kept, Kept::By(holder) if holder != over) {
                    return Err(LeaseError::Held {
                        name: lease.name,
                        owner: owner(),
                    });
                }
                *old = lease;
            }
            Err(at) => {
                if rule.is_none() {
                    let counts = |lease: &&Lease| required.iter().all(|r| r.name != lease.name);
                    let mine = |old: &&Lease| old.owner.counted == lease.owner.counted;
                    let all = self.0.iter().filter(counts);
                    if all.clone().filter(mine).count() >= MAX_LEASES_OF_ONE {
                        return Err(LeaseError::TooManyOfOne);
                    }
                    if all.count() >= MAX_LEASES {
                        return Err(LeaseError::TooMany);
                    }
                }
                self.0.insert(at, lease);
            }
        }
        Ok(())
    }

    /// Ends one. Says whether it was there.
    ///
    /// # Errors
    /// [`LeaseError`]: it is somebody else's, or another program holds it.
    pub fn end(&mut self, name: &Name, by: Ender) -> Result<bool, LeaseError> {
        let Some(at) = self.0.iter().position(|lease| lease.name == *name) else {
            return Ok(false);
        };
        let lease = &self.0[at];
        if let Ender::Owner(uid, over) = by {
            let (name, owner) = (name.clone(), lease.owner.name.clone());
            if lease.owner.uid != uid {
                return Err(LeaseError::Taken { name, owner });
            }
            if matches!(lease.kept, Kept::By(holder) if holder != over) {
                return Err(LeaseError::Held { name, owner });
            }
        }
        self.0.remove(at);
        Ok(true)
    }

    /// A connection has ended: what it said is silent now, and what was busy an orphan. Gives what was
    /// changed, as it was.
    pub fn lose(&mut self, holder: Holder, now: Instant) -> Vec<Lease> {
        self.let_go(Loss::Died, now, |lease| lease.kept == Kept::By(holder))
    }

    /// What was not said again in time is silent now, and what was busy an orphan. Gives what was
    /// changed, as it was.
    pub fn expire(&mut self, now: Instant) -> Vec<Lease> {
        self.let_go(Loss::Silent, now, |lease| {
            lease.until().is_some_and(|until| until <= now)
        })
    }

    fn let_go(&mut self, loss: Loss, now: Instant, ended: impl Fn(&Lease) -> bool) -> Vec<Lease> {
        let mut changed = Vec::new();
        self.0.retain_mut(|lease| {
            if !ended(lease) {
                return true;
            }
            changed.push(lease.clone());
            lease.orphaned(loss, now)
        });
        changed
    }

    /// Those that say no, given which must say something.
    #[must_use]
    pub fn closed(&self, required: &[Required], now: Instant) -> Vec<Closed> {
        let busy = self.0.iter().filter(|lease| lease.busy).map(Lease::no);
        let says = |rule: &Required, lease: &Lease| {
            lease.name == rule.name
                && rule.heeds(&lease.owner)
                && (lease.busy || lease.until().is_none_or(|until| now < until))
        };
        let silent = required
            .iter()
            .filter(|rule| self.0.iter().all(|lease| !says(rule, lease)))
            .map(|rule| Closed {
                gate: format!("lease {}", rule.name),
                why: "silent, which means busy".to_owned(),
            });
        busy.chain(silent).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn owner(name: &str) -> Owner {
        Owner {
            uid: u32::try_from(name.len()).unwrap(),
            name: name.into(),
            counted: name.into(),
        }
    }

    fn lease(name: &str, by: &str, busy: bool, kept: Kept) -> Lease {
        Lease {
            name: name.parse().unwrap(),
            owner: owner(by),
            busy,
            why: None,
            kept,
        }
    }

    /// Says it over the connection that keeps it, or another one.
    fn put(leases: &mut Leases, said: Lease, required: &[Required]) -> Result<(), LeaseError> {
        let over = match said.kept {
            Kept::By(holder) => holder,
            _ => Holder(99),
        };
        leases.put(said, over, required)
    }

    fn until(time: u64) -> Kept {
        Kept::Until(Instant(time))
    }

    fn by(connection: u64) -> Kept {
        Kept::By(Holder(connection))
    }

    fn required(name: &str, user: Option<&str>) -> Vec<Required> {
        vec![Required {
            name: name.parse().unwrap(),
            user: user.map(str::to_owned),
        }]
    }

    fn closed(leases: &Leases, required: &[Required], now: u64) -> Vec<String> {
        let closed = leases.closed(required, Instant(now)).into_iter();
        closed.map(|closed| closed.to_string()).collect()
    }

    #[test]
    fn silence_of_a_required_lease_means_busy() {
        let required = required("gripper", None);
        let mut leases = Leases::default();
        let silent = ["lease gripper (silent, which means busy)"];
        assert_eq!(closed(&leases, &required, 0), silent);
        put(
            &mut leases,
            lease("gripper", "ros", false, until(10)),
            &required,
        )
        .unwrap();
        put(&mut leases, lease("arm", "ros", true, by(7)), &required).unwrap();
        assert_eq!(closed(&leases, &required, 9), ["lease arm (busy)"]);
        assert_eq!(
            closed(&leases, &required, 10),
            ["lease arm (busy)", silent[0]]
        );
        assert_eq!(leases.expire(Instant(10)).len(), 1);
        assert_eq!(leases.iter().count(), 1);
    }

    #[test]
    fn busy_never_becomes_free_by_itself() {
        for (kept, loss) in [
            (until(10), "it was not said again in time"),
            (by(7), "its holder died"),
        ] {
            let mut leases = Leases::default();
            put(&mut leases, lease("arm", "ros", true, kept), &[]).unwrap();
            leases.lose(Holder(6), Instant(9));
            leases.expire(Instant(9));
            assert_eq!(closed(&leases, &[], 9), ["lease arm (busy)"]);
            let mut changed = leases.expire(Instant(10));
            changed.extend(leases.lose(Holder(7), Instant(10)));
            assert_eq!(changed.len(), 1);
            let text =
                format!("lease arm (busy; {loss}; it is ended by: surefoot lease arm --end)");
            assert_eq!(closed(&leases, &[], 1_000_000), [text]);
            assert_eq!(leases.expire(Instant(1_000_000)), []);
            // Its owner takes it again, by a connection or for a time.
            put(&mut leases, lease("arm", "ros", true, by(9)), &[]).unwrap();
            assert_eq!(closed(&leases, &[], 20), ["lease arm (busy)"]);
        }
    }

    #[test]
    fn a_restart_waits_for_holders() {
        let mut leases = Leases::default();
        for said in [
            lease("arm", "ros", true, by(7)),
            lease("eye", "ros", false, by(7)),
            lease("leg", "ros", true, until(10)),
        ] {
            put(&mut leases, said, &[]).unwrap();
        }
        let leases = leases.restarted(Instant(5));
        let arm = "lease arm (busy; its holder has not come back since the agent restarted; it is ended \
                   by: surefoot lease arm --end)";
        assert_eq!(closed(&leases, &[], 5), [arm, "lease leg (busy)"]);
        assert_eq!(closed(&leases, &required("eye", None), 5).len(), 3);
        assert_eq!(closed(&Leases::unreadable(Instant(5)), &[], 5).len(), 1);
    }

    #[test]
    fn a_lease_has_one_owner_and_one_holder() {
        let mut leases = Leases::default();
        let arm: Name = "arm".parse().unwrap();
        put(&mut leases, lease("arm", "ros", true, by(7)), &[]).unwrap();
        let mut refused = |said: Lease| put(&mut leases, said, &[]).unwrap_err().to_string();
        assert_eq!(
            refused(lease("arm", "evie", false, by(8))),
            "the lease 'arm' belongs to ros"
        );
        let held = "another program of ros holds the lease 'arm'; it ends with that program";
        assert_eq!(refused(lease("arm", "ros", true, by(8))), held);
        assert_eq!(refused(lease("arm", "ros", false, until(10))), held);
        let mut end = |by| leases.end(&arm, by);
        assert!(end(Ender::Owner(4, Holder(8))).is_err());
        assert!(end(Ender::Owner(3, Holder(8))).is_err());
        assert_eq!(end(Ender::Owner(3, Holder(7))), Ok(true));
        assert_eq!(end(Ender::Anyone), Ok(false));
        put(&mut leases, lease("arm", "ros", true, by(7)), &[]).unwrap();
        leases.lose(Holder(7), Instant(1));
        assert_eq!(leases.end(&arm, Ender::Owner(3, Holder(8))), Ok(true));
    }

    #[test]
    fn nobody_takes_the_leases_of_others() {
        let mut leases = Leases::default();
        let name = |user: &str, n: usize| format!("{user}{n}");
        for n in 0..MAX_LEASES_OF_ONE {
            let said = lease(&name("a", n), "a", true, until(10));
            put(&mut leases, said, &[]).unwrap();
        }
        let more = |by: &str| lease(&name(by, 99), by, true, until(10));
        assert_eq!(
            put(&mut leases, more("a"), &[]),
            Err(LeaseError::TooManyOfOne)
        );
        // By a subordinate id neither, nor may anybody pretend to be the agent.
        let mut subordinate = more("zzzzzz");
        subordinate.owner.counted = "a".into();
        assert_eq!(
            put(&mut leases, subordinate, &[]),
            Err(LeaseError::TooManyOfOne)
        );
        let agents = lease(UNREADABLE, "bb", true, until(10));
        assert_eq!(put(&mut leases, agents, &[]), Err(LeaseError::Agents));
        for user in ["bb", "ccc", "dddd"] {
            for n in 0..MAX_LEASES_OF_ONE {
                let said = lease(&name(user, n), user, true, until(10));
                put(&mut leases, said, &[]).unwrap();
            }
        }
        assert_eq!(
            put(&mut leases, more("eeeee"), &[]),
            Err(LeaseError::TooMany)
        );
        // What the configuration requires finds its place.
        let required = required("a99", Some("a"));
        put(&mut leases, more("a"), &required).unwrap();
        put(&mut leases, lease("a3", "a", false, until(10)), &required).unwrap();
    }

    #[test]
    fn a_required_lease_may_be_one_users_alone() {
        for user in ["ros", "3"] {
            let required = required("gripper", Some(user));
            let mut leases = Leases::default();
            let evil = lease("gripper", "evie", false, until(10));
            let error = put(&mut leases, evil.clone(), &required).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("the lease 'gripper' is {user}'s alone (gates.leases)")
            );
            // Said before the configuration was so.
            put(&mut leases, evil, &[]).unwrap();
            assert_eq!(closed(&leases, &required, 1).len(), 1);
            put(
                &mut leases,
                lease("gripper", "ros", false, until(10)),
                &required,
            )
            .unwrap();
            assert_eq!(closed(&leases, &required, 1), [""; 0]);
        }
    }

    proptest! {
        #[test]
        fn only_a_word_ends_what_is_busy(
            steps in prop::collection::vec((0u8..4, 0u64..4, 1u64..50), 0..60),
        ) {
            let mut leases = Leases::default();
            put(&mut leases, lease("arm", "ros", true, by(0)), &[]).unwrap();
            let mut now = 0;
            for (what, connection, time) in steps {
                now += time;
                match what {
                    0 => drop(leases.expire(Instant(now))),
                    1 => drop(leases.lose(Holder(connection), Instant(now))),
                    2 => leases = leases.restarted(Instant(now)),
                    _ => {
                        let kept = if time > 25 { by(connection) } else { until(now + time) };
                        let _ = put(&mut leases, lease("arm", "ros", true, kept), &[]);
                    }
                }
                prop_assert_eq!(closed(&leases, &[], now).len(), 1);
            }
        }
    }
}
