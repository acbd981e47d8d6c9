//! Which file is fetched next.

use crate::room::Room;
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
pub(crate) struct Queue {
    /// Places in the index.
    in_turn: BTreeSet<usize>,
    /// Long files, the largest last.
    long: Vec<usize>,
    /// How many may be under way ahead of their turn.
    lanes: usize,
    ahead: BTreeSet<usize>,
}

/// One file to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Its turn has come; it still needs room.
    Now(usize),
    /// It goes ahead, and has its room.
    Ahead(usize),
}

impl Queue {
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
            in_turn: wanted.iter().copied().collect(),
            long,
            lanes: connections / 4,
            ahead: BTreeSet::new(),
        }
    }

    /// The next one; `None` if all are under way.
    pub(crate) fn next(&mut self, index: &ClosureIndex, room: &Room) -> Option<Turn> {
        if self.ahead.len() < self.lanes {
            while let Some(&at) = self.long.last() {
                if self.in_turn.contains(&at) {
                    if !room.take_ahead(at, &index.paths[at]) {
                        break;
                    }
                    self.in_turn.remove(&at);
                    self.ahead.insert(at);
                    self.long.pop();
                    return Some(Turn::Ahead(at));
                }
                self.long.pop();
            }
        }
        self.in_turn.pop_first().map(Turn::Now)
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
pub(crate) mod tests {
    use super::*;
    use surefoot_core::{
        Sha256, StorePath,
        closure::{Compression, Download, SPEC},
    };

    pub(crate) fn index(sizes: &[u64]) -> ClosureIndex {
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
                compression: Compression::None,
                file_hash: None,
                file_size: Some(nar_size),
            },
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
        use Turn::{Ahead, Now};
        let index = index(&[1, LONG, 3 * LONG, 2 * LONG, 1]);
        let room = Room::new(64 * LONG);
        let mut queue = Queue::new(&index, &[0, 1, 2, 3, 4], 4);
        assert_eq!(queue.next(&index, &room), Some(Ahead(2)));
        assert_eq!(queue.next(&index, &room), Some(Now(0)));
        assert_eq!(queue.next(&index, &room), Some(Now(1)));
        queue.done(2);
        assert_eq!(queue.next(&index, &room), Some(Ahead(3)));
        assert_eq!(queue.next(&index, &room), Some(Now(4)));
        assert_eq!(queue.next(&index, &room), None);
    }

    #[test]
    fn nothing_goes_ahead_without_room_or_connections() {
        let index = index(&[1, 4 * LONG, 4 * LONG]);
        let room = Room::new(8 * LONG);
        assert!(room.take_ahead(1, &index.paths[1]));
        let mut queue = Queue::new(&index, &[0, 2], 8);
        assert_eq!(queue.next(&index, &room), Some(Turn::Now(0)));
        room.give(1, &index.paths[1]);
        assert_eq!(queue.next(&index, &room), Some(Turn::Ahead(2)));
        let mut queue = Queue::new(&index, &[0, 1, 2], 3);
        for at in 0..3 {
            assert_eq!(queue.next(&index, &room), Some(Turn::Now(at)));
        }
    }
}
