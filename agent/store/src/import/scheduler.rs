//! Which path goes into the store next. A path becomes valid once everything that it refers to is; but
//! it may be unpacked before, while those are being imported, as long as its end is held back
//! ([`Scheduler::is_ready`]). Pure bookkeeping, no I/O.

use std::collections::{BTreeSet, HashMap, HashSet};
use surefoot_core::{StorePath, closure::ClosureIndex};

/// The state of a fetch. Paths are named by their place in the index.
#[derive(Debug)]
pub(crate) struct Scheduler {
    /// How many references of each path are not valid yet.
    waiting: Vec<u32>,
    /// How many of them are not even being imported.
    blocked: Vec<u32>,
    referrers: Vec<Vec<u32>>,
    states: Vec<PathState>,
    /// Staged, with all references valid.
    ready: BTreeSet<usize>,
    /// Staged, with all references valid or being imported.
    early: BTreeSet<usize>,
    left: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PathState {
    Wanted,
    Staged,
    Importing,
    Valid,
}

/// What an importer should do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Import this one, but hold back its end until [`Scheduler::is_ready`].
    Import(usize),
    /// Wait for a change.
    Wait,
    /// Every path is valid.
    Done,
}

impl Scheduler {
    /// `index` must have been checked, `valid` says what the store has already.
    pub(crate) fn new(index: &ClosureIndex, valid: &HashSet<StorePath>) -> Self {
        let count = index.paths.len();
        let place: HashMap<&StorePath, usize> = index
            .paths
            .iter()
            .enumerate()
            .map(|(at, info)| (&info.path, at))
            .collect();
        let mut scheduler = Self {
            waiting: vec![0; count],
            blocked: Vec::new(),
            referrers: vec![Vec::new(); count],
            states: vec![PathState::Wanted; count],
            ready: BTreeSet::new(),
            early: BTreeSet::new(),
            left: 0,
        };
        for (at, info) in index.paths.iter().enumerate() {
            if valid.contains(&info.path) {
                scheduler.states[at] = PathState::Valid;
                continue;
            }
            scheduler.left += 1;
            for reference in &info.references {
                match place.get(reference) {
                    // A path may refer to itself.
                    Some(&target)
                        if target != at && scheduler.states[target] != PathState::Valid =>
                    {
                        scheduler.waiting[at] += 1;
                        scheduler.referrers[target].push(at as u32);
                    }
                    _ => {}
                }
            }
        }
        scheduler.blocked.clone_from(&scheduler.waiting);
        scheduler
    }

    /// The paths that must be fetched, references before referrers.
    pub(crate) fn wanted(&self) -> Vec<usize> {
        (0..self.states.len())
            .filter(|&at| self.states[at] == PathState::Wanted)
            .collect()
    }

    /// A path was downloaded and verified.
    pub(crate) fn staged(&mut self, at: usize) {
        if self.states[at] == PathState::Wanted {
            self.states[at] = PathState::Staged;
            self.sort(at);
        }
    }

    /// Whether everything that a path refers to is valid.
    pub(crate) fn is_ready(&self, at: usize) -> bool {
        self.waiting[at] == 0
    }

    /// Takes a path that can be imported now, or begun. Whoever imports it waits only for those who
    /// began before, so nobody waits for ever.
    pub(crate) fn take(&mut self) -> Next {
        if self.left == 0 {
            return Next::Done;
        }
        let Some(at) = self.ready.pop_first().or_else(|| self.early.pop_first()) else {
            return Next::Wait;
        };
        self.states[at] = PathState::Importing;
        for place in 0..self.referrers[at].len() {
            let referrer = self.referrers[at][place] as usize;
            self.blocked[referrer] -= 1;
            self.sort(referrer);
        }
        Next::Import(at)
    }

    /// A path that was taken is valid in the store.
    pub(crate) fn imported(&mut self, at: usize) {
        self.states[at] = PathState::Valid;
        self.left -= 1;
        for referrer in std::mem::take(&mut self.referrers[at]) {
            let referrer = referrer as usize;
            self.waiting[referrer] -= 1;
            self.sort(referrer);
        }
    }

    /// Puts a staged path where it belongs now.
    fn sort(&mut self, at: usize) {
        if self.states[at] != PathState::Staged {
        } else if self.waiting[at] == 0 {
            self.early.remove(&at);
            self.ready.insert(at);
        } else if self.blocked[at] == 0 {
            self.early.insert(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use surefoot_core::{
        Sha256,
        closure::{Compression, Download, PathInfo, SPEC},
    };

    /// Every edge goes from a later path to an earlier one, or to itself.
    fn index(count: usize, edges: &[(usize, usize)]) -> ClosureIndex {
        let path = |n: usize| StorePath::from_base_name(&format!("{n:032}-p")).unwrap();
        let paths = (0..count).map(|n| PathInfo {
            path: path(n),
            nar_hash: Sha256([0; 32]),
            nar_size: 1,
            references: edges
                .iter()
                .map(|&(a, b)| (a.max(b), a.min(b)))
                .filter(|&(a, b)| a == n && a < count && b <= a)
                .map(|(_, b)| path(b))
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            deriver: None,
            signatures: vec![],
            ca: None,
            download: Download {
                url: "x".into(),
                compression: Compression::None.into(),
                file_hash: None,
                file_size: None,
            },
            deltas: vec![],
        });
        ClosureIndex {
            spec: SPEC,
            toplevel: path(count - 1),
            caches: vec![],
            paths: paths.collect(),
        }
    }

    #[test]
    fn a_path_begins_beside_what_it_refers_to() {
        let index = index(4, &[(1, 0), (2, 1), (2, 0), (2, 2)]);
        let mut scheduler = Scheduler::new(&index, &HashSet::new());
        assert_eq!(scheduler.wanted(), [0, 1, 2, 3]);
        scheduler.staged(2);
        scheduler.staged(1);
        assert_eq!(scheduler.take(), Next::Wait, "nothing is under way");
        scheduler.staged(0);
        assert_eq!(scheduler.take(), Next::Import(0));
        assert_eq!(scheduler.take(), Next::Import(1));
        assert!(scheduler.is_ready(0) && !scheduler.is_ready(1));
        scheduler.staged(3);
        assert_eq!(
            scheduler.take(),
            Next::Import(3),
            "what is ready goes first"
        );
        assert_eq!(scheduler.take(), Next::Import(2));
        assert_eq!(scheduler.take(), Next::Wait);
        for at in [0, 1, 3] {
            scheduler.imported(at);
        }
        assert!(scheduler.is_ready(2));
        assert_eq!(scheduler.take(), Next::Wait);
        scheduler.imported(2);
        assert_eq!(scheduler.take(), Next::Done);
    }

    proptest! {
        #[test]
        fn every_path_goes_once_and_after_its_references(
            count in 1usize..40,
            edges in proptest::collection::vec((0usize..40, 0usize..40), 0..120),
            present in proptest::collection::vec(any::<bool>(), 40),
            choices in proptest::collection::vec(any::<u16>(), 400),
        ) {
            let index = index(count, &edges);
            // A store is closed under references: keep a path only if it has all of them.
            let mut valid = HashSet::new();
            for (at, info) in index.paths.iter().enumerate() {
                let whole = info.references.iter().all(|r| *r == info.path || valid.contains(r));
                if present[at] && whole {
                    valid.insert(info.path.clone());
                }
            }
            let mut scheduler = Scheduler::new(&index, &valid);
            let mut wanted = scheduler.wanted();
            prop_assert_eq!(wanted.len() + valid.len(), count);
            // Three importers and a downloader, in any order.
            let mut lanes: [Option<usize>; 3] = [None; 3];
            let mut choices = choices.into_iter().cycle();
            let mut idle = 0;
            loop {
                let choice = choices.next().unwrap() as usize;
                if choice % 5 < 2 && !wanted.is_empty() {
                    scheduler.staged(wanted.remove(choice % wanted.len()));
                    continue;
                }
                let lane = &mut lanes[choice % 3];
                match *lane {
                    // Its end is held back.
                    Some(at) if !scheduler.is_ready(at) => idle += 1,
                    Some(at) => {
                        let info = &index.paths[at];
                        let whole = |r: &StorePath| *r == info.path || valid.contains(r);
                        prop_assert!(info.references.iter().all(whole), "too early");
                        prop_assert!(valid.insert(info.path.clone()), "twice");
                        scheduler.imported(at);
                        *lane = None;
                    }
                    None => match scheduler.take() {
                        Next::Done => break,
                        Next::Wait => idle += 1,
                        Next::Import(at) => *lane = Some(at),
                    },
                }
                prop_assert!(idle < 10_000, "stuck");
            }
            prop_assert_eq!(valid.len(), count);
        }
    }
}
