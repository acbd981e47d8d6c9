//! The way back, to the system that ran before.

use super::{
    context::{LOOK_PATIENCE, MAX_FALLS},
    decision::{Decision, Due, add_words},
    effect::{Effect, Guards},
    event::{Answer, Refusal},
    install::Install,
    memory::Look,
};
use crate::{
    RollbackTo, StorePath,
    health::Check,
    machine::state::{Cause, Evidence, Generation, Live, Mode, Reverting, State},
    release::Target,
    resolver::{World, came_up, is_there},
    switch::{Action, Order, Outcome, Purpose},
};

/// How a robot goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WayBack {
    /// The system before is activated beside the running kernel, which needs neither Nix nor the loader.
    Activate,
    /// By a reboot: what is left was booted.
    Reboot,
    /// The system before runs; profile and loader may name something else.
    Entries,
}

impl Decision<'_> {
    pub(super) fn tick_reverting(&mut self, due: Due) {
        let State::Reverting(reverting) = &self.journal.state else {
            return;
        };
        let begins = reverting.attempts == 0;
        let looks = !matches!(self.memory.look, None | Some(Look::Entries));
        if reverting.only_misses_entries() && !(due.retry && looks) {
            self.tick_entries(due);
        } else if due.retry {
            // It has not happened.
            self.memory.rebooting = false;
            // Where it was looked at something in vain, nobody can tell.
            match self.memory.look.take() {
                Some(Look::Held) if !self.journal.holds.is_empty() => {
                    self.memory.look = Some(Look::Held);
                    self.memory.retry = Some(self.cx.now + self.cx.policy.retry_delay);
                }
                Some(Look::Held) => self.look_for_the_loader(Look::First),
                Some(look) => self.go_by_the_loader(look, None),
                None if begins => self.begin_round(),
                None => self.retry_revert(),
            }
        }
    }

    /// Whether a way back waits to be tried again, since it does not get on.
    pub(super) fn is_stuck(&self) -> bool {
        matches!(self.journal.state, State::Reverting(_)) && self.memory.waits_long()
    }

    /// A person wants the way back tried again, with all its tries.
    pub(super) fn begin_round_as_asked(&mut self) {
        self.memory.failures = 0;
        self.memory.look = None;
        self.end_the_rest();
        self.begin_round();
    }

    /// Leaves the trial for the system that ran before it.
    pub(super) fn revert_trial(&mut self, evidence: Evidence) {
        let State::Trial(trial) = &self.journal.state else {
            return;
        };
        if let Some(order) = trial.phase.order() {
            self.effects.push(Effect::StopSwitch(order.clone()));
        }
        let way = match trial.mode {
            Mode::Live => WayBack::Activate,
            Mode::Boot if trial.may_be_booted() => WayBack::Reboot,
            // It was only staged, and somebody chose it in the menu.
            Mode::Boot if trial.boot != *self.cx.boot => WayBack::Reboot,
            Mode::Boot => WayBack::Entries,
        };
        self.begin_revert(trial.previous.clone(), way, evidence);
    }

    /// Leaves a trial or a commit for this system.
    pub(super) fn begin_revert(&mut self, system: StorePath, way: WayBack, evidence: Evidence) {
        if matches!(self.journal.state, State::Trial(_))
            && !self.journal.state.may_have_changed_what_ran()
        {
            // It never ran: what changed meanwhile is not its doing.
            self.journal.baseline = None;
        }
        // A commit may have had profile and loader name something else.
        let (left, entries) = match &self.journal.state {
            State::Trial(trial) => ((trial.target.clone(), trial.system.clone()), false),
            State::Committing(committing) => {
                let left = (committing.target.clone(), committing.goal.system.clone());
                (left, true)
            }
            _ => return,
        };
        self.begin_way_back(left, system, (way, entries), evidence);
    }

    /// Goes back to this system from one that failed, with the release that brought that; `entries`: whether
    /// profile and loader have to be put in order as well.
    pub(super) fn begin_way_back(
        &mut self,
        (target, failed): (Option<Target>, StorePath),
        system: StorePath,
        (way, entries): (WayBack, bool),
        evidence: Evidence,
    ) {
        self.memory.failures = 0;
        let action = match way {
            WayBack::Activate => Action::Test,
            WayBack::Reboot | WayBack::Entries => Action::Boot,
        };
        let order = self.way_back(system, action, &failed);
        let live = (action == Action::Test).then(|| Live::since(self.cx.boot.clone()));
        let first = Effect::Switch(order.clone());
        self.go(State::Reverting(Reverting {
            target,
            failed,
            order,
            evidence: evidence.shortened(),
            attempts: 1,
            reboots: 0,
            reboot: way == WayBack::Reboot,
            live,
            entries,
            install: None,
        }));
        if let State::Reverting(reverting) = &mut self.journal.state
            && way == WayBack::Entries
        {
            Install::begins(&mut reverting.install, self.cx.boot);
        }
        if way == WayBack::Reboot {
            self.look_for_the_loader(Look::First);
        } else {
            self.effects.push(first);
        }
    }

    /// What was tried in vain leaves the profile, unless the robot may still go back to it.
    fn way_back(&mut self, system: StorePath, action: Action, failed: &StorePath) -> Order {
        let needed =
            self.journal.proven().any(|proven| proven.system == *failed) || system == *failed;
        let remove = (action != Action::Test && !needed).then(|| failed.clone());
        Order {
            remove,
            ..self.order(Purpose::Revert, system, action, true)
        }
    }

    /// Tries the same once more.
    pub(super) fn retry_revert(&mut self) {
        if let State::Reverting(reverting) = &self.journal.state {
            let action = match reverting.order.action {
                Action::Switch => Action::Test,
                action => action,
            };
            self.try_to_revert(action);
        }
    }

    /// Orders the next try.
    fn try_to_revert(&mut self, action: Action) {
        if let State::Reverting(mut reverting) = self.journal.state.clone() {
            // An older agent ordered both halves at once.
            reverting.entries = reverting.has_entries();
            let system = reverting.order.system.clone();
            let order = self.way_back(system, action, &reverting.failed);
            self.go(State::Reverting(reverting.again(order.clone())));
            if action == Action::Boot {
                self.run_installer();
            } else {
                self.effects.push(Effect::Switch(order));
            }
        }
    }

    /// Begins a round of tries. What began as an activation begins with that each time, unless the robot went
    /// down over it again and again: then, and where only a boot leads there, the loader is looked at.
    pub(super) fn begin_round(&mut self) {
        let boot = self.cx.boot;
        let State::Reverting(reverting) = &mut self.journal.state else {
            return;
        };
        reverting.attempts = 0;
        if reverting.only_misses_entries() {
            self.look_before_entries();
            return;
        }
        if reverting.is_live() {
            let live = reverting
                .live
                .get_or_insert_with(|| Live::since(boot.clone()));
            if live.falls < MAX_FALLS {
                reverting.reboot = false;
                self.try_to_revert(Action::Test);
                return;
            }
        }
        self.look_for_the_loader(Look::First);
    }

    /// Nothing is left to be tried now: it begins anew later.
    pub(super) fn end_round(&mut self) {
        if let State::Reverting(reverting) = &mut self.journal.state {
            reverting.attempts = 0;
        }
        self.take_deadline_back();
        self.retry_later();
    }

    /// A reboot leads where the loader leads: that is looked at first.
    fn look_for_the_loader(&mut self, look: Look) {
        self.memory.look = Some(look);
        self.memory.retry = Some(self.cx.now + LOOK_PATIENCE);
        self.effects.push(Effect::Observe);
    }

    /// The robot was looked at, maybe for a way back that has to know what the loader starts.
    pub(super) fn look_at_the_loader(&mut self, world: &World) {
        if matches!(self.journal.state, State::Reverting(_))
            && let Some(look) = self
                .memory
                .look
                .take_if(|look| !matches!(look, Look::Held | Look::Entries))
        {
            self.memory.retry = None;
            self.go_by_the_loader(look, Some(world));
        }
    }

    /// Reboots where that leads back; has the loader start the system before first where it does not. Where
    /// nobody can tell, it is installed; if that fails, one reboot may show where it leads.
    fn go_by_the_loader(&mut self, look: Look, world: Option<&World>) {
        let State::Reverting(reverting) = &self.journal.state else {
            return;
        };
        let profile = world.and_then(|world| world.profile.as_ref());
        let default = world.and_then(|world| world.default.as_ref());
        let goal = reverting.order.system.clone();
        let leads_there = default == Some(&goal);
        let unknown = default.is_none();
        let (why, blindly) = match &look {
            Look::First | Look::Held | Look::Entries => (format!("going back to {goal}"), false),
            // Nothing has touched the loader.
            Look::Unactivated(why) => {
                let untouched = !reverting.has_entries();
                (why.clone(), untouched && reverting.reboots == 0)
            }
            Look::Uninstalled(why) | Look::Locked(why) => (why.clone(), reverting.reboots == 0),
            Look::Unnamed(problem) if leads_there && profile == Some(&goal) => {
                // They name it although an installer says no: nothing wrong is started.
                let problem = format!("profile and boot loader name {goal}, although: {problem}");
                self.finish_revert();
                self.report(problem);
                return;
            }
            Look::Unnamed(problem) => {
                let problem = problem.clone();
                self.retry_with(problem);
                if self.memory.next_poll.is_none() {
                    self.poll();
                }
                return;
            }
        };
        if leads_there && look == Look::First && self.waits_for_the_lock(world) {
            self.look_again_for_the_lock();
        } else if leads_there || blindly && (unknown || matches!(look, Look::Locked(_))) {
            // What holds the lock may be what runs: that ends with it, wherever a reboot leads.
            self.reboot_to_revert(why);
        } else if matches!(look, Look::Uninstalled(_) | Look::Locked(_)) {
            let starts = default.map_or_else(
                || "nobody can tell what the boot loader starts".to_owned(),
                |other| format!("the boot loader starts {other}"),
            );
            self.report(format!("{why}, and {starts}"));
            self.end_round();
        } else {
            self.install_to_revert();
        }
    }

    /// Whether somebody else switches, which a reboot would cut off, maybe while the loader is written. For as
    /// long as a switch may take.
    fn waits_for_the_lock(&mut self, world: Option<&World>) -> bool {
        let now = self.cx.now;
        if !world.is_some_and(|world| world.locked) {
            return false;
        }
        let since = *self.memory.locked_since.get_or_insert(now);
        now.since(since) < self.cx.policy.switch_timeout
    }

    fn look_again_for_the_lock(&mut self) {
        self.report(format!("revert: {}", Outcome::Locked));
        self.memory.retry = Some(self.cx.now + self.cx.policy.retry_delay);
        if let State::Reverting(reverting) = &mut self.journal.state {
            reverting.attempts = 0;
        }
    }

    /// Has the loader start the system before, for a reboot. What was aimed at is taken back first: a loader
    /// without a one-shot starts the system before again by that alone.
    fn install_to_revert(&mut self) {
        if let State::Reverting(reverting) = &mut self.journal.state {
            reverting.attempts = 0;
            reverting.reboot = true;
            if reverting.live.is_none() {
                self.effects.push(Effect::Disarm(Guards {
                    dead_man: false,
                    one_shot: true,
                    boot_deadline: false,
                }));
            }
        }
        self.try_to_revert(Action::Boot);
    }

    /// The system before runs: has profile and loader name it.
    fn install_reverted(&mut self) {
        if let State::Reverting(reverting) = &mut self.journal.state {
            reverting.entries = reverting.has_entries();
            reverting.attempts = 0;
            reverting.reboot = false;
        }
        self.memory.failures = 0;
        self.try_to_revert(Action::Boot);
    }

    /// A person wants to go back, which the robot does already: it is tried anew, with all its tries, where
    /// it does not get on.
    pub(super) fn roll_back_from_revert(
        &mut self,
        to: Option<&RollbackTo>,
        force: bool,
        (why, by): (&str, &str),
    ) -> Answer {
        let State::Reverting(reverting) = &self.journal.state else {
            return Err(Refusal::NothingToDo("nothing is left".to_owned()));
        };
        let goal = reverting.order.system.clone();
        if let Some(to) = to.filter(|to| !self.is_named(to, &goal)) {
            return self.pass_revert(to, force, (why, by));
        }
        self.may_go_back(force, by)?;
        let stuck = self.is_stuck();
        if let State::Reverting(reverting) = &mut self.journal.state {
            add_words(&mut reverting.evidence.message, &format!("{by}: {why}"));
            if stuck {
                reverting.reboots = 0;
                reverting.install = reverting.install.take().map(Install::anew);
                if let Some(live) = &mut reverting.live {
                    live.falls = 0;
                }
            }
        }
        if !stuck {
            return Ok(format!("the robot is on its way back to {goal} already"));
        }
        if self.journal.state.only_misses_entries() && self.has_a_stray() {
            self.memory.failures = 0;
            self.try_to_revert(Action::Test);
        } else {
            self.begin_round_as_asked();
        }
        Ok(format!("trying again to go back to {goal}"))
    }

    /// A person wants to go elsewhere than the robot does: past a way back that does not get on.
    fn pass_revert(&mut self, to: &RollbackTo, force: bool, (why, by): (&str, &str)) -> Answer {
        let goal = self.journal.state.previous().map(ToString::to_string);
        let goal = goal.unwrap_or_default();
        if !self.is_stuck() {
            return Err(Refusal::Refused(format!(
                "the robot is on its way back to {goal}; try again when that is done"
            )));
        }
        let State::Reverting(reverting) = &self.journal.state else {
            return Err(Refusal::NothingToDo("nothing is left".to_owned()));
        };
        // What was booted is left by a boot alone.
        let was_booted = !reverting.is_live() && !reverting.only_misses_entries();
        let left = reverting.failed.clone();
        let names = |kept: &Generation| to.names(&kept.system, kept.release.as_ref());
        if !self.journal.fallbacks.iter().any(names) {
            return Err(Refusal::Refused(format!(
                "the robot is on its way back to {goal}, and can not go to {to} instead"
            )));
        }
        self.may_go_back(force, by)?;
        self.finish_revert();
        let (to, why, by) = (to.clone(), why.to_owned(), by.to_owned());
        let answer = self.roll_back(Some(to), force, (why, by), was_booted)?;
        self.only_the_loader_leads(left);
        Ok(answer)
    }

    /// Goes on after a restart, the agent's or the robot's; `elsewhere`: somebody has another system run.
    pub(super) fn continue_revert(&mut self, world: &World, elsewhere: bool) {
        let boot = self.cx.boot;
        let installer_fell = self.installer_fell();
        let State::Reverting(reverting) = &self.journal.state else {
            return;
        };
        let there = is_there(reverting, world);
        if !elsewhere && self.waits_for_a_hold(there) {
            return;
        }
        let State::Reverting(reverting) = &mut self.journal.state else {
            return;
        };
        let came_up = came_up(reverting, world);
        if let Some(live) = &mut reverting.live {
            if live.boot != *boot && !there && !installer_fell && reverting.attempts > 0 {
                live.fell(boot);
            }
            live.boot.clone_from(boot);
        }
        // What somebody chose is not ended by a reboot; only profile and loader are put in order.
        let theirs = elsewhere && !reverting.is_live();
        if theirs || there && (came_up || reverting.order.action == Action::Boot) {
            self.install_reverted();
        } else if there {
            self.retry_revert();
        } else {
            if !reverting.is_live() {
                reverting.reboot = true;
            }
            // It is to be there, and not only to be named.
            if reverting.only_misses_entries() {
                reverting.order.action = Action::Test;
            }
            self.begin_round();
            self.look_at_the_loader(world);
        }
    }

    pub(super) fn revert_switch_ended(&mut self, reverting: Reverting, outcome: &Outcome) {
        if outcome.was_cut_off() || *outcome == Outcome::NotStarted {
            self.nothing_against_the_release();
        }
        let order = &reverting.order;
        let nothing_began = reverting.evidence.cause == Cause::NotStarted
            && *outcome == Outcome::NotStarted
            && order.action == Action::Test;
        if nothing_began {
            // The robot starts no switch at all: maybe nothing was changed, and a look says so.
            self.memory.unstarted = true;
            self.effects.push(Effect::Observe);
        }
        let tries_again = reverting.attempts < self.revert_attempts(outcome);
        let problem = format!("revert: {outcome}");
        if outcome.activated() {
            match order.action {
                Action::Boot if reverting.reboot => {
                    if let State::Reverting(reverting) = &mut self.journal.state {
                        reverting.install = None;
                    }
                    self.reboot_to_revert(format!("going back to {}", order.system));
                }
                Action::Test if reverting.entries => self.install_reverted(),
                _ => self.finish_revert(),
            }
        } else if tries_again {
            let again = self.cx.now + self.cx.policy.retry_delay;
            self.wait_with(problem, again);
        } else if reverting.only_misses_entries() && reverting.entries {
            let problem = format!(
                "{} runs again, and profile and boot loader do not name it yet: {outcome}",
                order.system
            );
            self.report(problem.clone());
            self.look_for_the_loader(Look::Unnamed(problem));
        } else if reverting.only_misses_entries() {
            // The system before runs, and the loader starts it; only its entries could not be put in order yet.
            self.finish_revert();
            self.report(problem);
        } else {
            self.report(problem);
            let why = format!("switching back to {} failed: {outcome}", order.system);
            self.look_for_the_loader(match outcome {
                Outcome::Locked if reverting.reboot => Look::Locked(why),
                _ if reverting.reboot => Look::Uninstalled(why),
                _ => Look::Unactivated(why),
            });
        }
    }

    /// No switch could be started, neither there nor back, and the robot was looked at since: where nothing
    /// was changed, nothing has to be brought back.
    pub(super) fn look_for_a_change(&mut self, world: &World) {
        if let State::Reverting(reverting) = &self.journal.state
            && std::mem::take(&mut self.memory.unstarted)
            && world.current.as_ref() == Some(&reverting.order.system)
            && !world.leftovers
        {
            self.finish_revert();
        }
    }

    /// How often the way back is tried after this outcome before the robot reboots. Somebody else's switch
    /// is waited for as long as a switch may take: a reboot would cut it off, maybe while it writes the boot
    /// loader. Whoever holds the lock for longer does not switch, and what is to be left runs meanwhile.
    fn revert_attempts(&self, outcome: &Outcome) -> u32 {
        let policy = self.cx.policy;
        let most = policy.revert_attempts;
        if *outcome != Outcome::Locked {
            return most;
        }
        let delay = policy.retry_delay.as_millis().max(1);
        let waits = policy.switch_timeout.as_millis().div_ceil(delay);
        most.saturating_add(u32::try_from(waits).unwrap_or(u32::MAX))
    }

    /// A release was tried and is left: should profile or loader name it all the same, or what somebody
    /// installed meanwhile, the next look at the robot puts that right. Called before the state is left.
    pub(super) fn leave_nothing_behind(&mut self) {
        let state = &self.journal.state;
        let confirmed = self.journal.confirmed.as_ref().map(|c| &c.system);
        if state.target().is_some() && state.next() != confirmed {
            self.journal.left_in_profile = state.next().cloned();
        }
    }

    /// The switch of the system before is ended, too: whatever does that ends switches as such.
    fn nothing_against_the_release(&mut self) {
        if let State::Reverting(reverting) = &mut self.journal.state
            && reverting.evidence.is_doubtful()
        {
            reverting.evidence.cause = Cause::Interrupted.into();
        }
    }

    /// A switch that was cut off is held against its release once that has happened
    /// [`trial_attempts`](crate::machine::Policy::trial_attempts) times.
    pub(super) fn finish_revert(&mut self) {
        if let State::Reverting(reverting) = &self.journal.state {
            let mut evidence = reverting.evidence.clone();
            if evidence.is_doubtful()
                && let Some(target) = reverting.target.clone()
                && self.count_attempt(&target.release, &target.system, Check::Switch)
                    < self.cx.policy.trial_attempts
            {
                evidence.cause = Cause::Interrupted.into();
            }
            if evidence.is_verdict() {
                self.end_with_verdict(evidence);
            } else {
                self.effects.push(Effect::Disarm(Guards::ALL));
                self.end_without_verdict(evidence);
            }
        }
    }
}
