//! Polling the repository and bringing what it offers: the states Idle and Fetching.

use super::{
    context::{AfterLoss, RECENT},
    decision::{Decision, Due},
    effect::Effect,
    event::Unserved,
    memory::Memory,
};
use crate::{
    events::Kind,
    gate::Stage,
    health::Check,
    journal::{Blocked, Seen, What},
    machine::state::{Cause, Evidence, Fetching, Origin, Phase, Ready, State, Trial},
    offers::{Choice, LeftAlone, Offers},
    release::Target,
    retry,
    time::Instant,
};

impl Decision<'_> {
    pub(super) fn tick_idle(&mut self, due: Due) {
        if due.retry || due.poll {
            self.poll();
        }
    }

    pub(super) fn tick_fetching(&mut self, due: Due) {
        if due.retry {
            self.effects.push(Effect::AskGates(Stage::Download));
        }
        if due.poll {
            self.poll();
        }
    }

    pub(super) fn poll(&mut self) {
        if !self.memory.polling {
            self.memory.polling = true;
            self.memory.next_poll = None;
            self.effects.push(Effect::AskGates(Stage::Check));
        }
    }

    /// Before anything is disturbed: whether the repository has to be asked first, once more. Its answer,
    /// or that there is none, goes on with what waits.
    pub(super) fn asks_repository_first(&mut self) -> bool {
        let asked = self.memory.asked;
        let recent = asked.is_some_and(|at| self.cx.now.since(at) <= RECENT);
        if !recent {
            self.memory.asks_first = true;
            self.poll();
        }
        !recent
    }

    /// Whether a release that is given out in steps has to wait until the repository has answered: it
    /// may be paused by now. Then that is asked again when the next poll is due.
    pub(super) fn waits_for_answer(&mut self, target: &Target) -> bool {
        let (now, fresh) = (self.cx.now, self.cx.policy.rollout_fresh);
        let answered = self.memory.answered;
        if !target.in_steps || answered.is_some_and(|at| now.since(at) <= fresh) {
            return false;
        }
        let problem = format!(
            "release {} is given out in steps, and the repository has to answer right before it is tried",
            target.release
        );
        let next = self.memory.next_poll;
        self.wait_with(problem, next.unwrap_or(now + self.cx.policy.backoff_base));
        true
    }

    /// The repository was asked, or could not be.
    pub(super) fn has_asked(&mut self) {
        self.memory.polling = false;
        self.memory.asked = Some(self.cx.now);
        if std::mem::take(&mut self.memory.asks_first) {
            self.ask_gates_if_free();
        }
    }

    pub(super) fn on_polled(&mut self, offers: &Offers) {
        let Choice {
            target: offered,
            left,
            waits,
            stays: _,
        } = offers.choose(self.journal.confirmed.as_ref());
        self.leave_alone(left);
        self.memory.offered.clone_from(&offered);
        self.memory.turn = waits.map(|waits| waits.to_string());
        self.memory.answered = Some(self.cx.now);
        self.happened(Kind::Checked {
            release: offered.as_ref().map(|target| target.release.clone()),
        });
        let policy = self.cx.policy;
        let delay = retry::interval(policy.poll_interval, policy.jitter, self.cx.random);
        self.memory.repository.succeeded();
        self.memory.poll_error = None;
        self.memory.next_poll = Some(self.cx.now + delay);
        self.judge_suspect();
        if let Some(counted) = &mut self.journal.disturbances
            && !counted.is_idle()
        {
            counted.look(self.cx.boot, self.cx.now);
        }

        let before = match &self.journal.state {
            State::Idle => None,
            State::Fetching(Fetching { target }) | State::Ready(Ready { target }) => {
                Some(target.clone())
            }
            State::Trial(Trial {
                target: Some(target),
                phase: Phase::Staged,
                ..
            }) => Some(target.clone()),
            // An answer that comes late: the trial goes first.
            State::Committing(committing)
                if self.commit_waits() && committing.origin == Origin::Trial =>
            {
                committing.target.clone()
            }
            State::Trial(_) | State::Committing(_) | State::Reverting(_) | State::Unknown(_) => {
                self.memory.polling = false;
                return;
            }
        };
        let commits = matches!(self.journal.state, State::Committing(_));
        let staged = matches!(self.journal.state, State::Trial(_));
        let begun = commits || staged;
        let replaced_by = offered.as_ref().map(|target| target.release.clone());
        let wanted = offered.filter(|target| {
            // First of all: what is offered after a loss is noticed whether it would be tried or not.
            let suspicious = self.may_have_failed_before_the_loss(target);
            self.memory.drift.is_none()
                && self.is_to_be_tried(target)
                && !suspicious
                && (begun || !self.is_left_alone(target))
        });
        let what = |target: &Target| (target.release.clone(), target.system.clone());
        if before == wanted || begun && before.as_ref().map(what) == wanted.as_ref().map(what) {
            self.has_asked();
            return;
        }
        self.memory.asks_first = false;
        self.has_asked();
        let listed = |target: &Target| offers.has(&target.release, &target.system);
        if commits && wanted.is_none() && before.as_ref().is_some_and(listed) {
            // Pauses, steps and labels decide who begins. This robot has it, and it has proven itself here.
            return;
        }
        if begun {
            let why = match replaced_by {
                Some(other) if before.is_none_or(|before| before.release != other) => {
                    format!("release {other} is offered in its place")
                }
                _ => "it is not offered any more".to_owned(),
            };
            if commits {
                // It runs, and leaving it is a switch.
                self.leave_when_allowed(Evidence::plain(Cause::Withdrawn, why));
            } else {
                self.abandon(Evidence::plain(Cause::Withdrawn, why));
            }
            return;
        }
        if before.is_some() {
            // Recalled, or replaced by a newer one.
            self.effects.push(Effect::CancelFetch);
            self.go(State::Idle);
        }
        if let Some(target) = wanted {
            self.fetch(target);
        }
    }

    /// Says of the newest release that this agent has to leave it alone: in the status as long as that
    /// is so, and once in the history.
    fn leave_alone(&mut self, left: Option<LeftAlone>) {
        self.memory.left = left.as_ref().map(|left| left.why.clone());
        let Some(LeftAlone {
            release: Some(release),
            system: Some(system),
            why,
        }) = left
        else {
            return;
        };
        let said = self.journal.history.iter().any(|record| {
            record.what == What::Refused
                && record.release.as_ref() == Some(&release)
                && record.why.as_ref() == Some(&why)
        });
        if !said {
            self.record(What::Refused, system, Some(release), Some(why), None);
        }
    }

    /// Whether the robot was disturbed by this target often enough for today, or somebody wanted to leave it.
    fn is_left_alone(&mut self, target: &Target) -> bool {
        let why = self.was_to_be_left(&target.system);
        let why = why.or_else(|| self.stands_still(&target.system));
        let why = why.map(|why| format!("release {}: {why}", target.release));
        let left = why.is_some();
        if left {
            // It says more than what ended the last try.
            self.memory.problem = None;
            self.memory.left = why;
        }
        left
    }

    /// Whether a target is to be tried here: it is not what was confirmed, and did not fail.
    ///
    /// "Already there" is judged by what was confirmed, never by what was tried last: A → B → A is
    /// an ordinary update.
    fn is_to_be_tried(&mut self, target: &Target) -> bool {
        if self.journal.blocked(target).is_some() {
            return false;
        }
        match &mut self.journal.confirmed {
            None => false,
            Some(confirmed) if confirmed.system == target.system => {
                // The same system under a new name needs no trial.
                confirmed.release = Some(target.release.clone());
                false
            }
            Some(_) => true,
        }
    }

    /// Whether the memory was lost, and this release was there before, as far as that is known: by the
    /// manifest that was read before, or else because it is the first that was offered since.
    fn may_have_failed_before_the_loss(&mut self, target: &Target) -> bool {
        let policy = self.cx.policy.after_loss;
        self.journal.lost.as_mut().is_some_and(|loss| {
            if loss.seen.is_empty() {
                loss.seen.push(Seen {
                    release: target.release.clone(),
                    system: target.system.clone(),
                });
            }
            let same = |seen: &Seen| seen.release == target.release || seen.system == target.system;
            policy == AfterLoss::Technician || loss.seen.iter().any(same)
        })
    }

    pub(super) fn on_poll_failed(&mut self, Unserved { why, pause }: Unserved) {
        self.happened(Kind::CheckFailed { why: why.clone() });
        let (policy, now, random) = (self.cx.policy, self.cx.now, self.cx.random);
        let bounds = (policy.backoff_base, policy.backoff_max);
        let next = (self.memory.repository).failed(now, bounds, pause, random);
        self.memory.poll_error = Some(why);
        self.memory.next_poll = Some(next);
        self.has_asked();
    }

    /// Whether what runs reached the repository when it was asked last. It may not have been asked: its
    /// gates may be shut, which says nothing of what it reaches.
    pub(super) fn reached(&self) -> bool {
        let Memory {
            asked, answered, ..
        } = self.memory;
        answered.is_some() && answered >= asked
    }

    /// The repository is reached. What failed only in reaching it, while the system before did, is
    /// counted, and blocked after some times.
    fn judge_suspect(&mut self) {
        let runs_before = !matches!(self.journal.state, State::Trial(_) | State::Committing(_));
        let suspect = &mut self.journal.suspect;
        if let Some(suspect) =
            suspect.take_if(|it| runs_before && !it.evidence.blames_the_nix_daemon())
        {
            self.count_suspect(suspect, Check::ManifestServer);
        }
    }

    /// What failed in this check alone did not fail with the system before. That is blocked after some times.
    pub(super) fn count_suspect(&mut self, suspect: Blocked, check: Check) {
        let times = self.count_attempt(&suspect.release, &suspect.system, check);
        if times >= self.cx.policy.trial_attempts {
            self.journal.attempts = None;
            self.push_blocked(suspect);
        }
    }

    pub(super) fn fetch(&mut self, target: Target) {
        self.memory.failures = 0;
        self.memory.caches.succeeded();
        self.go(State::Fetching(Fetching { target }));
        self.effects.push(Effect::AskGates(Stage::Download));
    }

    pub(super) fn on_fetched(&mut self) {
        if let State::Fetching(Fetching { target }) = self.journal.state.clone() {
            self.go(State::Ready(Ready { target }));
            self.ask_gates_if_free();
        }
    }

    pub(super) fn on_fetch_failed(&mut self, Unserved { why, pause }: Unserved) {
        self.happened(Kind::FetchFailed { why: why.clone() });
        if matches!(self.journal.state, State::Fetching(_)) {
            let (policy, now, random) = (self.cx.policy, self.cx.now, self.cx.random);
            let bounds = (policy.backoff_base, policy.fetch_backoff_max);
            let next = (self.memory.caches).failed(now, bounds, pause, random);
            self.wait_with(why, next);
        }
    }

    /// Bytes have come. Those of the day may be used up by them.
    pub(super) fn on_moved(&mut self, bytes: u64, wasted: u64, more: bool) {
        self.memory.traffic.moved(self.cx.now, bytes, wasted);
        if more && matches!(self.journal.state, State::Fetching(_)) && self.waits_for_tomorrow() {
            self.effects.push(Effect::CancelFetch);
        }
    }

    /// Whether nothing more may be fetched today: then it goes on tomorrow.
    pub(super) fn waits_for_tomorrow(&mut self) -> bool {
        let limit = self.cx.policy.daily_limit;
        let Some(until) = self.memory.traffic.used_up(self.cx.now, limit) else {
            return false;
        };
        let problem = format!("the {limit} bytes that it may fetch in a day are used up");
        self.wait_with(problem, until);
        true
    }

    /// A robot that was cut off looks soon whether it still is.
    pub(super) fn on_network_changed(&mut self) {
        let (now, random) = (self.cx.now, self.cx.random);
        let memory = &mut self.memory;
        if let Some(next) = &mut memory.next_poll {
            *next = memory.repository.network_changed(now, *next, random);
        }
        if let (State::Fetching(_), Some(retry)) = (&self.journal.state, &mut memory.retry) {
            *retry = memory.caches.network_changed(now, *retry, random);
        }
    }

    /// Stays where it is because of a problem, and tries again after a growing delay.
    pub(super) fn retry_with(&mut self, problem: String) {
        self.report(problem);
        self.retry_later();
    }

    /// Tries the present state again after a growing delay.
    pub(super) fn retry_later(&mut self) {
        self.memory.failures = self.memory.failures.saturating_add(1);
        self.memory.retry = Some(self.after_failures(self.memory.failures));
    }

    /// When to try again what has failed so often in a row.
    pub(super) fn after_failures(&self, failures: u32) -> Instant {
        let (policy, random) = (self.cx.policy, self.cx.random);
        self.cx.now + retry::backoff(failures, policy.backoff_base, policy.backoff_max, random)
    }
}
