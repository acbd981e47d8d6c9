//! Starting and finding one's feet: what a look at the robot leads to.

use super::{
    context::DriftPolicy,
    decision::Decision,
    effect::{Effect, Guards},
    memory::Stray,
    revert::WayBack,
};
use crate::{
    StorePath,
    essentials::Essentials,
    health::{Check, Report},
    journal::What,
    machine::state::{Cause, Evidence, Generation, Mode, Origin, Phase, State, Trial},
    resolver::{Resolution, World, resolve},
    switch::Action,
};

/// Why the release is not to blame for an agent that did not answer.
pub(super) const KEPT_AWAY: &str = "somebody had stopped it, or the disk could not be written, so that is not \
                                    held against the release yet";

impl Decision<'_> {
    pub(super) fn on_started(&mut self, world: &World) {
        let (boot, now) = (self.cx.boot, self.cx.now);
        for hold in &mut self.journal.holds {
            hold.rebase(boot, now);
        }
        // Who lost the memory, never had one, or does not know the state, does not know what a guard is
        // for: one that is armed stays armed and may fire.
        let knows_guards = self.journal.knows_all();
        if !self.starts_with_a_stray(world) {
            self.look_at(world);
        }
        self.note_guard(world);
        if matches!(
            self.journal.state,
            State::Idle | State::Fetching(_) | State::Ready(_)
        ) {
            // Nothing is under trial: a dead-man timer can only be a leftover. So can the deadline of a boot,
            // unless it is running, and what was booted has not been proven, whatever runs on its kernel by now.
            if knows_guards {
                let proven = !world.dead_man || self.was_proven(world.booted.as_ref());
                self.effects.insert(
                    0,
                    Effect::Disarm(Guards {
                        boot_deadline: proven,
                        ..Guards::ALL
                    }),
                );
                self.memory.guarded.take_if(|_| proven);
            }
            self.look_back();
            self.poll();
        }
    }

    /// Whether the system that was booted is the confirmed one or a fallback, or nobody can tell.
    fn was_proven(&self, booted: Option<&StorePath>) -> bool {
        let mut proven = self.journal.proven();
        booted.is_none_or(|booted| proven.any(|generation| generation.system == *booted))
    }

    /// What is under way knows more than the copy: that is read when the robot rests.
    pub(super) fn on_recalled(&mut self, found: Option<Essentials>) {
        if self.journal.state == State::Idle {
            self.journal.recall(found);
        }
    }

    pub(super) fn on_observed(&mut self, world: &World) {
        self.note_guard(world);
        self.look_for_a_stray(world);
        self.look_for_entries(world);
        let somebody = self.runs_elsewhere(world);
        if somebody || matches!(self.journal.state, State::Idle | State::Unknown(_)) {
            self.look_at(world);
        }
        if self.journal.state == State::Idle && !self.comes_back() {
            self.look_back();
        }
        self.look_for_a_change(world);
        self.look_at_the_loader(world);
        self.look_for_a_rollback(world);
    }

    /// A guard that is armed and none of this update's fires, as nobody takes it back. Until it has, the
    /// robot is looked at again and again: whoever is refused because of it waits for no poll.
    fn note_guard(&mut self, world: &World) {
        let armed = world.dead_man && self.journal.state.has_no_guard();
        self.memory.guarded = armed.then(|| self.cx.now + self.cx.policy.gate_interval);
    }

    pub(super) fn tick_guard(&mut self) {
        let now = self.cx.now;
        if let Some(at) = self.memory.guarded.as_mut().filter(|at| **at <= now) {
            *at = now + self.cx.policy.gate_interval;
            self.effects.push(Effect::Observe);
        }
    }

    pub(super) fn look_at(&mut self, world: &World) {
        self.follow(resolve(&self.journal, world), world);
        let rests = self.journal.state == State::Idle && self.memory.drift.is_none();
        if rests && !world.silent {
            self.find_left(world);
        }
        let left = &mut self.journal.left_in_profile;
        let next = [&world.profile, &world.default];
        // Somebody else may have put it right meanwhile.
        let tells = !world.silent && (rests || world.default.is_some());
        left.take_if(|left| tells && !next.contains(&&Some(left.clone())));
        self.memory.changed = None;
        match left {
            // Nothing can be written there either.
            Some(_) if world.silent => {}
            Some(left) if rests => {
                let why = format!(
                    "the robot would start {left} next: it failed, or somebody installed it during a trial"
                );
                self.restore(&why, Action::Boot);
            }
            _ if rests => self.memory.changed = self.changed_by_others(world),
            _ => {}
        }
    }

    /// The first look after a trial was left. Whatever profile and boot loader have come to name since it
    /// began is put right: the next boot has to lead to the confirmed system. What they named before was
    /// somebody's choice, and so is what they come to name after this look.
    fn find_left(&mut self, world: &World) {
        let Some(before) = self.journal.named_before.take() else {
            return;
        };
        let confirmed = self.journal.confirmed.as_ref().map(|c| &c.system);
        let mut next = [&world.profile, &world.default].into_iter().flatten();
        let came = next.find(|system| Some(*system) != confirmed && !before.contains(system));
        if let Some(system) = came {
            self.journal.left_in_profile = Some(system.clone());
        }
    }

    /// What somebody else has the robot start at its next boot. It may be meant: it is only said.
    fn changed_by_others(&self, world: &World) -> Option<String> {
        let confirmed = &self.journal.confirmed.as_ref()?.system;
        let names = |what: &str, system: &Option<StorePath>| {
            let system = system.as_ref().filter(|system| *system != confirmed)?;
            Some(format!("{what} {system}"))
        };
        let found = [
            names("the profile names", &world.profile),
            names("the boot loader starts", &world.default),
        ];
        let found: Vec<String> = found.into_iter().flatten().collect();
        (!found.is_empty()).then(|| {
            format!(
                "{}, and not {confirmed}, which is confirmed: somebody else changed that while no update \
                 was under way",
                found.join(" and ")
            )
        })
    }

    /// Does what a look at the robot means.
    fn follow(&mut self, resolution: Resolution, world: &World) {
        self.memory.drift = None;
        match resolution {
            Resolution::Adopt(system) => {
                let adopted = Generation {
                    system: system.clone(),
                    release: None,
                    since: self.cx.wall,
                };
                let fallbacks = &mut self.journal.fallbacks;
                if let Some(old) = self.journal.confirmed.replace(adopted) {
                    fallbacks.insert(0, old);
                }
                fallbacks.retain(|fallback| fallback.system != system);
                if matches!(self.journal.state, State::Unknown(_)) {
                    self.go(State::Idle);
                }
                let why = self.journal.lost.as_ref().map(|loss| loss.why.clone());
                self.record(What::Adopted, system, None, why, None);
            }
            Resolution::Unknown => {
                self.report(
                    "cannot tell which system runs: /run/booted-system and /run/current-system \
                     name no store path"
                        .to_owned(),
                );
            }
            Resolution::Unread => {
                self.report(
                    "cannot tell which system is to run: a guard of a trial is armed that nobody remembers, \
                     and the boot partition does not say where it leads"
                        .to_owned(),
                );
            }
            Resolution::Settled => {
                if matches!(self.journal.state, State::Trial(_)) {
                    self.go(State::Idle);
                }
            }
            Resolution::Drift(system) => self.on_drift(system),
            Resolution::FinishSwitch => {
                let why = "a switch was cut off and left services stopped";
                self.restore(why, Action::Switch);
            }
            Resolution::Refetch => {
                if let Some(target) = self.journal.state.target().cloned() {
                    self.fetch(target);
                }
            }
            Resolution::Attach => {
                if let Some(order) = self.journal.state.order().cloned() {
                    self.effects.push(Effect::Switch(order));
                }
            }
            Resolution::Ended(outcome, log) => self.on_switch_ended(&outcome, log, Vec::new()),
            Resolution::Soak => {
                self.wait_to_leave();
                if !matches!(&self.journal.state, State::Trial(trial) if trial.failed_late()) {
                    self.probe();
                }
            }
            Resolution::Interrupted(why) => {
                self.abandon(Evidence::plain(Cause::Interrupted, why.to_owned()));
            }
            Resolution::WaitForReboot => self.wait_for_reboot(),
            Resolution::RebootAgain => self.reboot_into_trial(),
            Resolution::TrialBooted => self.begin_boot_soak(),
            Resolution::FellBack(trace) => self.explain_fallback(trace),
            Resolution::CommitLost => {
                let why = "the robot restarted before the boot loader had the proven system";
                self.abandon(Evidence::plain(Cause::Interrupted, why.to_owned()));
            }
            Resolution::DeadManReverted { kept_away } => {
                if self.was_left_by_guard("the dead-man timer went back", Vec::new()) {
                    return;
                }
                let evidence = Evidence::plain(
                    Cause::DeadMan,
                    "the dead-man timer reverted the trial: the agent had not answered in time"
                        .to_owned(),
                );
                self.end_left_by_guard(evidence, kept_away);
            }
            Resolution::Revert(why) => {
                self.revert_trial(Evidence::plain(Cause::Killed, why.to_owned()));
            }
            Resolution::Leave(why) => {
                self.revert_trial(Evidence::plain(Cause::Interrupted, why.to_owned()));
            }
            Resolution::Elsewhere { system, booted } => self.leave_to_somebody(system, booted),
            Resolution::CommitAgain { there } => self.continue_commit(there),
            Resolution::RevertAgain { elsewhere } => self.continue_revert(world, elsewhere),
            Resolution::Reverted => self.finish_revert(),
            Resolution::Forget => self.forget_unknown(),
            Resolution::GoBack { system, booted } => self.leave_unknown(Stray { system, booted }),
        }
    }

    /// The dead-man timer ended a trial. Where something else may have kept the agent from answering, that
    /// counts only once it has happened every time.
    fn end_left_by_guard(&mut self, evidence: Evidence, kept_away: bool) {
        if kept_away && self.may_be_kept_away_again() {
            self.effects.push(Effect::Disarm(Guards::ALL));
            let message = format!("{}; {KEPT_AWAY}", evidence.message);
            self.end_without_verdict(Evidence::plain(Cause::Interrupted, message));
        } else {
            self.end_with_verdict(evidence);
        }
    }

    /// Counts that something else kept the agent from answering in a trial. Whether that may still be so.
    pub(super) fn may_be_kept_away_again(&mut self) -> bool {
        let most = self.cx.policy.trial_attempts;
        let target = self.journal.state.target().cloned();
        target.is_some_and(|it| self.count_attempt(&it.release, &it.system, Check::Agent) < most)
    }

    /// Whether somebody has another system run than the one that is looked at on trial, or after the switch
    /// of its commit. What was begun with that one is over then, without a verdict.
    fn runs_elsewhere(&mut self, world: &World) -> bool {
        let looked_at = match &self.journal.state {
            State::Trial(trial) if matches!(trial.phase, Phase::Soaking { .. }) => &trial.system,
            State::Committing(committing) if self.memory.soak.until.is_some() => {
                &committing.goal.system
            }
            _ => return false,
        };
        // A look at the robot may have begun long ago: its health has to say the same, and does once more
        // with each look.
        let last = self.memory.soak.last.as_ref();
        if !last.is_some_and(Report::names_another_system) {
            return false;
        }
        let Some(current) = world.current.as_ref().filter(|it| *it != looked_at) else {
            return false;
        };
        let why = left_for(current);
        // On the kernel of a trial the system before is not where it should be: that one's guard stays.
        let by_boot =
            matches!(&self.journal.state, State::Trial(trial) if trial.mode == Mode::Boot);
        if !by_boot && self.journal.state.previous() == Some(current) {
            self.effects.push(Effect::Disarm(Guards::ALL));
        }
        if let State::Committing(committing) = self.journal.state.clone() {
            let evidence = Evidence::plain(Cause::Interrupted, why);
            let goal = &Some(committing.goal.system);
            if [&world.profile, &world.default].contains(&goal) {
                // What was not looked at to the end must not be what the robot starts with.
                self.begin_revert(committing.previous, WayBack::Entries, evidence);
                return false;
            }
            self.end_without_verdict(evidence);
        }
        true
    }

    /// Ends a trial since somebody has the robot run another system. Nothing of that is undone: what the trial
    /// changed in profile and boot menu is put right once the confirmed system runs. `booted`: the boot is the
    /// trial's. Its deadline stays, as the kernel has not been proven, and what the boot loader starts by
    /// default has.
    fn leave_to_somebody(&mut self, system: StorePath, booted: bool) {
        self.effects.push(Effect::Disarm(Guards {
            boot_deadline: !booted,
            ..Guards::ALL
        }));
        let why = left_for(&system);
        self.leave_nothing_behind();
        self.end_without_verdict(Evidence::plain(Cause::Interrupted, why));
        self.on_drift(system);
    }

    pub(super) fn on_drift(&mut self, system: StorePath) {
        // Somebody else decides what this robot runs, and what it starts next.
        self.journal.named_before = None;
        let Some(confirmed) = self.journal.confirmed.clone() else {
            return;
        };
        // What is undone or adopted becomes the one or the other.
        let (policy, still) = match self.cx.policy.drift {
            DriftPolicy::Report => (DriftPolicy::Report, None),
            DriftPolicy::Adopt => {
                let why = self.was_to_be_left(&system);
                (
                    DriftPolicy::Adopt,
                    why.or_else(|| self.stands_still(&system)),
                )
            }
            DriftPolicy::Restore => (DriftPolicy::Restore, self.stands_still(&confirmed.system)),
        };
        let policy = still.as_ref().map_or(policy, |_| DriftPolicy::Report);
        match policy {
            DriftPolicy::Report => {
                self.memory.drift = Some(system);
                if matches!(self.journal.state, State::Trial(_)) {
                    self.go(State::Idle);
                }
                if let Some(still) = still {
                    self.report(still);
                }
            }
            DriftPolicy::Adopt => {
                self.memory.drift = Some(system.clone());
                self.drop_aftermath();
                self.go(State::Trial(Trial {
                    target: None,
                    system,
                    previous: confirmed.system,
                    boot: self.cx.boot.clone(),
                    mode: Mode::Live,
                    reached: true,
                    late: None,
                    phase: Phase::Soaking {
                        deadline: self.cx.now + self.cx.policy.health_deadline,
                    },
                }));
                self.probe();
            }
            DriftPolicy::Restore => {
                let why = format!("{system} ran instead, and it was not the agent");
                self.restore(&why, Action::Switch);
            }
        }
    }

    /// Switches to the confirmed system again; by [`Action::Boot`] only profile and boot entries.
    fn restore(&mut self, why: &str, action: Action) {
        let confirmed = self.journal.confirmed.as_ref().map(|c| c.system.clone());
        if action == Action::Switch
            && let Some(still) = confirmed.and_then(|confirmed| self.stands_still(&confirmed))
        {
            self.report(format!("{why}; {still}"));
            return;
        }
        let held_by = self.held_by();
        if !held_by.is_empty() {
            self.report(format!(
                "{why}; the confirmed system will be put back when this has ended: {}",
                held_by.join(", ")
            ));
            return;
        }
        if let Some(goal) = self.journal.confirmed.clone() {
            let previous = goal.system.clone();
            self.begin_commit(
                goal,
                None,
                previous,
                Origin::Restore {
                    why: why.to_owned(),
                },
                (action, false),
            );
        }
    }
}

fn left_for(system: &StorePath) -> String {
    format!("somebody switched to {system} in the middle of it, or had the robot boot that")
}
