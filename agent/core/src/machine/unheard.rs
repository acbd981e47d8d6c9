//! Somebody asked for something, may have been told that it happens, and nothing came of it:
//! [`crate::untold`].

use super::{decision::Decision, effect::Effect};
use crate::{
    StorePath,
    journal::What,
    machine::state::{
        Cause, Committing, Evidence, Fetching, Generation, Origin, Phase, Ready, State, Trial,
    },
    release::Target,
    untold::{Asked, Untold},
};

impl Decision<'_> {
    /// Somebody asks for something, which is granted: whoever knows the robot has spoken since.
    pub(super) fn was_heard(&mut self, asked: &Untold) {
        let speaks = [Asked::Rollback, Asked::Update].map(|known| asked.what == known);
        let same = |unheard: &mut Untold| unheard.what == asked.what || speaks.contains(&true);
        self.journal.unheard.take_if(same);
    }

    /// A trial that a person wanted to leave is not proven any further, and is left at once where they could
    /// have left it without a look at what the robot does. That says nothing of the release.
    pub(super) fn leave_what_is_to_be_left(&mut self) {
        let state = &self.journal.state;
        let Some(why) = state.next().and_then(|system| self.was_to_be_left(system)) else {
            return;
        };
        match state {
            // Nothing was switched yet, and a restart begins it anew.
            State::Fetching(Fetching { target }) | State::Ready(Ready { target }) => {
                let Target {
                    release, system, ..
                } = target.clone();
                let evidence = Evidence::plain(Cause::Interrupted, why);
                self.trial_ended(What::Interrupted, system, Some(release), Some(evidence));
                self.effects.push(Effect::CancelFetch);
                self.go(State::Idle);
                self.poll();
            }
            // One that waits to be left is, as soon as nobody minds.
            State::Trial(Trial { late: Some(_), .. }) => {}
            // What is being done is done first: it is left once it runs, or is staged.
            State::Trial(Trial {
                phase:
                    Phase::Switching { .. } | Phase::Staging { .. } | Phase::Aiming | Phase::Booting,
                ..
            }) => {}
            State::Trial(Trial {
                target: Some(_), ..
            }) => self.revert_trial(Evidence::plain(Cause::Interrupted, why)),
            State::Committing(committing) => {
                if self.commit_waits() && self.memory.leaves.is_none() {
                    self.leave_commit_as_wanted(&committing.clone());
                }
            }
            // Somebody's own switch stays, unproven.
            State::Trial(trial) => {
                let system = trial.system.clone();
                self.rest_with(why);
                self.memory.drift = Some(system);
            }
            State::Idle | State::Reverting(_) | State::Unknown(_) => {}
        }
    }

    /// A commit that a person wanted to leave is not tried again: what it installs is left as soon as nobody
    /// minds a switch, which is asked over and over. Whether it is such a one.
    pub(super) fn leave_commit_as_wanted(&mut self, committing: &Committing) -> bool {
        let from_trial = committing.origin == Origin::Trial;
        let Some(why) = (self.was_to_be_left(&committing.goal.system)).filter(|_| from_trial)
        else {
            return false;
        };
        let again = self.cx.now + self.cx.policy.gate_interval;
        self.leave_when_allowed(Evidence::plain(Cause::Interrupted, why.clone()));
        self.wait_with(why, again);
        true
    }

    /// Another system is confirmed than the one that somebody wanted to leave, and left. What else was asked
    /// for is said until somebody asks again.
    pub(super) fn forget_what_was_unheard(&mut self, before: Option<&Generation>) {
        let system = |confirmed: &Generation| confirmed.system.clone();
        if self.journal.confirmed.as_ref().map(system) != before.map(system) {
            let left = |unheard: &mut Untold| unheard.leaves.is_some();
            self.journal.unheard.take_if(left);
        }
    }

    /// Why this system is left alone, if somebody wanted to leave it and may believe that the robot does.
    pub(super) fn was_to_be_left(&self, system: &StorePath) -> Option<String> {
        let unheard = self.journal.unheard.as_ref()?;
        (unheard.leaves.as_ref() == Some(system)).then(|| unheard.message())
    }
}
