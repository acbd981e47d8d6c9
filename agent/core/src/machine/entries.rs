//! A way back has led to its system, and profile and loader do not name it yet.

use super::{
    context::{DriftPolicy, LOOK_PATIENCE, MAX_FALLS, REST_STEP, RUNS_WELL, STRAYS},
    decision::{Decision, Due},
    effect::{Effect, Guards},
    install::Install,
    memory::Look,
};
use crate::{
    StorePath,
    machine::state::{Committing, Reverting, State},
    resolver::{SwitchUnit, World},
    switch::Outcome,
};
use std::time::Duration;

impl Decision<'_> {
    /// Whether nothing but profile and loader is missing of a way back, and that is tried again later.
    pub(super) fn only_entries_wait(&self) -> bool {
        self.memory.only_entries_wait(&self.journal.state)
    }

    /// A time has come while a look before the next try, or that try itself, is waited for.
    pub(super) fn tick_entries(&mut self, due: Due) {
        if due.retry {
            self.look_before_entries();
        }
        if due.poll && self.only_entries_wait() {
            if !self.has_a_stray() {
                self.runs_well();
            }
            self.poll();
        }
    }

    /// Has the installer run as the state says, unless the robot went down over that so often that it is left
    /// alone for now.
    pub(super) fn run_installer(&mut self) {
        let (boot, now) = (self.cx.boot, self.cx.now);
        if self.journal.state.only_misses_entries() {
            self.runs_well();
        }
        let install = self.journal.state.install_mut();
        if let Some(left) = install.and_then(|install| install.is_left_alone(boot, now)) {
            self.leave_it_alone(left);
            return;
        }
        if self.may_fall() && self.is_held_back() {
            let problem = format!(
                "writing profile and boot loader took the robot down before; it is done when this ends: {}",
                self.held_by().join(", ")
            );
            self.wait_with(problem, self.cx.now + self.cx.policy.gate_interval);
            return;
        }
        if let State::Committing(Committing { install, .. })
        | State::Reverting(Reverting { install, .. }) = &mut self.journal.state
        {
            Install::begins(install, boot);
        }
        let order = self.journal.state.order().cloned();
        self.effects.extend(order.map(Effect::Switch));
    }

    /// Whether all that is missing are profile and loader, and writing them has taken the robot down: that is a
    /// reboot then.
    fn may_fall(&self) -> bool {
        let state = &self.journal.state;
        state.only_misses_entries() && state.install().is_some_and(|install| install.falls > 0)
    }

    /// Profile and loader were to be written, and the robot went down over that again and again: a person may
    /// have it done, or it is tried after a day of running.
    fn leave_it_alone(&mut self, left: Duration) {
        if let State::Reverting(reverting) = &mut self.journal.state {
            reverting.attempts = 0;
        }
        self.take_deadline_back();
        self.report(format!(
            "the robot went down {MAX_FALLS} times or more while profile and boot loader were written; that is \
             tried again once it has run for {} min, or when somebody asks for it",
            left.as_secs().div_ceil(60)
        ));
        self.memory.failures = MAX_FALLS;
        self.memory.retry = Some(self.cx.now + left.min(REST_STEP));
    }

    /// Somebody wants profile and loader written now, whatever the robot did over that.
    pub(super) fn end_the_rest(&mut self) {
        if let Some(install) = self.journal.state.install_mut() {
            install.rest = None;
        }
    }

    /// The deadline of a boot on trial that leads nowhere else would reset the robot again and again.
    pub(super) fn take_deadline_back(&mut self) {
        if let State::Reverting(reverting) = &self.journal.state
            && !reverting.is_live()
        {
            self.effects.push(Effect::Disarm(Guards {
                dead_man: false,
                one_shot: true,
                boot_deadline: true,
            }));
        }
    }

    /// To be asked at a start: whether the robot went down while profile and loader were written.
    pub(super) fn installer_fell(&mut self) -> bool {
        let (boot, now) = (self.cx.boot, self.cx.now);
        let install = self.journal.state.install_mut();
        install.is_some_and(|install| install.fell(boot, now))
    }

    /// The system before has run for a while, or just begins to: once it has, the robot going down is not the
    /// doing of its activation.
    pub(super) fn runs_well(&mut self) {
        let since = *self.memory.runs_since.get_or_insert(self.cx.now);
        let well = self.cx.now.since(since) >= RUNS_WELL;
        if !well {
            return;
        }
        // What was worse than before the trial by now may be so for any reason.
        self.journal.baseline = None;
        if let State::Reverting(Reverting {
            live: Some(live), ..
        })
        | State::Committing(Committing {
            live: Some(live), ..
        }) = &mut self.journal.state
            && !live.by_the_loader
        {
            live.falls = 0;
        }
    }

    /// A boot led elsewhere before profile and loader named what ran. That is activated again, unless somebody
    /// holds the robot, or it says that it is busy: nothing was under way on it.
    pub(super) fn waits_for_a_hold(&mut self, there: bool) -> bool {
        if there || !self.journal.state.only_misses_entries() {
            return false;
        }
        let held_by = self.held_by();
        let Some(goal) = self.goal_of_way_back().filter(|_| !held_by.is_empty()) else {
            return false;
        };
        let problem = format!(
            "profile and boot loader did not name {goal}, and something else was started; it will be activated \
             when this ends: {}",
            held_by.join(", ")
        );
        self.memory.failures = self.memory.failures.max(1);
        self.wait_with(problem, self.cx.now + self.cx.policy.gate_interval);
        true
    }

    /// Where a way back leads.
    fn goal_of_way_back(&self) -> Option<&StorePath> {
        match &self.journal.state {
            State::Committing(committing) => Some(&committing.goal.system),
            State::Reverting(reverting) => Some(&reverting.order.system),
            _ => None,
        }
    }

    /// Profile and loader are to be written for what runs: that is looked at first. Somebody may have switched
    /// since, or does so now.
    pub(super) fn look_before_entries(&mut self) {
        if self.memory.look.take() == Some(Look::Entries) {
            // Nobody answers.
            self.retry_later();
            return;
        }
        self.memory.look = Some(Look::Entries);
        self.memory.retry = Some(self.cx.now + LOOK_PATIENCE);
        self.effects.push(Effect::Observe);
    }

    /// The robot was looked at, maybe before profile and loader are written.
    pub(super) fn look_for_entries(&mut self, world: &World) {
        let asked = self.memory.look.take_if(|look| *look == Look::Entries);
        if asked.is_none() || !self.journal.state.only_misses_entries() {
            return;
        }
        self.memory.retry = None;
        if world.locked {
            self.retry_with(format!("way back: {}", Outcome::Locked));
        } else if world.current.as_ref() == self.goal_of_way_back() {
            if let State::Committing(_) = self.journal.state {
                self.retry_commit();
            } else {
                self.retry_revert();
            }
        } else if world.current.is_none() {
            self.retry_with("nobody can tell which system runs".to_owned());
        } else if self.strays(world) {
            self.keep_a_stray(world);
        } else {
            // A boot led elsewhere, and no switch has begun in it.
            self.look_at(&World {
                switch: SwitchUnit::Gone,
                ..world.clone()
            });
        }
    }

    /// Whether something else runs than what had led there, and only profile and loader did not name: somebody
    /// has switched since, or has had the robot boot what is none of this way back's.
    pub(super) fn strays(&self, world: &World) -> bool {
        let (Some(goal), Some(runs)) = (self.goal_of_way_back(), &world.current) else {
            return false;
        };
        self.journal.state.only_misses_entries()
            && runs != goal
            && world.switch != SwitchUnit::Running
            && (self.had_led_there() || self.is_none_of_ours(runs))
    }

    /// Whether the system before was there in this boot, when profile and loader were to be written.
    fn had_led_there(&self) -> bool {
        let install = self.journal.state.install();
        install.is_some_and(|install| install.boot == *self.cx.boot)
    }

    fn is_none_of_ours(&self, system: &StorePath) -> bool {
        let journal = &self.journal;
        let left = match &journal.state {
            State::Committing(committing) => &committing.previous,
            State::Reverting(reverting) => &reverting.failed,
            _ => return false,
        };
        let mut proven = journal.proven();
        system != left && !proven.any(|proven| proven.system == *system)
    }

    /// At a start: whether somebody has switched since, or does so now. Their switch is neither undone nor
    /// written over. What systemd still knows of an installer comes first.
    pub(super) fn starts_with_a_stray(&mut self, world: &World) -> bool {
        if world.switch != SwitchUnit::Gone || !self.strays(world) {
            return false;
        }
        if !world.locked && self.is_settled(world) {
            // What that means is for the next look to say: the way back is done before anything else begins.
            self.leave_entries();
            return true;
        }
        if let Some(install) = self.journal.state.install_mut() {
            // It was never begun, or it has ended.
            install.runs = false;
        }
        self.keep_a_stray(world);
        true
    }

    /// The robot was looked at while only profile and loader were missing. One look may be older than the switch
    /// that led there.
    pub(super) fn look_for_a_stray(&mut self, world: &World) {
        if !self.only_entries_wait() || world.locked || !self.strays(world) {
            self.memory.strays_since = None;
            return;
        }
        let now = self.cx.now;
        let since = *self.memory.strays_since.get_or_insert(now);
        if now.since(since) >= STRAYS && self.is_settled(world) {
            self.leave_entries();
        }
    }

    /// Whether nothing is left to be done by this way back where somebody has switched to something else: the
    /// next boot starts that, or the configuration has the system before put back. Otherwise the next boot may
    /// start what was left, so it is not forgotten yet that the robot goes on from that.
    fn is_settled(&self, world: &World) -> bool {
        let named = world.profile == world.current && world.default == world.current;
        named || !self.had_led_there() || self.cx.policy.drift == DriftPolicy::Restore
    }

    fn keep_a_stray(&mut self, world: &World) {
        let (Some(goal), Some(runs)) = (self.goal_of_way_back().cloned(), &world.current) else {
            return;
        };
        let problem = if world.locked {
            format!("way back: {}", Outcome::Locked)
        } else {
            self.memory.strays_since.get_or_insert(self.cx.now);
            format!(
                "somebody switched to {runs} by hand, which is left alone; profile and boot loader are to name \
                 {goal} once that runs again, and `surefoot rollback` activates it"
            )
        };
        self.memory.failures = self.memory.failures.max(1);
        self.wait_with(problem, self.cx.now + STRAYS);
    }

    /// Whether somebody else's system was seen where only profile and loader were missing.
    pub(super) const fn has_a_stray(&self) -> bool {
        self.memory.strays_since.is_some()
    }

    /// Somebody has switched to something else, which is theirs: it is not undone for the sake of entries. What
    /// was left may be what the next boot starts.
    fn leave_entries(&mut self) {
        let left = match self.journal.state.clone() {
            State::Committing(committing) => {
                let left = committing.previous.clone();
                self.finish_commit(committing);
                left
            }
            State::Reverting(reverting) => {
                self.finish_revert();
                reverting.failed
            }
            _ => return,
        };
        let confirmed = self.journal.confirmed.as_ref().map(|c| &c.system);
        if confirmed != Some(&left) {
            self.journal.left_in_profile = Some(left);
        }
    }
}
