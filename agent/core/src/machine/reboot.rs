//! Whether and when the robot reboots: every reboot that the agent orders is decided here.
//!
//! There are four: into a release that only a boot can bring in ([`crate::reboot`] compares two
//! systems and says why), into an earlier system that a person goes back to and that has another
//! kernel, and back to the system before a trial where no switch leads; and once more
//! ([`aftermath`](super::aftermath)) where a way back left the robot worse than it was. The first and the
//! last wait for gates, holds and leases. The others wait for holds: leases were asked when the person went back, and a
//! robot on a failed system is not where it should be. The way back reboots [`MAX_REBOOTS`] times at
//! most.

use super::{
    context::{MAX_REBOOTS, REBOOT_PATIENCE},
    decision::Decision,
    effect::Effect,
    memory::Look,
};
use crate::{
    disturbance::What as Disturbed, journal::What, machine::state::State, reboot::Reason,
    release::Target,
};

impl Decision<'_> {
    /// Why a release has to be tried by booting it; `None` if a live switch will do.
    pub(super) fn why_by_boot(&self, target: &Target, mut reasons: Vec<Reason>) -> Option<String> {
        if self.memory.other_init.as_ref() == Some(&target.system) {
            reasons.push(Reason::Init);
        }
        let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
        (!reasons.is_empty()).then(|| reasons.join(", "))
    }

    /// The next boot is the trial's: makes it happen, unless somebody holds the robot since then.
    pub(super) fn reboot_into_trial(&mut self) {
        if self.is_held_back() {
            self.wait_for_reboot();
        } else if let State::Trial(trial) = &self.journal.state {
            let why = format!("trying {}", trial.system);
            self.reboot(why);
        }
    }

    /// The boot loader starts the system that a person went back to: reboots into it, at a permitted
    /// moment. Whoever reboots the robot before that arrives there, too.
    pub(super) fn reboot_into_commit(&mut self) {
        self.expire();
        let State::Committing(committing) = &mut self.journal.state else {
            return;
        };
        let why = format!("going back to {}", committing.goal.system);
        if committing.live.is_some() && self.journal.holds.is_empty() {
            // Should it come up elsewhere, that is no power cut on the way.
            committing.attempts = 0;
        }
        self.memory.rebooting = true;
        self.reboot_unless_held(why);
    }

    /// Only a reboot leads back, and it leads there as far as anybody can tell. Once all of them are used up
    /// it is tried without them, later.
    pub(super) fn reboot_to_revert(&mut self, why: String) {
        self.expire();
        let State::Reverting(reverting) = &mut self.journal.state else {
            return;
        };
        let system = reverting.order.system.clone();
        if reverting.reboots >= MAX_REBOOTS {
            self.report(format!(
                "neither switching to {system} nor {MAX_REBOOTS} reboots brought it back ({why}); a \
                 person must look"
            ));
            self.end_round();
            return;
        }
        // A hold is waited for, and then it is looked once more what is to be done.
        reverting.attempts = 0;
        if self.journal.holds.is_empty() {
            reverting.reboots += 1;
            let failed = reverting.failed.clone();
            self.disturb(&failed, Disturbed::WayBack);
            self.record(What::Rebooted, system, None, Some(why.clone()), None);
            self.memory.rebooting = true;
        }
        let is_held = !self.journal.holds.is_empty();
        self.reboot_unless_held(why);
        // Nothing is activated meanwhile on a robot that somebody holds.
        self.memory.look = is_held.then_some(Look::Held);
    }

    fn reboot_unless_held(&mut self, why: String) {
        match self.journal.holds.first() {
            Some(hold) => {
                let problem = format!(
                    "{why}; the robot will be rebooted when the hold of {} ends",
                    hold.owner
                );
                self.wait_with(problem, self.cx.now + self.cx.policy.retry_delay);
            }
            None => self.reboot(why),
        }
    }

    fn reboot(&mut self, why: String) {
        self.memory.retry = Some(self.cx.now + REBOOT_PATIENCE);
        self.effects.push(Effect::Reboot(why));
    }
}
