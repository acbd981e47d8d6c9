//! What a person's way back blocks besides what failed, and what a person has tried again.

use super::{
    decision::Decision,
    event::{Answer, Refusal},
};
use crate::{
    RollbackTo, StorePath,
    journal::{Blocked, What},
    machine::state::{Cause, Evidence, Generation},
    release::Name,
};

impl Decision<'_> {
    /// A person goes back to an earlier system, and drives off: the robot stays where it was put. Blocked
    /// now is the release that waits or is being fetched, and what was confirmed between the goal and
    /// what is left, for an older agent may finish the way back. What is left is blocked when the robot
    /// is there.
    ///
    /// Returned are all of these, each once. Whoever undoes somebody else's switch gives no release up.
    pub(super) fn block_passed(&mut self, goal: &Generation, why: &str, by: &str) -> Vec<Name> {
        let journal = &self.journal;
        let left = journal.confirmed.as_ref();
        let Some(left) = left.filter(|left| left.system != goal.system).cloned() else {
            return Vec::new();
        };
        let there = match &goal.release {
            Some(release) => format!("release {release}"),
            None => goal.system.to_string(),
        };
        let waiting = [journal.state.target(), self.memory.offered.as_ref()];
        let waiting: Vec<_> = waiting.into_iter().flatten().cloned().collect();
        let between = journal.fallbacks.iter();
        let between: Vec<_> = between
            .take_while(|between| between.system != goal.system)
            .filter_map(|between| Some((between.release.clone()?, between.system.clone())))
            .collect();
        let mut blocked: Vec<Name> = left.release.into_iter().collect();
        for target in waiting {
            let known = target.system == left.system || target.system == goal.system;
            if !known && self.journal.blocked(&target).is_none() {
                let why = format!("it waited when the robot went back to {there}: {why}");
                self.block_by_hand(&target.release, &target.system, why, by);
                blocked.push(target.release);
            }
        }
        for (release, system) in between {
            if self.journal.blocked_as(&release, &system, false).is_none() {
                let why = format!("the robot went back past it to {there}: {why}");
                self.block_by_hand(&release, &system, why, by);
                blocked.push(release);
            }
        }
        blocked
    }

    /// Blocks what was on trial before an agent stood still, and runs: a person who goes back gives it up.
    pub(super) fn block_put_aside(
        &mut self,
        left: &StorePath,
        why: &str,
        by: &str,
    ) -> Option<Name> {
        let target = self.cx.put_aside?;
        if target.system != *left || self.journal.blocked(target).is_some() {
            return None;
        }
        self.block_by_hand(&target.release, &target.system, why.to_owned(), by);
        Some(target.release.clone())
    }

    /// Blocks the release that a person went back from.
    pub(super) fn block_left(&mut self, old: &Generation, why: &str, by: &str) {
        if let Some(release) = &old.release {
            self.block_by_hand(release, &old.system, why.to_owned(), by);
        }
    }

    /// Where a person went back to is not what a person went back from.
    pub(super) fn unblock_goal(&mut self, goal: &StorePath, by: &str) {
        let left = |b: &Blocked| b.system == *goal && b.evidence.cause == Cause::Rollback;
        self.unblock(left, "the robot went back to it", by);
    }

    fn block_by_hand(&mut self, release: &Name, system: &StorePath, why: String, by: &str) {
        let evidence = Evidence::plain(Cause::Rollback, why.clone());
        self.push_blocked(self.blocked(release, system, evidence));
        let (release, by) = (Some(release.clone()), Some(by.to_owned()));
        self.record(What::Blocked, system.clone(), release, Some(why), by);
    }

    pub(super) fn on_unblock_request(&mut self, what: &RollbackTo, why: &str, by: &str) -> Answer {
        let named = |b: &Blocked| what.names(&b.system, Some(&b.release));
        let blocked = &self.journal.blocked;
        let systems = blocked.iter().filter(|b| named(b));
        let systems: Vec<_> = systems.map(|b| b.system.clone()).collect();
        // A system that a person left is blocked whatever its release is called.
        let same = |b: &Blocked| {
            named(b) || b.evidence.cause == Cause::Rollback && systems.contains(&b.system)
        };
        if systems.is_empty() {
            let blocked: Vec<_> = blocked.iter().map(|b| b.release.as_str()).collect();
            return Err(Refusal::NothingToDo(if blocked.is_empty() {
                format!("{what} is not blocked: nothing is")
            } else {
                format!("{what} is not blocked; blocked are {}", blocked.join(", "))
            }));
        }
        let releases = self.unblock(same, why, by);
        Ok(format!(
            "{} blocked no more: a check that finds it offered tries it; `surefoot update` checks now",
            are(&releases)
        ))
    }

    /// Forgets that these failed or were left. Which releases that were.
    fn unblock(&mut self, which: impl Fn(&Blocked) -> bool, why: &str, by: &str) -> Vec<Name> {
        let gone = self.journal.blocked.extract_if(.., |b| which(b));
        let gone: Vec<Blocked> = gone.collect();
        let record = |b: Blocked| {
            let (release, why, by) = (b.release.clone(), why.to_owned(), by.to_owned());
            self.record(
                What::Unblocked,
                b.system,
                Some(release),
                Some(why),
                Some(by),
            );
            b.release
        };
        gone.into_iter().map(record).collect()
    }
}

/// "release 1 is", "releases 1, 2 are".
pub(super) fn are(releases: &[Name]) -> String {
    let names: Vec<_> = releases.iter().map(Name::as_str).collect();
    match names.as_slice() {
        [one] => format!("release {one} is"),
        many => format!("releases {} are", many.join(", ")),
    }
}
