//! Reading over what the store keeps, in rounds: what comes next, and when.

use crate::StorePath;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How far the reading is, and what it found. It outlasts restarts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Scrub {
    /// The path that was read last in the round that is under way.
    pub at: Option<StorePath>,
    /// When the last round ended, by the robot's clock.
    pub done: Option<Timestamp>,
    /// What is damaged, and what was found there.
    pub damaged: BTreeMap<StorePath, String>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<'a> {
    /// Read this path.
    Read(&'a StorePath),
    /// The round is over: every path was read.
    End,
    /// Nothing, for so long.
    Wait(Duration),
}

impl Scrub {
    /// What is to be done with these paths, a round beginning so long after the last one ended. A clock that
    /// reads earlier than that end makes the next round due.
    #[must_use]
    pub fn next<'a>(
        &self,
        paths: &'a BTreeSet<StorePath>,
        interval: Duration,
        now: Timestamp,
    ) -> Next<'a> {
        let Some(at) = &self.at else {
            let since = self
                .done
                .map(|done| now.duration_since(done).unsigned_abs());
            let since = since.filter(|_| self.done.is_some_and(|done| done <= now));
            return match (since, paths.first()) {
                (Some(since), _) if since < interval => Next::Wait(interval - since),
                (_, Some(first)) => Next::Read(first),
                (_, None) => Next::Wait(interval),
            };
        };
        let after = (std::ops::Bound::Excluded(at), std::ops::Bound::Unbounded);
        paths.range(after).next().map_or(Next::End, Next::Read)
    }

    /// A path was read: what is wrong with it, if anything.
    pub fn read(&mut self, path: &StorePath, damage: Option<String>) {
        self.at = Some(path.clone());
        self.look(path, damage);
    }

    /// A path was read beside the round.
    pub fn look(&mut self, path: &StorePath, damage: Option<String>) {
        match damage {
            Some(found) => self.damaged.insert(path.clone(), found),
            None => self.damaged.remove(path),
        };
    }

    /// What is damaged stays so for now, and why.
    pub fn stays(&mut self, path: &StorePath, why: &str) {
        if let Some(found) = self.damaged.get_mut(path) {
            let what = found.split("; it stays so: ").next().unwrap_or_default();
            *found = format!("{what}; it stays so: {why}");
        }
    }

    /// The round has ended. What is not kept any more is not damaged either.
    pub fn end(&mut self, paths: &BTreeSet<StorePath>, now: Timestamp) {
        self.at = None;
        self.done = Some(now);
        self.damaged.retain(|path, _| paths.contains(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(days: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + days * 86_400).unwrap()
    }

    fn paths(names: &[&str]) -> BTreeSet<StorePath> {
        let path = |name: &&str| StorePath::from_base_name(&format!("{}-x", name.repeat(32)));
        names.iter().map(|name| path(name).unwrap()).collect()
    }

    /// The paths of a round, read one after the other, each time from what a file remembers.
    fn round(scrub: &mut Scrub, all: &BTreeSet<StorePath>, now: Timestamp) -> BTreeSet<StorePath> {
        let mut read = BTreeSet::new();
        loop {
            let file = serde_json::to_string(scrub).unwrap();
            *scrub = serde_json::from_str(&file).unwrap();
            match scrub.next(all, DAY, now) {
                Next::Read(path) => {
                    assert!(read.insert(path.clone()), "twice");
                    scrub.read(path, None);
                }
                Next::End => {
                    scrub.end(all, now);
                    return read;
                }
                Next::Wait(_) => panic!("it waits"),
            }
        }
    }

    #[test]
    fn every_path_is_read_once_a_round_over_restarts() {
        let (mut scrub, all) = (Scrub::default(), paths(&["a", "b", "c"]));
        assert_eq!(round(&mut scrub, &all, at(0)), all);
        assert_eq!(scrub.next(&all, DAY, at(0)), Next::Wait(DAY));
        assert_eq!(round(&mut scrub, &all, at(1)), all);
        // A clock that was set back does not put it off for years.
        assert_eq!(round(&mut scrub, &all, at(-900)), all);
        let none = BTreeSet::new();
        assert_eq!(Scrub::default().next(&none, DAY, at(0)), Next::Wait(DAY));
    }

    #[test]
    fn damage_is_remembered_until_it_is_repaired_or_not_kept_any_more() {
        let all = paths(&["a", "b"]);
        let [a, b] = [0, 1].map(|at| all.iter().nth(at).unwrap());
        let mut scrub = Scrub::default();
        scrub.read(a, Some("it is empty".into()));
        scrub.read(b, Some("it is empty".into()));
        scrub.look(a, None);
        for why in ["no cache has it", "what runs uses it"] {
            scrub.stays(b, why);
            scrub.stays(a, why);
        }
        assert_eq!(
            scrub.damaged[b],
            "it is empty; it stays so: what runs uses it"
        );
        scrub.end(&all, at(0));
        assert_eq!(scrub.damaged.keys().collect::<Vec<_>>(), [b]);
        scrub.end(&paths(&["a"]), at(1));
        assert!(scrub.damaged.is_empty());
    }
}
