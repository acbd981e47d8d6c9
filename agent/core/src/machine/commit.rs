//! The commit: only forward.

use super::{
    context::MAX_FALLS,
    decision::{Decision, Due, add_words},
    effect::{Effect, Guards},
    event::{Answer, Refusal},
    install::Install,
    revert::WayBack,
    soak::{Proof, Soak},
};
use crate::{
    RollbackTo, StorePath,
    disturbance::What as Disturbed,
    events::Kind,
    gate::Stage,
    health::{Failure, Report},
    journal::What,
    machine::state::{Cause, Committing, Evidence, Generation, Live, Origin, State},
    release::Target,
    resolver::World,
    switch::{Action, Outcome, Purpose},
};
use std::time::Duration;

impl Decision<'_> {
    pub(super) fn tick_committing(&mut self, committing: &Committing, due: Due) {
        let now = self.cx.now;
        self.memory.soak.slept(self.cx.slept);
        if self.memory.soak.until.is_some_and(|until| until <= now) {
            let soak = std::mem::take(&mut self.memory.soak);
            if soak.found_something() {
                let mut evidence = soak.late(now, Duration::ZERO);
                if evidence.names_another_system() {
                    evidence.cause = Cause::Interrupted.into();
                }
                self.leave_unhealthy(committing.clone(), evidence);
            } else {
                // It was healthy for the whole soak, and nothing speaks against it.
                self.finish_commit(committing.clone());
            }
        } else if self.memory.soak.next().is_some_and(|at| at <= now) {
            self.probe_system(committing.goal.system.clone());
        } else if committing.only_misses_entries() {
            self.tick_entries(due);
        } else if due.retry && committing.reboot && self.memory.rebooting {
            self.reboot_into_commit();
        } else if due.retry {
            self.retry_commit();
        } else if due.poll && self.commit_waits() {
            self.poll();
        }
    }

    pub(super) fn begin_commit(
        &mut self,
        goal: Generation,
        target: Option<Target>,
        previous: StorePath,
        origin: Origin,
        (action, reboot): (Action, bool),
    ) {
        if !matches!(origin, Origin::Restore { .. }) {
            self.memory.failures = 0;
        }
        if action == Action::Switch {
            // What a trial led to runs already, and a person knows what a rollback does.
            match origin {
                Origin::Restore { .. } => self.disturb(&goal.system, Disturbed::Restore),
                Origin::Adopt => self.disturb(&goal.system, Disturbed::Adopt),
                Origin::Trial | Origin::Rollback { .. } => {}
            }
        }
        // From here on only forward: the dead-man timer must not go back.
        self.effects.push(Effect::Disarm(Guards::ALL));
        if !matches!(origin, Origin::Restore { .. }) {
            // What an earlier trial made worse stays known until this one is confirmed.
            self.leave_aftermath();
        }
        let rollback = matches!(origin, Origin::Rollback { .. });
        let order = self.order(Purpose::Commit, goal.system.clone(), action, rollback);
        let committing = Committing {
            goal,
            target,
            previous,
            origin,
            order,
            attempts: 1,
            reboot,
            live: None,
            first: None,
            install: None,
        };
        if rollback && action == Action::Switch {
            self.activate(committing);
        } else {
            self.effects.push(Effect::Switch(committing.order.clone()));
            self.go(State::Committing(committing));
        }
    }

    /// A person went on from a way back that did not get on: should only a boot lead to their system, whatever
    /// comes up instead is not what is confirmed, and nothing is known to go back to.
    pub(super) fn only_the_loader_leads(&mut self, left: StorePath) {
        let boot = self.cx.boot;
        if let State::Committing(committing) = &mut self.journal.state
            && committing.reboot
        {
            committing.previous = left;
            committing.live = Some(Live::by_the_loader(boot.clone()));
            Install::begins(&mut committing.install, boot);
        }
    }

    /// Activates the goal of a person's way back first: that needs neither Nix nor the loader.
    fn activate(&mut self, committing: Committing) {
        let goal = &committing.goal.system;
        let order = self.order(Purpose::Commit, goal.clone(), Action::Switch, true);
        let first = self.order(Purpose::Commit, goal.clone(), Action::Test, true);
        self.effects.push(Effect::Switch(first.clone()));
        let boot = self.cx.boot.clone();
        self.go(State::Committing(Committing {
            live: committing.live.or_else(|| Some(Live::since(boot))),
            first: Some(first),
            order,
            attempts: 1,
            ..committing
        }));
    }

    /// Has profile and loader name the goal of a person's way back, which runs; or, with `reboot`, has the
    /// loader start it.
    fn install_goal(&mut self, committing: Committing, reboot: bool) {
        let goal = committing.goal.system.clone();
        let order = self.order(Purpose::Commit, goal, Action::Boot, true);
        self.memory.failures = 0;
        self.go(State::Committing(Committing {
            first: None,
            order,
            attempts: 1,
            reboot,
            ..committing
        }));
        self.run_installer();
    }

    pub(super) fn retry_commit(&mut self) {
        if let State::Committing(mut committing) = self.journal.state.clone() {
            if self.leave_commit_as_wanted(&committing) {
                return;
            }
            let order = committing.order().clone();
            let order = self.order(Purpose::Commit, order.system, order.action, order.no_check);
            self.effects.push(Effect::Disarm(Guards::ALL));
            committing.attempts = committing.attempts.saturating_add(1);
            match &mut committing.first {
                Some(first) => *first = order.clone(),
                None => committing.order = order.clone(),
            }
            let installs = committing.live.is_some() && order.action == Action::Boot;
            self.go(State::Committing(committing));
            if installs {
                self.run_installer();
            } else {
                self.effects.push(Effect::Switch(order));
            }
        }
    }

    /// Goes on with a way back that began as an activation after a restart, the agent's or the robot's.
    fn continue_live(&mut self, there: bool) {
        let boot = self.cx.boot;
        let installer_fell = self.installer_fell();
        if self.waits_for_a_hold(there) {
            return;
        }
        let State::Committing(mut committing) = self.journal.state.clone() else {
            return;
        };
        let Some(live) = &mut committing.live else {
            return;
        };
        let is_new = live.boot != *boot;
        if there {
            live.boot.clone_from(boot);
            if committing.first.is_none() || is_new {
                self.install_goal(committing, false);
            } else {
                self.activate(committing);
            }
            return;
        }
        // Once the loader is to start it, only the agent's own reboots say whether it does.
        let rebooted = committing.attempts == 0;
        if is_new && !installer_fell && (live.falls < MAX_FALLS || rebooted) {
            live.fell(boot);
        }
        live.boot.clone_from(boot);
        if live.falls < MAX_FALLS {
            self.activate(committing);
            return;
        }
        if let Origin::Rollback { why, .. } = &mut committing.origin
            && !committing.reboot
            && !live.by_the_loader
        {
            let words = format!("the robot went down {MAX_FALLS} times on the way there");
            add_words(why, &words);
        }
        self.install_goal(committing, true);
    }

    /// Goes on after a restart; `there`: whether the system runs.
    pub(super) fn continue_commit(&mut self, there: bool) {
        let State::Committing(committing) = &mut self.journal.state else {
            return;
        };
        if committing.live.is_some() {
            self.effects.push(Effect::Disarm(Guards::ALL));
            self.continue_live(there);
            return;
        }
        let needed = committing.reboot && !there;
        committing.reboot = needed;
        if !needed || committing.attempts < self.cx.policy.commit_attempts {
            self.retry_commit();
            return;
        }
        // Each attempt may have cost a reboot, and the system before came up each time.
        let why = format!(
            "{} times the boot loader did not start it",
            committing.attempts
        );
        let previous = committing.previous.clone();
        if self.is_confirmed(&previous) {
            let evidence = Evidence::plain(Cause::Commit, why);
            self.begin_revert(previous, WayBack::Entries, evidence);
        } else {
            self.rest_with(format!("commit: {why}"));
            self.retry_later();
        }
    }

    /// Whether this is the confirmed system. No other may become what the boot loader starts by
    /// default because a commit failed.
    fn is_confirmed(&self, system: &StorePath) -> bool {
        let confirmed = self.journal.confirmed.as_ref();
        confirmed.is_some_and(|confirmed| confirmed.system == *system)
    }

    pub(super) fn commit_switch_ended(
        &mut self,
        committing: Committing,
        outcome: &Outcome,
        log: Vec<String>,
        failures: Vec<Failure>,
    ) {
        if outcome.activated() && committing.first.is_some() {
            self.install_goal(committing, false);
        } else if outcome.activated() && committing.reboot && committing.never_arrives() {
            self.retry_with(format!(
                "the boot loader is to start {}, which never came up; a person must look",
                committing.goal.system
            ));
        } else if outcome.activated() && committing.reboot {
            if let State::Committing(committing) = &mut self.journal.state {
                // It is written; whatever takes the robot down now is not that.
                committing.install = None;
            }
            self.reboot_into_commit();
        } else if outcome.activated() && self.is_looked_at_again(&committing) {
            self.memory.soak = Soak::default();
            self.memory.soak.until = Some(self.cx.now + self.cx.policy.health_deadline);
            self.memory.soak.slept(self.cx.slept);
            self.probe_system(committing.goal.system);
        } else if outcome.activated() {
            self.finish_commit(committing);
        } else {
            if *outcome == Outcome::ActivationFailed
                && matches!(committing.origin, Origin::Rollback { .. })
            {
                // The switch went on, so the robot may be where a person wants it.
                self.memory.half_rolled_back = true;
                self.effects.push(Effect::Observe);
            }
            self.commit_failed(committing, outcome, log, failures);
        }
    }

    /// The activation script of the system that a person wants back failed, and the robot was looked at since:
    /// where all names that system, the rollback is done. Nothing better is known, and they are told.
    pub(super) fn look_for_a_rollback(&mut self, world: &World) {
        let State::Committing(committing) = &self.journal.state else {
            return;
        };
        let goal = Some(&committing.goal.system);
        let runs = world.current.as_ref() == goal && !world.leftovers;
        let mut committing = committing.clone();
        let Origin::Rollback { why, .. } = &mut committing.origin else {
            return;
        };
        if !self.memory.half_rolled_back || !runs {
            return;
        }
        add_words(why, &Outcome::ActivationFailed.to_string());
        if committing.first.is_some() {
            self.install_goal(committing, false);
        } else if world.profile.as_ref() == goal
            && !world.silent
            && (world.default.is_none() || world.default.as_ref() == goal)
        {
            self.finish_commit(committing);
        }
    }

    /// Whether the switch of this commit started services of the release once more, and there is something
    /// to compare them with and to go back to.
    fn is_looked_at_again(&self, committing: &Committing) -> bool {
        committing.origin == Origin::Trial
            && committing.order.action == Action::Switch
            && self.journal.baseline.is_some()
            && self.is_confirmed(&committing.previous)
    }

    /// A look at what the commit's switch left. Not at the network: that was judged in the trial.
    pub(super) fn on_probed_commit(&mut self, committing: Committing, report: Report) {
        let report = report.without_network();
        if !report.healthy() {
            self.happened(Kind::Unhealthy {
                report: report.clone(),
            });
        }
        let Some(looked) = self.memory.soak.take(&report) else {
            return;
        };
        let (now, policy) = (self.cx.now, self.cx.policy);
        let soak = &mut self.memory.soak;
        if report.names_another_system() {
            soak.breaks(now + policy.health_interval);
            self.effects.push(Effect::Observe);
            return;
        }
        match soak.judge((looked, &report), now, Duration::ZERO, policy) {
            Proof::None => {}
            Proof::Healthy => self.finish_commit(committing),
            Proof::Unhealthy(evidence) => self.leave_unhealthy(committing, evidence),
        }
    }

    /// It was healthy in the trial, and the switch that commits it has made it worse.
    fn leave_unhealthy(&mut self, committing: Committing, evidence: Evidence) {
        let message = format!(
            "healthy in its trial, and not after the switch of its commit: {}",
            evidence.message
        );
        self.leave_commit(
            committing,
            Evidence {
                message,
                ..evidence
            },
        );
    }

    /// What becomes of a commit that was not done. A system that proved healthy is not left because the
    /// boot loader cannot be written now, or somebody else switches: it waits for as long as that takes.
    fn commit_failed(
        &mut self,
        committing: Committing,
        outcome: &Outcome,
        log: Vec<String>,
        failures: Vec<Failure>,
    ) {
        // It is where a person wants it: that is not given up because a file cannot be written.
        let entries = committing.only_misses_entries();
        let problem = if entries {
            let goal = &committing.goal.system;
            format!("{goal} runs, and profile and boot loader do not name it yet: {outcome}")
        } else {
            format!("commit: {outcome}")
        };
        // So it is with a boot that a person asked for, which nothing has been begun of.
        let back = matches!(committing.origin, Origin::Rollback { .. });
        let installs = back && committing.order().action == Action::Boot;
        let untouched = outcome.touched_nothing() || installs;
        if !untouched {
            self.disturb(&committing.goal.system, Disturbed::Commit);
        }
        if committing.attempts < self.cx.policy.commit_attempts {
            let again = self.cx.now + self.cx.policy.retry_delay;
            self.wait_with(problem, again);
            return;
        }
        let proven = matches!(committing.origin, Origin::Trial | Origin::Rollback { .. });
        if entries || proven && untouched {
            self.retry_with(problem);
            self.find_own(&committing);
            if self.memory.next_poll.is_none() {
                self.poll();
            }
        } else if matches!(committing.origin, Origin::Adopt | Origin::Restore { .. })
            || !self.is_confirmed(&committing.previous)
        {
            // There is nothing better to go back to: what runs is what should run, or a person wanted
            // to leave what somebody had switched to. What is adopted later may be the loader's default
            // by now: should it not run any more before that, it is taken out again.
            if committing.origin == Origin::Adopt {
                self.journal.left_in_profile = Some(committing.goal.system);
            }
            self.rest_with(problem);
            self.retry_later();
        } else {
            let evidence = Evidence::of_switch(outcome, log, failures);
            let evidence = Evidence {
                cause: if evidence.cause == Cause::Killed {
                    evidence.cause
                } else {
                    Cause::Commit.into()
                },
                ..evidence
            };
            self.leave_commit(committing, evidence);
        }
    }

    /// Whether a commit waits to be tried again: no switch runs.
    pub(super) fn commit_waits(&self) -> bool {
        matches!(self.journal.state, State::Committing(_)) && self.memory.commit_waits()
    }

    /// Goes back from a system that could not be committed.
    fn leave_commit(&mut self, committing: Committing, evidence: Evidence) {
        let way = match committing.order.action {
            // Until the reboot the system before still runs.
            Action::Boot if committing.reboot && committing.live.is_none() => WayBack::Entries,
            Action::Boot if committing.live.is_none() => WayBack::Reboot,
            _ => WayBack::Activate,
        };
        self.begin_revert(committing.previous, way, evidence);
    }

    /// A release that proved healthy cannot be installed: maybe it is in its own way, and the system before
    /// is there to go back to.
    fn find_own(&mut self, committing: &Committing) {
        let Committing {
            goal,
            previous,
            origin,
            target,
            ..
        } = committing;
        if *origin == Origin::Trial && target.is_some() && self.is_confirmed(previous) {
            self.effects.push(Effect::FindOwn {
                system: goal.system.clone(),
                before: previous.clone(),
            });
        }
    }

    /// Nobody but the release itself keeps it from being installed. What lasts longer than a switch may take
    /// does not end by itself: the robot would wait for ever, and each power-on would begin a trial.
    pub(super) fn on_in_its_own_way(&mut self, own: Option<String>) {
        let Some(own) = own.filter(|_| self.commit_waits()) else {
            self.memory.own_way = None;
            return;
        };
        let (now, patience) = (self.cx.now, self.cx.policy.switch_timeout);
        let since = *self.memory.own_way.get_or_insert(now);
        if now.since(since) >= patience {
            let message = format!(
                "it kept itself from being committed for {} s: {own}",
                now.since(since).as_secs()
            );
            self.leave_when_allowed(Evidence::plain(Cause::InItsOwnWay, message));
        }
    }

    /// What waits for its commit runs, and leaving it is a switch: when nobody minds one.
    pub(super) fn leave_when_allowed(&mut self, evidence: Evidence) {
        self.memory.leaves = Some(evidence);
        self.effects.push(Effect::AskGates(Stage::Activate));
    }

    /// What waits for its commit is to be left, and nobody minds a switch.
    pub(super) fn leave_waiting(&mut self) {
        if let (State::Committing(committing), Some(evidence)) =
            (self.journal.state.clone(), self.memory.leaves.take())
        {
            self.leave_commit(committing, evidence);
        }
    }

    /// A person asks for the way back that waits: in their words, too.
    fn asked_again(&mut self, asked: &str, by: &str) {
        let State::Committing(committing) = &mut self.journal.state else {
            return;
        };
        let (mut why, by) = match &committing.origin {
            Origin::Rollback { why, by } => (why.clone(), by.clone()),
            Origin::Restore { why } => (why.clone(), by.to_owned()),
            Origin::Trial | Origin::Adopt => return,
        };
        add_words(&mut why, asked);
        committing.origin = Origin::Rollback { why, by };
    }

    /// A person wants to go back while a commit waits: from what was on trial to the system before; or
    /// sees that the way back itself waits, and has it tried again at once. A way back that gets on is what
    /// they want.
    pub(super) fn roll_back_from_commit(
        &mut self,
        to: Option<&RollbackTo>,
        force: bool,
        (why, by): (&str, &str),
    ) -> Answer {
        let State::Committing(committing) = self.journal.state.clone() else {
            return Err(Refusal::NothingToDo("nothing is committed".to_owned()));
        };
        let from_trial = matches!(committing.origin, Origin::Trial | Origin::Adopt);
        let waits = self.commit_waits();
        if from_trial && !waits {
            return Err(Refusal::Refused(
                "busy committing; try again when that is done".to_owned(),
            ));
        }
        let goal = if from_trial {
            &committing.previous
        } else {
            &committing.goal.system
        };
        let goal = goal.clone();
        if let Some(to) = to
            && waits
            && (committing.only_misses_entries() || self.memory.waits_long())
            && matches!(committing.origin, Origin::Rollback { .. })
            && !self.is_named(to, &goal)
            && let Some(elsewhere) = self.kept(to)
        {
            self.may_go_back(force, by)?;
            return Ok(self.go_elsewhere(committing, elsewhere, &format!("{by}: {why}"), by));
        }
        if to.is_some_and(|to| !self.is_named(to, &goal)) {
            let problem = self.memory.problem.as_deref();
            return Err(Refusal::Refused(if waits {
                format!(
                    "a commit waits ({}); now the robot can only go back to {goal}",
                    problem.unwrap_or("it is tried again")
                )
            } else {
                format!("the robot is on its way back to {goal}; try again when that is done")
            }));
        }
        self.may_go_back(force, by)?;
        if from_trial {
            let evidence = Evidence::plain(Cause::Rollback, format!("{by}: {why}"));
            self.leave_commit(committing, evidence);
            Ok(format!("going back to {goal}"))
        } else {
            self.asked_again(&format!("{by}: {why}"), by);
            if !waits {
                return Ok(format!("the robot is on its way back to {goal} already"));
            }
            self.retry_as_asked();
            Ok(format!("trying again to go back to {goal}"))
        }
    }

    /// The system of this name that the robot may go back to.
    fn kept(&self, to: &RollbackTo) -> Option<Generation> {
        let mut kept = self.journal.proven();
        kept.find(|kept| to.names(&kept.system, kept.release.as_ref()))
            .cloned()
    }

    /// A person has gone back to a system that profile and loader do not name yet, or that does not come up, and
    /// goes on to another one.
    fn go_elsewhere(
        &mut self,
        committing: Committing,
        elsewhere: Generation,
        asked: &str,
        by: &str,
    ) -> String {
        let said = format!("going on to {}", elsewhere.system);
        if committing.only_misses_entries() {
            self.go_on_from_what_runs(committing, elsewhere, (asked, by));
            return said;
        }
        let Origin::Rollback { why: before, .. } = &committing.origin else {
            return said;
        };
        let mut why = before.clone();
        add_words(&mut why, asked);
        let origin = Origin::Rollback {
            why,
            by: by.to_owned(),
        };
        // Its installer may have begun.
        self.journal.left_in_profile = Some(committing.goal.system.clone());
        let live = committing.live.as_ref();
        let by_boot = live.is_some_and(|live| live.by_the_loader)
            || self.cx.by_boot.contains(&elsewhere.system);
        let how = if by_boot {
            (Action::Boot, true)
        } else {
            (Action::Switch, false)
        };
        let left = committing.previous;
        self.begin_commit(elsewhere, None, left.clone(), origin, how);
        self.only_the_loader_leads(left);
        said
    }

    /// A person has gone back to what runs, and goes on to another system. The first way back is done, but for what
    /// the next boot starts: should the second one fail, the robot comes back to where it is now, and not to what
    /// the person left.
    fn go_on_from_what_runs(
        &mut self,
        committing: Committing,
        elsewhere: Generation,
        (why, by): (&str, &str),
    ) {
        let (runs, left) = (committing.goal.system.clone(), committing.previous.clone());
        self.finish_commit(committing);
        self.journal.left_in_profile = Some(left);
        let origin = Origin::Rollback {
            why: why.to_owned(),
            by: by.to_owned(),
        };
        let how = if self.cx.by_boot.contains(&elsewhere.system) {
            (Action::Boot, true)
        } else {
            (Action::Switch, false)
        };
        self.begin_commit(elsewhere, None, runs, origin, how);
    }

    /// Somebody has what waits tried again at once.
    pub(super) fn retry_commit_for_update(&mut self) {
        self.end_the_rest();
        if self.journal.state.only_misses_entries() {
            self.memory.look = None;
            self.look_before_entries();
        } else {
            self.retry_commit();
        }
    }

    /// Tries a way back again for a person who asks for it: all of it, also what took the robot down before, and
    /// what somebody has switched away from since.
    fn retry_as_asked(&mut self) {
        let State::Committing(committing) = &mut self.journal.state else {
            return;
        };
        let stuck = self.memory.waits_long();
        self.memory.failures = 0;
        committing.install = committing.install.take().map(Install::anew);
        let mut committing = committing.clone();
        if committing.only_misses_entries() && self.has_a_stray() {
            self.activate(committing);
        } else if committing.only_misses_entries() {
            self.memory.look = None;
            self.look_before_entries();
        } else if !stuck {
            self.retry_commit();
        } else if let Some(live) = &mut committing.live {
            if live.by_the_loader {
                *live = Live::by_the_loader(self.cx.boot.clone());
                self.install_goal(committing, true);
            } else {
                committing.live = None;
                committing.reboot = false;
                self.activate(committing);
            }
        } else {
            self.retry_commit();
        }
    }

    pub(super) fn finish_commit(&mut self, Committing { goal, origin, .. }: Committing) {
        if !matches!(origin, Origin::Restore { .. }) {
            self.drop_aftermath();
        }
        let old = self.journal.confirmed.replace(goal.clone());
        let old = old.filter(|old| old.system != goal.system);
        self.journal.attempts = None;
        // What was put back or adopted after somebody's switch excuses nothing.
        let proven = matches!(origin, Origin::Trial | Origin::Rollback { .. });
        let counted = &mut self.journal.disturbances;
        counted.take_if(|counted| proven && counted.system == goal.system);
        self.memory.setbacks = 0;
        self.journal.lost = None;
        self.journal.left_in_profile = None;
        self.journal.named_before = None;
        self.journal.fallbacks.retain(|g| g.system != goal.system);
        let (what, why, by) = match origin {
            Origin::Trial | Origin::Adopt => {
                if let Some(old) = old {
                    self.journal.fallbacks.insert(0, old);
                    self.journal.fallbacks.truncate(self.cx.policy.keep);
                }
                let what = if origin == Origin::Trial {
                    What::Confirmed
                } else {
                    What::Adopted
                };
                (what, None, None)
            }
            Origin::Rollback { why, by } => {
                // What was left does not come back by itself.
                if let Some(old) = old {
                    self.block_left(&old, &why, &by);
                }
                self.unblock_goal(&goal.system, &by);
                (What::RolledBack, Some(why), Some(by))
            }
            Origin::Restore { why } => (What::Restored, Some(why), None),
        };
        if what == What::Confirmed {
            self.trial_ended(what, goal.system, goal.release, None);
        } else {
            self.record(what, goal.system, goal.release, why, by);
        }
        self.go(State::Idle);
        self.effects.push(Effect::Renew);
        self.poll();
    }
}
