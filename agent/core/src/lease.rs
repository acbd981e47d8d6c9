//! Leases: the robot's own software says whether it is busy, and for how long that is to be believed.
//!
//! While one says "busy", nothing is switched and nothing reboots. A lease that the configuration
//! requires must say "free": its silence means busy, so a gate that keeps people safe never opens
//! because a program died.

use crate::{gate::Closed, release::Name, time::Instant};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Leases at the same time, at most.
pub const MAX_LEASES: usize = 64;

/// The longest that a lease is believed without being renewed.
pub const MAX_TTL: Duration = Duration::from_secs(3600);

/// What one program says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// What it speaks of: `gripper`, `mission`.
    pub name: Name,
    /// Whose it is.
    pub owner: String,
    /// Whether the robot must not be touched now.
    pub busy: bool,
    /// Why, in the owner's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Until when it is believed, in this boot.
    pub until: Instant,
}

/// Everything that is said now. It lasts as long as a boot, and is written where that ends with it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Leases(Vec<Lease>);

/// Why a lease was not taken.
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
    /// There are [`MAX_LEASES`].
    #[error("there are {MAX_LEASES} leases already; end one of them")]
    TooMany,
}

impl Leases {
    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.0.iter()
    }

    /// Takes a lease, or renews it.
    ///
    /// # Errors
    /// [`LeaseError`]: it is somebody else's, or there are too many.
    pub fn put(&mut self, lease: Lease) -> Result<(), LeaseError> {
        match self.0.binary_search_by(|old| old.name.cmp(&lease.name)) {
            Ok(at) if self.0[at].owner != lease.owner => Err(LeaseError::Taken {
                name: lease.name,
                owner: self.0[at].owner.clone(),
            }),
            Ok(at) => {
                self.0[at] = lease;
                Ok(())
            }
            Err(_) if self.0.len() >= MAX_LEASES => Err(LeaseError::TooMany),
            Err(at) => {
                self.0.insert(at, lease);
                Ok(())
            }
        }
    }

    /// Ends one: `by` its owner, or, without, by somebody who may end all. Says whether it was there.
    ///
    /// # Errors
    /// [`LeaseError::Taken`].
    pub fn end(&mut self, name: &Name, by: Option<&str>) -> Result<bool, LeaseError> {
        let Some(at) = self.0.iter().position(|lease| lease.name == *name) else {
            return Ok(false);
        };
        let owner = &self.0[at].owner;
        if by.is_some_and(|by| by != owner) {
            return Err(LeaseError::Taken {
                name: name.clone(),
                owner: owner.clone(),
            });
        }
        self.0.remove(at);
        Ok(true)
    }

    /// Drops those that were not renewed; says whether one of them was busy.
    pub fn expire(&mut self, now: Instant) -> bool {
        let mut lapsed = false;
        self.0.retain(|lease| {
            let lives = now < lease.until;
            lapsed |= !lives && lease.busy;
            lives
        });
        lapsed
    }

    /// Those that say no, given which must say something.
    #[must_use]
    pub fn closed(&self, required: &[Name], now: Instant) -> Vec<Closed> {
        let live = || self.0.iter().filter(|lease| now < lease.until);
        let busy = live().filter(|lease| lease.busy).map(|lease| Closed {
            gate: format!("lease {}", lease.name),
            why: match &lease.why {
                Some(why) => format!("busy: {why}"),
                None => "busy".to_owned(),
            },
        });
        let silent = required
            .iter()
            .filter(|name| live().all(|lease| lease.name != **name))
            .map(|name| Closed {
                gate: format!("lease {name}"),
                why: "silent, which means busy".to_owned(),
            });
        busy.chain(silent).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(name: &str, owner: &str, busy: bool, until: u64) -> Lease {
        Lease {
            name: name.parse().unwrap(),
            owner: owner.into(),
            busy,
            why: None,
            until: Instant(until),
        }
    }

    #[test]
    fn silence_of_a_required_lease_means_busy() {
        let required: Vec<Name> = vec!["gripper".parse().unwrap()];
        let mut leases = Leases::default();
        let closed = |leases: &Leases, now| {
            let closed = leases.closed(&required, Instant(now));
            closed
                .into_iter()
                .map(|c| c.to_string())
                .collect::<Vec<_>>()
        };
        let silent = ["lease gripper (silent, which means busy)"];
        assert_eq!(closed(&leases, 0), silent);
        leases.put(lease("gripper", "ros", false, 10)).unwrap();
        leases.put(lease("arm", "ros", true, 20)).unwrap();
        assert_eq!(closed(&leases, 9), ["lease arm (busy)"]);
        assert!(!leases.expire(Instant(10)));
        assert_eq!(closed(&leases, 10), ["lease arm (busy)", silent[0]]);
        assert!(leases.expire(Instant(20)));
        assert_eq!(closed(&leases, 20), silent);
        assert!(!leases.expire(Instant(30)));
    }

    #[test]
    fn a_lease_has_one_owner() {
        let mut leases = Leases::default();
        let name: Name = "arm".parse().unwrap();
        leases.put(lease("arm", "ros", true, 10)).unwrap();
        let error = leases.put(lease("arm", "eve", false, 10)).unwrap_err();
        assert_eq!(error.to_string(), "the lease 'arm' belongs to ros");
        assert!(leases.end(&name, Some("eve")).is_err());
        assert_eq!(leases.end(&name, Some("ros")), Ok(true));
        assert_eq!(leases.end(&name, None), Ok(false));
        for n in 0..MAX_LEASES {
            leases
                .put(lease(&format!("l{n}"), "ros", true, 10))
                .unwrap();
        }
        assert_eq!(
            leases.put(lease("more", "ros", true, 10)),
            Err(LeaseError::TooMany)
        );
        leases.put(lease("l3", "ros", false, 10)).unwrap();
    }
}
