//! Holds: somebody says that nothing may be switched for now.

use crate::time::{BootId, Instant};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One person's or program's hold. Checks and downloads go on; nothing is activated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Who: a user name, or a program.
    pub owner: String,
    /// Why, in the owner's words.
    pub why: String,
    /// Since when. For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// How long; without it, until somebody resumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry: Option<Expiry>,
    /// Of the robot's own software, the user whose holds this one is counted with: somebody with
    /// subordinate ids has many names. `None` for technicians and root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<String>,
}

/// The end of a hold, counted on the monotonic clock: a stepped wall clock must not end it early.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expiry {
    /// How long the owner asked for.
    #[serde(with = "crate::time::millis")]
    pub length: Duration,
    /// The boot in which it counts.
    pub boot: BootId,
    /// Since when it counts.
    pub from: Instant,
}

impl Hold {
    /// When it ends; `None` if not by itself.
    #[must_use]
    pub fn ends(&self) -> Option<Instant> {
        self.expiry
            .as_ref()
            .map(|expiry| expiry.from + expiry.length)
    }

    /// Whether this is what became of another one by [`Self::rebase`] alone.
    #[must_use]
    pub fn is_rebased(&self, before: &Self) -> bool {
        let mut rebased = before.clone();
        if let Some(Expiry { boot, from, .. }) = &self.expiry {
            rebased.rebase(boot, *from);
        }
        rebased == *self && before != self
    }

    /// Counts the whole length again in a new boot: nobody knows how long the robot was off, and a
    /// hold may last too long but never end too early.
    pub fn rebase(&mut self, boot: &BootId, now: Instant) {
        if let Some(expiry) = &mut self.expiry
            && expiry.boot != *boot
        {
            expiry.boot = boot.clone();
            expiry.from = now;
        }
    }
}
