//! A state that only another version of the agent knows: the robot goes back, and no guard that may be
//! armed is disarmed before it is there.

use super::{
    decision::{Decision, Due},
    effect::{Effect, Guards},
    event::{Answer, Refusal},
    memory::Stray,
    revert::WayBack,
};
use crate::{
    RollbackTo,
    health::Check,
    journal::What,
    machine::state::{Cause, Evidence, State, UNTOLD},
};

impl Decision<'_> {
    pub(super) fn tick_unknown(&mut self, due: Due) {
        if due.retry {
            self.look_again();
        }
    }

    /// What is to be done is decided by a new look at the robot, which comes before every poll.
    pub(super) fn look_again(&mut self) {
        self.effects.push(Effect::Poll);
    }

    /// The confirmed system runs: nothing is left to undo. The guards stay: a switch that nobody here
    /// knows of may still run under them. Only what would leave this system is taken back.
    pub(super) fn forget_unknown(&mut self) {
        let State::Unknown(unknown) = self.journal.state.clone() else {
            return;
        };
        let why = format!(
            "{}; the confirmed system runs, and nothing else is done",
            unknown.why_the_robot_goes_back()
        );
        self.effects.push(Effect::Disarm(Guards {
            dead_man: false,
            one_shot: true,
            boot_deadline: false,
        }));
        if let Some(target) = unknown.target() {
            self.trial_ended(
                What::Interrupted,
                target.system.clone(),
                Some(target.release.clone()),
                Some(Evidence::plain(Cause::Unknown, why.clone())),
            );
            // Neither the release nor another agent did anything to what nobody was told of.
            if unknown.name() != UNTOLD
                && self.count_attempt(&target.release, &target.system, Check::Agent)
                    >= self.cx.policy.trial_attempts
            {
                self.journal.attempts = None;
                self.block(target, Evidence::plain(Cause::Unknown, why.clone()));
            }
        }
        self.rest_with(why);
        self.retry_later();
    }

    /// Another system runs: goes back to the confirmed one, once nobody minds. What was begun there
    /// is not known, so it is not as urgent as the way back from a trial.
    pub(super) fn leave_unknown(&mut self, stray: Stray) {
        let said = self.said_of_unknown();
        let held_by = self.held_by();
        if held_by.is_empty() {
            self.go_back_from_unknown(stray);
            return;
        }
        self.memory.stray = Some(stray);
        let problem = format!(
            "{said}; the robot goes back to the confirmed system when this has ended: {}",
            held_by.join(", ")
        );
        self.wait_with(problem, self.cx.now + self.cx.policy.gate_interval);
    }

    /// A person wants to go back, `to` a system or where the robot would go anyway.
    pub(super) fn roll_back_from_unknown(
        &mut self,
        to: Option<&RollbackTo>,
        force: bool,
        by: &str,
    ) -> Answer {
        let confirmed = self.journal.confirmed.as_ref().map(|c| c.system.clone());
        let (Some(stray), Some(confirmed)) = (self.memory.stray.clone(), confirmed) else {
            return Err(Refusal::Refused(format!(
                "{}, and its switch still runs; try again when that is done",
                self.said_of_unknown()
            )));
        };
        if to.is_some_and(|to| !self.is_named(to, &confirmed)) {
            return Err(Refusal::Refused(format!(
                "{}; the robot can only go back to {confirmed}",
                self.said_of_unknown()
            )));
        }
        self.may_go_back(force, by)?;
        self.go_back_from_unknown(stray);
        Ok(format!("going back to {confirmed}"))
    }

    fn go_back_from_unknown(&mut self, Stray { system, booted }: Stray) {
        let (State::Unknown(unknown), Some(confirmed)) =
            (self.journal.state.clone(), self.journal.confirmed.clone())
        else {
            return;
        };
        let way = if booted {
            WayBack::Reboot
        } else {
            WayBack::Activate
        };
        let why = unknown.why_the_robot_goes_back();
        let cause = match unknown.name() {
            UNTOLD => Cause::Interrupted,
            _ => Cause::Unknown,
        };
        let left = (unknown.target().cloned(), system);
        let evidence = Evidence::plain(cause, why);
        self.begin_way_back(left, confirmed.system, (way, true), evidence);
    }

    fn said_of_unknown(&self) -> String {
        match &self.journal.state {
            State::Unknown(unknown) => unknown.why_the_robot_goes_back(),
            state => format!("the state is '{}'", state.name()),
        }
    }
}
