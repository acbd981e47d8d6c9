//! Which file is fetched next.

use super::budget::StagingBudget;
use std::collections::BTreeSet;
use surefoot_core::closure::{ClosureIndex, PathInfo};

/// Files below this size are not worth fetching ahead, bytes: they are through before a new
/// connection has come up to speed.
const LONG: u64 = 128 << 10;

/// Files that wait for their download.
///
/// Their turn is the order of the index, references before referrers, so that what came can be
/// imported. But one connection in four takes the largest file first: a long one that begins last
/// would end long after all others.
#[derive(Debug)]
pub(crate) struct DownloadOrder {
    /// Places in the index.
    in_order: BTreeSet<usize>,
    /// Long files, the largest last.
    long: Vec<usize>,
    /// How many may be under way ahead of their turn.
    lanes: usize,
    ahead: BTreeSet<usize>,
}

/// One file to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextDownload {
    /// Its turn has come; it still needs room in staging.
    InOrder(usize),
    /// It goes ahead, and has its room.
    Ahead(usize),
}

impl DownloadOrder {
    /// All of `wanted`, places in the index, over so many connections.
    pub(crate) fn new(index: &ClosureIndex, wanted: &[usize], connections: usize) -> Self {
        let size = |at: &usize| size(&index.paths[*at]);
        let mut long: Vec<usize> = wanted
            .iter()
            .copied()
            .filter(|at| size(at) >= LONG)
            .collect();
        long.sort_by_key(size);
        Self {
            in_order: wanted.iter().copied().collect(),
            long,
            lanes: connections / 4,
            ahead: BTreeSet::new(),
        }
    }

    /// The next one; `None` if all are under way.
    pub(crate) fn next(
        &mut self,
        index: &ClosureIndex,
        budget: &StagingBudget,
    ) -> Option<NextDownload> {
        if self.ahead.len() < self.lanes {
            while let Some(&at) = self.long.last() {
                if self.in_order.contains(&at) {
                    if !budget.take_ahead(at, &index.paths[at]) {
                        break;
                    }
                    self.in_order.remove(&at);
                    self.ahead.insert(at);
                    self.long.pop();
                    return Some(NextDownload::Ahead(at));
                }
                self.long.pop();
            }
        }
        self.in_order.pop_first().map(NextDownload::InOrder)
    }

    /// A download has ended.
    pub(crate) fn done(&mut self, at: usize) {
        self.ahead.remove(&at);
    }
}

fn size(info: &PathInfo) -> u64 {
    info.download.size(info.nar_size)
}

#[cfg(test)]
mod tests {
    use super::NextDownload::{Ahead, InOrder};
    use super::*;
    use futures_util::FutureExt;
    use proptest::prelude::*;
    use surefoot_core::{
        Sha256, StorePath,
        closure::{Compression, Download, SPEC},
    };

    fn index(sizes: &[u64]) -> ClosureIndex {
        let paths = sizes.iter().enumerate().map(|(n, &nar_size)| PathInfo {
            path: StorePath::from_base_name(&format!("{n:032}-p")).unwrap(),
            nar_hash: Sha256([0; 32]),
            nar_size,
            references: vec![],
            deriver: None,
            signatures: vec![],
            ca: None,
            download: Download {
                url: "nar/x".into(),
                compression: Compression::None.into(),
                file_hash: None,
                file_size: Some(nar_size),
            },
            deltas: vec![],
        });
        let paths: Vec<_> = paths.collect();
        ClosureIndex {
            spec: SPEC,
            toplevel: paths[0].path.clone(),
            caches: vec![],
            paths,
        }
    }

    #[test]
    fn one_connection_in_four_goes_ahead_with_the_largest() {
        let index = index(&[1, LONG, 3 * LONG, 2 * LONG, 1]);
        let budget = StagingBudget::new(64 * LONG);
        let mut order = DownloadOrder::new(&index, &[0, 1, 2, 3, 4], 4);
        assert_eq!(order.next(&index, &budget), Some(Ahead(2)));
        assert_eq!(order.next(&index, &budget), Some(InOrder(0)));
        assert_eq!(order.next(&index, &budget), Some(InOrder(1)));
        order.done(2);
        assert_eq!(order.next(&index, &budget), Some(Ahead(3)));
        assert_eq!(order.next(&index, &budget), Some(InOrder(4)));
        assert_eq!(order.next(&index, &budget), None);
    }

    #[test]
    fn nothing_goes_ahead_without_room_or_connections() {
        let index = index(&[1, 4 * LONG, 4 * LONG]);
        let budget = StagingBudget::new(8 * LONG);
        assert!(budget.take_ahead(1, &index.paths[1]));
        let mut order = DownloadOrder::new(&index, &[0, 2], 8);
        assert_eq!(order.next(&index, &budget), Some(InOrder(0)));
        budget.give(1, &index.paths[1]);
        assert_eq!(order.next(&index, &budget), Some(Ahead(2)));
        let mut order = DownloadOrder::new(&index, &[0, 1, 2], 3);
        for at in 0..3 {
            assert_eq!(order.next(&index, &budget), Some(InOrder(at)));
        }
    }

    proptest! {
        /// Downloads and imports in any order: what lies in staging keeps to the limit, but for files
        /// that are larger than a half of it, and all files get their turn.
        #[test]
        fn no_more_lies_in_staging_than_may(
            sizes in proptest::collection::vec(1u64..4 << 20, 1..30),
            limit in 2u64..8 << 20,
            choices in proptest::collection::vec(1..5, 1..50),
        ) {
            let index = index(&sizes);
            let every: Vec<usize> = (0..sizes.len()).collect();
            let (budget, mut order) = (StagingBudget::new(limit), DownloadOrder::new(&index, &every, 8));
            let (mut staged, mut imported) = (Vec::new(), 0);
            let mut waiting = None;
            let mut choices = choices.into_iter().cycle();
            while imported < sizes.len() {
                for _ in 0..choices.next().unwrap() {
                    match waiting.take().or_else(|| order.next(&index, &budget)) {
                        Some(Ahead(at)) => staged.push(at),
                        Some(InOrder(at)) if budget.take(&index.paths[at]).now_or_never().is_some() => {
                            staged.push(at);
                        }
                        other => waiting = other,
                    }
                }
                let half = u64::from(budget.limit) * 1024;
                let mut all: Vec<u64> = staged.iter().map(|&at| sizes[at]).collect();
                // One in its turn and one ahead of it may each be larger than its half.
                all.sort_unstable();
                let over = all.iter().rev().take(2).filter(|&&size| size > half).count();
                all.truncate(all.len() - over);
                let fit: u64 = all.iter().sum();
                prop_assert!(fit <= half * (2 - over as u64), "{all:?} in {limit}");
                // Nothing that came can wait for what did not: references come first.
                if let Some(first) = (0..staged.len()).min_by_key(|&place| staged[place]) {
                    let at = staged.swap_remove(first);
                    order.done(at);
                    budget.give(at, &index.paths[at]);
                    imported += 1;
                }
            }
        }
    }
}
