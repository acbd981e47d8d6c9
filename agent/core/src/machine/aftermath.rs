//! After a way back: is the robot as it was before the trial?
//!
//! A release may do damage that going back does not undo: it migrates data that the system before then
//! cannot read, or leaves a device in a state from which only a boot leads. So after each way back the
//! robot is looked at as it is on trial, and held against the same baseline. What is worse is said, and
//! answered by one reboot where the configuration, the gates and the count of disturbances allow it.

use super::{
    context::REBOOT_PATIENCE,
    decision::Decision,
    effect::Effect,
    soak::{Proof, Soak},
};
use crate::{
    baseline::Against,
    disturbance::What as Disturbed,
    gate::Stage,
    health::{Beside, Check, Failure, Report},
    journal::{Aftermath, What},
    machine::state::{Evidence, State},
};

impl Decision<'_> {
    /// A way back is over: from now on the robot is looked at. Called before the state is left.
    pub(super) fn begin_aftermath(&mut self) {
        let left = self.journal.state.next().cloned();
        let confirmed = self.journal.confirmed.as_ref();
        let system = confirmed.map(|confirmed| confirmed.system.clone());
        let baseline = self.journal.baseline.take();
        if let (Some(failed), Some(system), Some(baseline)) = (left, system, baseline) {
            // What an earlier trial had made worse is no better for another trial.
            let before = self.journal.aftermath.take();
            let (baseline, worse, rebooted) = before
                .map_or((baseline, Vec::new(), false), |before| {
                    (before.baseline, before.worse, before.rebooted)
                });
            self.journal.aftermath = Some(Aftermath {
                system,
                failed,
                baseline,
                worse,
                rebooted,
            });
            self.look_back();
        }
    }

    /// Looks from the start at what a way back left, if one did.
    pub(super) fn look_back(&mut self) {
        self.memory.aftermath = Soak::default();
        self.memory.reboot_back = None;
        if self.journal.aftermath.is_some() {
            self.memory.aftermath.until = Some(self.cx.now + self.cx.policy.health_deadline);
            self.memory.aftermath.slept(self.cx.slept);
            self.probe_back();
        }
    }

    /// Another trial begins. What is known to be worse stays known until the robot is as it was, or
    /// another system is confirmed.
    pub(super) fn leave_aftermath(&mut self) {
        let aftermath = &mut self.journal.aftermath;
        aftermath.take_if(|aftermath| aftermath.worse.is_empty());
        self.memory.aftermath = Soak::default();
        self.memory.reboot_back = None;
    }

    /// Something else begins, or there is nothing left to look for.
    pub(super) fn drop_aftermath(&mut self) {
        self.journal.aftermath = None;
        self.know_aftermath();
    }

    /// It is known how the robot came back: what waited for that goes on.
    fn know_aftermath(&mut self) {
        self.memory.aftermath = Soak::default();
        self.memory.reboot_back = None;
        if matches!(self.journal.state, State::Ready(_)) {
            self.ask_gates_if_free();
        }
    }

    /// Whether it is not known yet how the robot came back.
    pub(super) const fn comes_back(&self) -> bool {
        self.memory.aftermath.until.is_some() || self.memory.reboots_back.is_some()
    }

    /// Whether the robot would come up from a reboot on what it goes back to, as far as was looked since the
    /// trial, and nobody has changed what runs: nothing is aimed here as it is for a trial.
    const fn would_boot_the_confirmed(&self) -> bool {
        self.memory.drift.is_none()
            && self.memory.changed.is_none()
            && self.journal.left_in_profile.is_none()
            && self.journal.named_before.is_none()
    }

    fn probe_back(&mut self) {
        let now = self.cx.now;
        if let Some(aftermath) = &self.journal.aftermath {
            let soak = &mut self.memory.aftermath;
            soak.begin(now);
            self.effects.push(Effect::Probe {
                system: aftermath.system.clone(),
                at: now,
                against: Box::new(Against {
                    baseline: Some(aftermath.baseline.clone()),
                    runs: soak.runs.clone(),
                    aside: soak.aside.clone(),
                }),
                beside: Beside::NixDaemon,
            });
        }
    }

    pub(super) fn tick_aftermath(&mut self) {
        let now = self.cx.now;
        let back = &mut self.memory.aftermath;
        back.slept(self.cx.slept);
        if back.until.is_some_and(|until| until <= now) {
            let late = std::mem::take(back).late(now, self.cx.policy.soak);
            self.came_back_worse(late);
        } else if back.next().is_some_and(|at| at <= now) {
            self.probe_back();
        }
        if self.memory.reboots_back.take_if(|at| *at <= now).is_some()
            && matches!(self.journal.state, State::Ready(_))
        {
            self.ask_gates_if_free();
        }
        if self.memory.reboot_back.take_if(|at| *at <= now).is_some() {
            self.ask_to_reboot_back();
        }
    }

    /// A look at the robot after a way back. The repository and the Nix daemon are left out, as nothing of the
    /// release is there any more; and nothing is excused that was well before, and nothing blamed that was not.
    pub(super) fn on_probed_back(&mut self, mut report: Report) {
        self.judge_by_nix_daemon(&report);
        let Some(aftermath) = &self.journal.aftermath else {
            return;
        };
        report.failures.retain(|f| f.check != Check::NixDaemon);
        let mut report = report.without_network();
        let before = &aftermath.baseline;
        let unknown = |check: &Check| before.unasked && check.is_written();
        report
            .failures
            .retain(|f| !before.failed.contains(&f.check) && !unknown(&f.check));
        let Some(looked) = self.memory.aftermath.take(&report) else {
            return;
        };
        if report.names_another_system() {
            // Somebody has switched since then, which is another story.
            self.drop_aftermath();
            return;
        }
        let (now, policy) = (self.cx.now, self.cx.policy);
        let soak = &mut self.memory.aftermath;
        match soak.judge((looked, &report), now, policy.soak, policy) {
            Proof::None => {}
            Proof::Healthy => {
                let system = aftermath.system.clone();
                self.name_started(&system, &report);
                self.drop_aftermath();
            }
            Proof::Unhealthy(evidence) => self.came_back_worse(evidence),
        }
    }

    /// Once the system before has started, its Nix daemon was asked. Where it answers, it counts that it did
    /// not in the trial; where it hangs as well, it is the robot's.
    fn judge_by_nix_daemon(&mut self, report: &Report) {
        let started = report.pending.is_empty() && !report.names_another_system();
        let suspect = &mut self.journal.suspect;
        if let Some(suspect) =
            suspect.take_if(|suspect| started && suspect.evidence.blames_the_nix_daemon())
            && !(report.failures.iter()).any(|failure| failure.check == Check::NixDaemon)
        {
            self.count_suspect(suspect, Check::NixDaemon);
        }
    }

    /// The way back left the robot worse than it was, or nobody can tell.
    fn came_back_worse(&mut self, evidence: Evidence) {
        self.know_aftermath();
        let evidence = evidence.shortened();
        let Some(aftermath) = &mut self.journal.aftermath else {
            return;
        };
        if evidence.failures.is_empty() || evidence.blames_the_repository() {
            // Nobody knows yet, and it is looked at again with the next poll.
            return;
        }
        // A reboot did not help what is known already.
        let known = |failure: &Failure| aftermath.worse.iter().any(|w| w.check == failure.check);
        let is_new = !evidence.failures.iter().all(known);
        aftermath.rebooted &= !is_new;
        let (system, rebooted) = (aftermath.system.clone(), aftermath.rebooted);
        aftermath.worse = evidence.failures;
        if is_new {
            self.record(What::Worse, system, None, Some(evidence.message), None);
        }
        if !rebooted {
            self.ask_to_reboot_back();
        }
    }

    /// Whether the robot is to be rebooted since a way back left it worse than it was. What goes on
    /// meanwhile goes first: it may be the remedy.
    pub(super) fn wants_to_reboot_back(&self) -> bool {
        let may = |aftermath: &Aftermath| {
            !aftermath.worse.is_empty()
                && !aftermath.rebooted
                && self.stands_still(&aftermath.failed).is_none()
        };
        self.cx.policy.reboot_if_worse
            && self.journal.state == State::Idle
            && self.journal.aftermath.as_ref().is_some_and(may)
    }

    fn ask_to_reboot_back(&mut self) {
        if !self.wants_to_reboot_back() {
            return;
        }
        if self.is_held_back() || !self.would_boot_the_confirmed() {
            self.memory.reboot_back = Some(self.cx.now + self.cx.policy.gate_interval);
        } else {
            self.effects.push(Effect::AskGates(Stage::Reboot));
        }
    }

    /// The gates are open: one reboot may put right what the way back did not.
    pub(super) fn reboot_back(&mut self) {
        if self.is_held_back() || !self.would_boot_the_confirmed() {
            self.memory.reboot_back = Some(self.cx.now + self.cx.policy.gate_interval);
            return;
        }
        let Some(aftermath) = &mut self.journal.aftermath else {
            return;
        };
        aftermath.rebooted = true;
        let (system, failed) = (aftermath.system.clone(), aftermath.failed.clone());
        let worse = aftermath
            .worse
            .iter()
            .map(|failure| failure.check.to_string());
        let worse: Vec<String> = worse.collect();
        let why = format!(
            "the way back left the robot worse than it was before the trial: {}",
            worse.join(", ")
        );
        // Until it has shut down nothing is begun, and nobody takes anything into the hand.
        self.memory.reboots_back = Some(self.cx.now + REBOOT_PATIENCE);
        self.disturb(&failed, Disturbed::Worse);
        self.record(What::Rebooted, system, None, Some(why.clone()), None);
        self.effects.push(Effect::Reboot(why));
    }
}
