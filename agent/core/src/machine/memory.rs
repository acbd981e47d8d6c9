//! What a restart may forget.

use crate::{
    StorePath,
    gate::{Closed, Stage},
    health::Report,
    lease::Leases,
    machine::state::State,
    time::Instant,
};
use std::collections::BTreeMap;

/// What the machine knows besides its journal.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Memory {
    /// The number of the last occurrence.
    pub(super) seq: u64,
    /// Whether the repository, or its gates, are being asked.
    pub(super) polling: bool,
    /// Polls in a row that failed.
    pub(super) poll_failures: u32,
    /// Why the last one did.
    pub(super) poll_error: Option<String>,
    /// When the next one is due.
    pub(super) next_poll: Option<Instant>,
    /// Failures in a row of what the present state tries.
    pub(super) failures: u32,
    /// When the present state tries again.
    pub(super) retry: Option<Instant>,
    /// What waits for its retry is a reboot into a system that the boot loader starts already.
    pub(super) rebooting: bool,
    /// The proof of the present trial.
    pub(super) soak: Soak,
    /// The system that runs although it is not the confirmed one, if the agent did not do that.
    pub(super) drift: Option<StorePath>,
    /// What is wrong with the present state, or with what came to rest last. It ends when something
    /// begins.
    pub(super) problem: Option<String>,
    /// The outer gates that said no when they were asked last.
    pub(super) closed: BTreeMap<Stage, Vec<Closed>>,
    /// What the robot's software says.
    pub(super) leases: Leases,
    /// The switcher said that this system needs a reboot.
    pub(super) other_init: Option<StorePath>,
}

/// How long a trial has been healthy.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Soak {
    /// Since when, without a break.
    pub(super) healthy_since: Option<Instant>,
    /// Unhealthy looks in a row.
    pub(super) failures: u32,
    /// The last look.
    pub(super) last: Option<Report>,
    /// Whether the health is being looked at.
    pub(super) probing: bool,
    /// When it is looked at next.
    pub(super) next: Option<Instant>,
}

impl Memory {
    /// Forgets what belongs to the state that is left. A problem outlasts it into rest: whoever asks
    /// why nothing happens is to see it.
    pub(super) fn enter(&mut self, state: &State) {
        self.retry = None;
        self.rebooting = false;
        self.soak = Soak::default();
        self.closed.retain(|stage, _| *stage == Stage::Check);
        if *state != State::Idle {
            self.problem = None;
        }
    }
}
