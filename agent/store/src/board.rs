//! Which path may go into the store next: a path becomes valid once it is staged and everything
//! that it refers to is valid. A big one may be unpacked before, beside its references, as long as
//! its end is held back ([`Next::Early`]). Pure bookkeeping, no I/O.

use std::collections::{BTreeSet, HashMap, HashSet};
use surefoot_core::{StorePath, closure::ClosureIndex};

/// A batch ends once it has so many bytes of NARs: until it is imported, nothing that refers to it
/// can be imported beside it.
const BATCH_BYTES: u64 = 32 << 20;
/// A batch ends once it has so many paths.
const BATCH_PATHS: usize = 1024;
/// Paths of so many bytes of NAR are worth a stream of their own, where unpacking counts.
pub(crate) const BIG: u64 = 1 << 20;

/// The state of a fetch. Paths are named by their place in the index.
#[derive(Debug)]
pub(crate) struct Board {
    /// How many references of each path are not valid yet.
    waiting: Vec<u32>,
    /// Those of a big path that were not valid at the start.
    references: Vec<Vec<u32>>,
    referrers: Vec<Vec<u32>>,
    sizes: Vec<u64>,
    stages: Vec<Stage>,
    /// Staged, with all references valid.
    ready: BTreeSet<usize>,
    /// Staged and big, with references that are not valid yet.
    early: BTreeSet<usize>,
    left: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Wanted,
    Staged,
    Importing,
    Valid,
}

/// What an importer should do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Import these, in this order.
    Batch(Vec<usize>),
    /// Import this one, but hold back its end until [`Board::is_ready`]: what it refers to is being
    /// imported just now.
    Early(usize),
    /// Wait for a change.
    Wait,
    /// Every path is valid.
    Done,
}

impl Board {
    /// `index` must have been checked, `valid` says what the store has already.
    pub(crate) fn new(index: &ClosureIndex, valid: &HashSet<StorePath>) -> Self {
        let count = index.paths.len();
        let place: HashMap<&StorePath, usize> = index
            .paths
            .iter()
            .enumerate()
            .map(|(at, info)| (&info.path, at))
            .collect();
        let mut board = Self {
            waiting: vec![0; count],
            references: vec![Vec::new(); count],
            referrers: vec![Vec::new(); count],
            sizes: index.paths.iter().map(|info| info.nar_size).collect(),
            stages: vec![Stage::Wanted; count],
            ready: BTreeSet::new(),
            early: BTreeSet::new(),
            left: 0,
        };
        for (at, info) in index.paths.iter().enumerate() {
            if valid.contains(&info.path) {
                board.stages[at] = Stage::Valid;
                continue;
            }
            board.left += 1;
            for reference in &info.references {
                match place.get(reference) {
                    // A path may refer to itself.
                    Some(&target) if target != at && board.stages[target] != Stage::Valid => {
                        board.waiting[at] += 1;
                        board.referrers[target].push(at as u32);
                        if info.nar_size >= BIG {
                            board.references[at].push(target as u32);
                        }
                    }
                    _ => {}
                }
            }
        }
        board
    }

    /// The paths that must be fetched, references before referrers.
    pub(crate) fn wanted(&self) -> Vec<usize> {
        (0..self.stages.len())
            .filter(|&at| self.stages[at] == Stage::Wanted)
            .collect()
    }

    /// A path was downloaded and verified.
    pub(crate) fn staged(&mut self, at: usize) {
        if self.stages[at] == Stage::Wanted {
            self.stages[at] = Stage::Staged;
            if self.waiting[at] == 0 {
                self.ready.insert(at);
            } else if self.sizes[at] >= BIG {
                self.early.insert(at);
            }
        }
    }

    /// Whether everything that a path refers to is valid.
    pub(crate) fn is_ready(&self, at: usize) -> bool {
        self.waiting[at] == 0
    }

    /// A path whose missing references are all being imported. Whoever imports it waits only for
    /// those who began before, so nobody waits for ever.
    fn take_early(&mut self) -> Option<usize> {
        let under_way =
            |at: &u32| matches!(self.stages[*at as usize], Stage::Importing | Stage::Valid);
        let at = *(self.early.iter()).find(|&&at| self.references[at].iter().all(under_way))?;
        self.early.remove(&at);
        self.stages[at] = Stage::Importing;
        Some(at)
    }

    /// Takes a batch: paths that are ready, and staged ones that become so through this batch.
    /// With `min`, the first path has at least so many bytes, or there is no batch.
    pub(crate) fn take(&mut self, min: u64) -> Next {
        if self.left == 0 {
            return Next::Done;
        }
        let first = self.ready.iter().copied().find(|&at| self.sizes[at] >= min);
        let Some(first) = first else {
            return self.take_early().map_or(Next::Wait, Next::Early);
        };
        let mut batch = Vec::new();
        let mut bytes = 0u64;
        // References of later paths that this batch satisfies.
        let mut satisfied: HashMap<usize, u32> = HashMap::new();
        // Paths that only this batch makes ready.
        let mut unlocked: BTreeSet<usize> = BTreeSet::new();
        let mut next = Some(first);
        while let Some(at) = next {
            self.ready.remove(&at);
            self.early.remove(&at);
            unlocked.remove(&at);
            self.stages[at] = Stage::Importing;
            bytes = bytes.saturating_add(self.sizes[at]);
            batch.push(at);
            if bytes >= BATCH_BYTES || batch.len() >= BATCH_PATHS {
                break;
            }
            for &referrer in &self.referrers[at] {
                let referrer = referrer as usize;
                let done = satisfied.entry(referrer).or_default();
                *done += 1;
                if *done == self.waiting[referrer] && self.stages[referrer] == Stage::Staged {
                    unlocked.insert(referrer);
                }
            }
            next = self.ready.first().or(unlocked.first()).copied();
        }
        Next::Batch(batch)
    }

    /// A batch is valid in the store.
    pub(crate) fn imported(&mut self, batch: &[usize]) {
        for &at in batch {
            if self.stages[at] != Stage::Importing {
                continue;
            }
            self.stages[at] = Stage::Valid;
            self.left -= 1;
            for referrer in std::mem::take(&mut self.referrers[at]) {
                let referrer = referrer as usize;
                self.waiting[referrer] -= 1;
                if self.waiting[referrer] == 0 && self.stages[referrer] == Stage::Staged {
                    self.early.remove(&referrer);
                    self.ready.insert(referrer);
                }
            }
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
    fn index(sizes: &[u64], edges: &[(usize, usize)]) -> ClosureIndex {
        let path = |n: usize| StorePath::from_base_name(&format!("{n:032}-p")).unwrap();
        let paths = sizes.iter().enumerate().map(|(n, &nar_size)| PathInfo {
            path: path(n),
            nar_hash: Sha256([0; 32]),
            nar_size,
            references: edges
                .iter()
                .map(|&(a, b)| (a.max(b), a.min(b)))
                .filter(|&(a, b)| a == n && a < sizes.len() && b < sizes.len())
                .map(|(_, b)| path(b))
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            deriver: None,
            signatures: vec![],
            ca: None,
            download: Download {
                url: "x".into(),
                compression: Compression::None,
                file_hash: None,
                file_size: None,
            },
        });
        ClosureIndex {
            spec: SPEC,
            toplevel: path(sizes.len() - 1),
            caches: vec![],
            paths: paths.collect(),
        }
    }

    #[test]
    fn a_chain_goes_in_one_batch() {
        let index = index(&[1, 1, 1], &[(1, 0), (2, 1), (2, 2)]);
        let mut board = Board::new(&index, &HashSet::new());
        assert_eq!(board.wanted(), [0, 1, 2]);
        board.staged(2);
        board.staged(1);
        assert_eq!(board.take(0), Next::Wait);
        board.staged(0);
        assert_eq!(board.take(0), Next::Batch(vec![0, 1, 2]));
        assert_eq!(board.take(0), Next::Wait);
        board.imported(&[0, 1, 2]);
        assert_eq!(board.take(0), Next::Done);
    }

    #[test]
    fn a_big_one_begins_beside_what_it_refers_to() {
        let big = BATCH_BYTES;
        let index = index(&[big, big, big, 1], &[(1, 0), (2, 1), (2, 0), (3, 0)]);
        let mut board = Board::new(&index, &HashSet::new());
        for at in 1..4 {
            board.staged(at);
        }
        assert_eq!(board.take(0), Next::Wait, "nothing is under way");
        board.staged(0);
        assert_eq!(board.take(BIG), Next::Batch(vec![0]));
        assert_eq!(board.take(0), Next::Early(1));
        assert!(!board.is_ready(1));
        assert_eq!(board.take(0), Next::Early(2));
        assert_eq!(board.take(0), Next::Wait, "it is small");
        board.imported(&[0]);
        assert_eq!(board.take(0), Next::Batch(vec![3]));
        board.imported(&[3]);
        assert!(board.is_ready(1) && !board.is_ready(2));
        board.imported(&[1]);
        assert!(board.is_ready(2));
        board.imported(&[2]);
        assert_eq!(board.take(0), Next::Done);
    }

    #[test]
    fn big_ones_go_alone_and_can_be_asked_for() {
        let index = index(&[1, BATCH_BYTES, BATCH_BYTES, 1], &[(3, 1)]);
        let mut board = Board::new(&index, &HashSet::new());
        for at in 0..4 {
            board.staged(at);
        }
        assert_eq!(board.take(1 << 20), Next::Batch(vec![1]));
        assert_eq!(board.take(0), Next::Batch(vec![0, 2]));
        assert_eq!(board.take(0), Next::Wait);
        board.imported(&[1]);
        assert_eq!(board.take(0), Next::Batch(vec![3]));
        board.imported(&[0, 2]);
        board.imported(&[3]);
        assert_eq!(board.take(0), Next::Done);
    }

    proptest! {
        #[test]
        fn every_path_goes_once_and_after_its_references(
            sizes in proptest::collection::vec(0..2 * BATCH_BYTES, 1..40),
            edges in proptest::collection::vec((0usize..40, 0usize..40), 0..120),
            present in proptest::collection::vec(any::<bool>(), 40),
            choices in proptest::collection::vec(any::<u16>(), 400),
        ) {
            let index = index(&sizes, &edges);
            // A store is closed under references: keep a path only if it has all of them.
            let mut valid = HashSet::new();
            for (at, info) in index.paths.iter().enumerate() {
                let whole = info.references.iter().all(|r| *r == info.path || valid.contains(r));
                if present[at] && whole {
                    valid.insert(info.path.clone());
                }
            }
            let mut board = Board::new(&index, &valid);
            let mut wanted = board.wanted();
            prop_assert_eq!(wanted.len() + valid.len(), sizes.len());
            // Two importers and a downloader, in any order.
            let mut lanes: [Option<Vec<usize>>; 2] = [None, None];
            let mut choices = choices.into_iter().cycle();
            let mut idle = 0;
            loop {
                let choice = choices.next().unwrap() as usize;
                match choice % 4 {
                    0 | 1 if !wanted.is_empty() => board.staged(wanted.remove(choice % wanted.len())),
                    lane => {
                        let lane = lane % 2;
                        if let Some(batch) = lanes[lane].take() {
                            // One that began early waits for its references.
                            if !batch.iter().all(|&at| batch.len() > 1 || board.is_ready(at)) {
                                lanes[lane] = Some(batch);
                                idle += 1;
                                continue;
                            }
                            for &at in &batch {
                                let info = &index.paths[at];
                                let whole = |r: &StorePath| *r == info.path || valid.contains(r);
                                prop_assert!(info.references.iter().all(whole), "too early");
                                prop_assert!(valid.insert(index.paths[at].path.clone()), "twice");
                            }
                            board.imported(&batch);
                        } else {
                            match board.take(0) {
                                Next::Done => break,
                                Next::Wait => idle += 1,
                                Next::Batch(batch) => {
                                    let mut known = valid.clone();
                                    for &at in &batch {
                                        let info = &index.paths[at];
                                        known.insert(info.path.clone());
                                        prop_assert!(info.references.iter().all(|r| known.contains(r)));
                                    }
                                    lanes[lane] = Some(batch);
                                }
                                Next::Early(at) => lanes[lane] = Some(vec![at]),
                            }
                        }
                    }
                }
                prop_assert!(idle < 10_000, "stuck");
            }
            prop_assert_eq!(valid.len(), sizes.len());
        }
    }
}
