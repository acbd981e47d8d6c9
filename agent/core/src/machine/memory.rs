//! What a restart may forget.

use super::soak::Soak;
use crate::{
    StorePath,
    baseline::Baseline,
    gate::{Closed, Stage},
    lease::Leases,
    machine::state::{Evidence, State},
    release::Target,
    retry::Patience,
    time::Instant,
    traffic::Traffic,
};
use std::collections::BTreeMap;

/// What the machine knows besides its journal.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Memory {
    /// The number of the last occurrence.
    pub(super) seq: u64,
    /// Whether the repository, or its gates, are being asked.
    pub(super) polling: bool,
    /// How the repository is left alone after failures.
    pub(super) repository: Patience,
    /// When the repository last answered, or could not be asked.
    pub(super) asked: Option<Instant>,
    /// When it last answered.
    pub(super) answered: Option<Instant>,
    /// What waits for a gate waits for the repository first.
    pub(super) asks_first: bool,
    /// How the caches are.
    pub(super) caches: Patience,
    /// What fetches have moved within a day.
    pub(super) traffic: Traffic,
    /// Why the last one did.
    pub(super) poll_error: Option<String>,
    /// What it offered then, be it that it is not taken yet.
    pub(super) offered: Option<Target>,
    /// Why the newest release is left alone, if it is.
    pub(super) left: Option<String>,
    /// Why a newer release is not taken yet, if there is one.
    pub(super) turn: Option<String>,
    /// When the next one is due.
    pub(super) next_poll: Option<Instant>,
    /// Failures in a row of what the present state tries.
    pub(super) failures: u32,
    /// Trials in a row that ended through no fault of a release.
    pub(super) setbacks: u32,
    /// Why a system that waits for its commit is to be left, if it is.
    pub(super) leaves: Option<Evidence>,
    /// Since when what waits for its commit is in its own way, without a break.
    pub(super) own_way: Option<Instant>,
    /// When the present state tries again.
    pub(super) retry: Option<Instant>,
    /// What waits for its retry is a reboot into a system that the boot loader starts already.
    pub(super) rebooting: bool,
    /// What a way back looks at the robot for, while it does.
    pub(super) look: Option<Look>,
    /// Since when a way back has led to its system, and only profile and loader are missing.
    pub(super) runs_since: Option<Instant>,
    /// Since when something else runs than what only profile and loader did not name.
    pub(super) strays_since: Option<Instant>,
    /// Since when a way back waits for somebody else's switch to end before it reboots.
    pub(super) locked_since: Option<Instant>,
    /// The proof of the present trial, or of its commit.
    pub(super) soak: Soak,
    /// How the robot came back from the last trial; it goes on while something else is fetched.
    pub(super) aftermath: Soak,
    /// When it is asked again whether the robot may be rebooted since it came back worse.
    pub(super) reboot_back: Option<Instant>,
    /// Until when the reboot that was ordered after a way back may take.
    pub(super) reboots_back: Option<Instant>,
    /// The system that runs although it is not the confirmed one, if the agent did not do that.
    pub(super) drift: Option<StorePath>,
    /// What somebody else has the robot start at its next boot, in words.
    pub(super) changed: Option<String>,
    /// What runs in a state that is not known, while somebody minds going back.
    pub(super) stray: Option<Stray>,
    /// What is wrong with the present state, or with what came to rest last. It ends when something
    /// begins.
    pub(super) problem: Option<String>,
    /// The outer gates that said no when they were asked last.
    pub(super) closed: BTreeMap<Stage, Vec<Closed>>,
    /// What the robot's software says.
    pub(super) leases: Leases,
    /// What the look at the release that is ready found; the gates are asked once more.
    pub(super) inspected: Option<Inspected>,
    /// The robot as it was when that look was taken.
    pub(super) baseline: Option<Baseline>,
    /// A guard is armed that is none of the present state's, and will switch or reboot the robot by
    /// itself: when it is looked at again.
    pub(super) guarded: Option<Instant>,
    /// When the dead-man timer of the present trial fires.
    pub(super) dead_man: Option<Instant>,
    /// When the guard of a trial that waits to be left gets more time.
    pub(super) prolong: Option<Instant>,
    /// Neither the switch of the trial nor that of its way back could be started, and a look at the robot
    /// is under way.
    pub(super) unstarted: bool,
    /// The activation script failed in the switch of a rollback, and a look at the robot is under way.
    pub(super) half_rolled_back: bool,
    /// The switcher said that this system needs a reboot.
    pub(super) other_init: Option<StorePath>,
}

/// A release was looked at, and may be tried.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Inspected {
    /// What runs.
    pub(super) current: StorePath,
    /// Why it has to be tried by booting it; `None` if a live switch will do.
    pub(super) why: Option<String>,
    /// What profile and boot loader name besides what runs.
    pub(super) named: Vec<StorePath>,
}

/// When a way back has to know what runs, or what the boot loader starts by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    /// Before anything is done: only a boot leads there.
    First,
    /// Activating it was in vain, for this reason.
    Unactivated(String),
    /// Installing it was in vain as well, for this reason.
    Uninstalled(String),
    /// Installing it found the lock held for longer than a switch may take, for this reason.
    Locked(String),
    /// It is known that a reboot leads there, and a hold is in the way.
    Held,
    /// Before profile and loader are written for what runs: somebody may have switched since.
    Entries,
    /// It runs, and an installer says that it could not have it named; what to say of that.
    Unnamed(String),
}

/// What runs instead of the confirmed system, in a state that is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stray {
    /// The system.
    pub(super) system: StorePath,
    /// Whether it was booted: then only a boot leads back.
    pub(super) booted: bool,
}

impl Memory {
    /// Whether a commit, if there is one, waits to be tried again: no switch runs.
    pub(super) const fn commit_waits(&self) -> bool {
        self.retry.is_some() && !self.rebooting
    }

    /// Whether all tries of a round are used up, or somebody holds the robot: a way back gets on no further now.
    pub(super) fn waits_long(&self) -> bool {
        let waits = match self.look {
            Some(Look::Held) => true,
            Some(Look::Entries) | None => self.failures > 0,
            Some(_) => false,
        };
        waits && self.retry.is_some() && !self.rebooting
    }

    /// Whether nothing but profile and loader is missing of a way back, and that is tried again later: no
    /// switch runs.
    pub(super) fn only_entries_wait(&self, state: &State) -> bool {
        state.only_misses_entries() && self.retry.is_some()
    }

    /// When the robot is to be looked at that came back from a trial.
    pub(super) fn looks_back(&self) -> [Option<Instant>; 4] {
        let back = &self.aftermath;
        [back.until, back.next(), self.reboot_back, self.reboots_back]
    }

    /// Forgets what belongs to the state that is left. A problem outlasts it into rest: whoever asks
    /// why nothing happens is to see it.
    pub(super) fn enter(&mut self, state: &State) {
        self.retry = None;
        self.rebooting = false;
        self.look = None;
        self.locked_since = None;
        if !state.only_misses_entries() {
            self.runs_since = None;
            self.strays_since = None;
        }
        self.stray = None;
        self.soak = Soak::default();
        self.inspected = None;
        self.leaves = None;
        if !matches!(state, State::Committing(_)) {
            self.own_way = None;
        }
        self.baseline = None;
        self.dead_man = None;
        self.prolong = None;
        self.unstarted = false;
        self.half_rolled_back = false;
        if !state.has_no_guard() {
            self.guarded = None;
        }
        self.closed.retain(|stage, _| *stage == Stage::Check);
        if *state != State::Idle {
            self.problem = None;
        }
    }
}
