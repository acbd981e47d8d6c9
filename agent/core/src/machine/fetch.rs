//! Polling the repository and bringing what it offers.

use super::{Decision, Effect};
use crate::{gate::Stage, machine::state::State, release::Target, retry, time::Instant};

impl Decision<'_> {
    pub(super) fn poll(&mut self) {
        if !self.machine.memory.polling {
            self.machine.memory.polling = true;
            self.machine.memory.next_poll = None;
            self.effects.push(Effect::AskGates(Stage::Check));
        }
    }

    pub(super) fn polled(&mut self, target: Option<Target>) {
        let memory = &mut self.machine.memory;
        memory.polling = false;
        memory.poll_failures = 0;
        memory.poll_error = None;
        let policy = self.cx.policy;
        let delay = retry::interval(policy.poll_interval, policy.jitter, self.cx.random);
        memory.next_poll = Some(self.cx.now + delay);
        self.judge_suspect(true);

        let busy_with = match &self.machine.journal.state {
            State::Idle => None,
            State::Fetching { target } | State::Ready { target } => Some(target.clone()),
            // An answer that comes late: the trial goes first.
            State::Trial { .. } | State::Committing { .. } | State::Reverting { .. } => return,
        };
        let wanted =
            target.filter(|target| self.machine.memory.drift.is_none() && self.wanted(target));
        if busy_with == wanted {
            return;
        }
        if busy_with.is_some() {
            // Recalled, or replaced by a newer one.
            self.effects.push(Effect::CancelFetch);
            self.go(State::Idle);
        }
        if let Some(target) = wanted {
            self.fetch(target);
        }
    }

    /// Whether a target is to be tried here: it is not what was confirmed, and did not fail.
    ///
    /// "Already there" is judged by what was confirmed, never by what was tried last: A → B → A is
    /// an ordinary update.
    pub(super) fn wanted(&mut self, target: &Target) -> bool {
        let journal = &mut self.machine.journal;
        if journal.blocked(target).is_some() {
            return false;
        }
        match &mut journal.confirmed {
            None => false,
            Some(confirmed) if confirmed.system == target.system => {
                // The same system under a new name needs no trial.
                confirmed.release = Some(target.release.clone());
                false
            }
            Some(_) => true,
        }
    }

    pub(super) fn poll_failed(&mut self, why: String) {
        let memory = &mut self.machine.memory;
        memory.polling = false;
        memory.poll_failures = memory.poll_failures.saturating_add(1);
        memory.poll_error = Some(why);
        let failures = memory.poll_failures;
        self.machine.memory.next_poll = Some(self.after_failures(failures));
        self.judge_suspect(false);
    }

    /// Blocks what failed only in reaching the repository, if that is reached from the system before,
    /// or was out of reach too often.
    fn judge_suspect(&mut self, reached: bool) {
        if let Some(suspect) = self.machine.journal.suspect.take()
            && (reached
                || self.attempted(&suspect.release, &suspect.system)
                    >= self.cx.policy.trial_attempts)
        {
            self.machine.journal.attempts = None;
            self.push_blocked(suspect);
        }
    }

    /// When to try again what has failed so often in a row.
    fn after_failures(&self, failures: u32) -> Instant {
        let (policy, random) = (self.cx.policy, self.cx.random);
        self.cx.now + retry::backoff(failures, policy.backoff_base, policy.backoff_max, random)
    }

    pub(super) fn fetch(&mut self, target: Target) {
        self.machine.memory.fetch_failures = 0;
        self.go(State::Fetching { target });
        self.effects.push(Effect::AskGates(Stage::Download));
    }

    pub(super) fn fetched(&mut self) {
        if let State::Fetching { target } = self.machine.journal.state.clone() {
            self.go(State::Ready { target });
            self.begin_if_free();
        }
    }

    pub(super) fn fetch_failed(&mut self, why: String) {
        if matches!(self.machine.journal.state, State::Fetching { .. }) {
            self.machine.memory.problem = Some(why);
            self.retry_later();
        }
    }

    /// Tries the present state again after a growing delay.
    pub(super) fn retry_later(&mut self) {
        let failures = self.machine.memory.fetch_failures.saturating_add(1);
        self.machine.memory.fetch_failures = failures;
        self.machine.memory.retry = Some(self.after_failures(failures));
    }
}
