//! Which path of a closure comes as a delta instead of a NAR, and which deltas are not tried again.

use crate::{
    Sha256, StorePath,
    closure::{ClosureIndex, Delta, PathInfo},
};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// What is remembered of deltas that did not do, each kind; then the oldest goes.
const MAX_REMEMBERED: usize = 256;
/// A delta that could not be brought so often, though it was asked for properly, is left alone: else one that
/// a server never gives would keep an update away.
const MAX_FAILURES: u8 = 5;
/// After so many deltas in one fetch that did not do, none of its system is tried any more: then something is
/// wrong with all of them.
pub const MAX_BAD: u32 = 3;

/// What a robot can do with deltas.
#[derive(Debug)]
pub struct Means<'a> {
    /// Memory that one may take, bytes.
    pub memory: u64,
    /// What it knows to decode.
    pub codecs: &'a [&'a str],
    /// What lies in the store, is what it should be, and stays.
    pub bases: &'a HashSet<StorePath>,
    /// What did not do before.
    pub given_up: &'a GivenUp,
}

/// The delta that costs least of those that this robot can use, if it costs less than the rest of the NAR's
/// file. `nar_left`: bytes of that which are still to come; `left` says the same of a delta. Once one of a path did
/// not do, no other of it is paid as well.
pub fn choose<'a>(
    info: &'a PathInfo,
    means: &Means<'_>,
    nar_left: u64,
    left: impl Fn(&Delta) -> u64,
) -> Option<&'a Delta> {
    if info.deltas.iter().any(|it| means.given_up.has(&it.sha256)) {
        return None;
    }
    let costs = (info.deltas.iter())
        .filter(|delta| is_usable(delta, means))
        .map(|delta| (left(delta), delta));
    let (bytes, delta) = costs.min_by_key(|(bytes, delta)| (*bytes, delta.size))?;
    (bytes < nar_left).then_some(delta)
}

/// What a robot downloads that has these paths and can use every delta of them, or none, bytes.
#[must_use]
pub fn download_bytes(index: &ClosureIndex, has: &HashSet<&StorePath>, deltas: bool) -> u64 {
    let missing = index.paths.iter().filter(|info| !has.contains(&info.path));
    let cost = |info: &PathInfo| {
        let usable = info.deltas.iter();
        let usable = usable.filter(|delta| deltas && has.contains(&delta.base));
        let least = usable.map(|delta| delta.size).min().unwrap_or(u64::MAX);
        least.min(info.download.size(info.nar_size))
    };
    missing.map(cost).fold(0, u64::saturating_add)
}

/// Whether a robot can use a delta, as far as is known before it came.
fn is_usable(delta: &Delta, means: &Means<'_>) -> bool {
    delta.memory <= means.memory
        && means.codecs.contains(&&*delta.codec)
        && means.bases.contains(&delta.base)
}

/// Deltas that did not do: over restarts, at most one delta and one NAR are paid for a path.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GivenUp {
    deltas: Vec<Failed>,
    /// Systems of which none is tried.
    systems: Vec<StorePath>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Failed {
    sha256: Sha256,
    failures: u8,
}

impl GivenUp {
    /// Whether a delta is left alone.
    #[must_use]
    pub fn has(&self, delta: &Sha256) -> bool {
        let failed = self.deltas.iter().find(|one| one.sha256 == *delta);
        failed.is_some_and(|one| one.failures >= MAX_FAILURES)
    }

    /// Whether all deltas of a system are left alone.
    #[must_use]
    pub fn has_system(&self, toplevel: &StorePath) -> bool {
        self.systems.contains(toplevel)
    }

    /// A delta could not be brought now; later it may.
    pub fn failed(&mut self, delta: Sha256) {
        self.count(delta, 1);
    }

    /// A delta is not what it should be.
    pub fn give_up(&mut self, delta: Sha256) {
        self.count(delta, MAX_FAILURES);
    }

    /// None of a system's are tried any more.
    pub fn give_up_system(&mut self, toplevel: StorePath) {
        if !self.has_system(&toplevel) {
            make_room(&mut self.systems);
            self.systems.push(toplevel);
        }
    }

    fn count(&mut self, delta: Sha256, failures: u8) {
        let at = self.deltas.iter().position(|one| one.sha256 == delta);
        let before = at.map_or(0, |at| self.deltas.remove(at).failures);
        make_room(&mut self.deltas);
        self.deltas.push(Failed {
            sha256: delta,
            failures: before.saturating_add(failures),
        });
    }
}

fn make_room<T>(list: &mut Vec<T>) {
    let over = (list.len() + 1).saturating_sub(MAX_REMEMBERED);
    list.drain(..over);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::closure::{Compression, Download};

    fn path(n: u64) -> StorePath {
        StorePath::from_base_name(&format!("{n:032}-p")).expect("a path")
    }

    fn delta(n: u64, size: u64) -> Delta {
        Delta {
            base: path(n),
            base_nar_hash: Sha256([0; 32]),
            codec: "predict-1".into(),
            memory: 10,
            url: format!("deltas/{n}"),
            sha256: Sha256([n as u8; 32]),
            size,
        }
    }

    fn info(deltas: Vec<Delta>) -> PathInfo {
        PathInfo {
            path: path(99),
            nar_hash: Sha256([0; 32]),
            nar_size: 1000,
            references: vec![],
            deriver: None,
            signatures: vec![],
            ca: None,
            download: Download {
                url: "nar/x".into(),
                compression: Compression::Xz.into(),
                file_hash: None,
                file_size: Some(500),
            },
            deltas,
        }
    }

    #[test]
    fn the_cheapest_that_this_robot_can_use_is_taken() {
        let mut future = delta(5, 1);
        future.codec = "predict-9".into();
        let mut large = delta(2, 2);
        large.memory = 11;
        let info = info(vec![
            delta(1, 300),
            large,
            delta(3, 200),
            delta(4, 3),
            future,
        ]);
        let bases: HashSet<_> = [1, 2, 3, 5].map(path).into();
        let given_up = GivenUp::default();
        let means = Means {
            memory: 10,
            codecs: &["zstd-patch-1", "predict-1"],
            bases: &bases,
            given_up: &given_up,
        };
        let size = |delta: &Delta| delta.size;
        let chosen = |nar_left| choose(&info, &means, nar_left, size).map(|delta| delta.size);
        assert_eq!(chosen(500), Some(200));
        // What is left of the NAR is less.
        assert_eq!(chosen(200), None);
        // Most of another one has come already.
        let left = |delta: &Delta| if delta.size == 300 { 1 } else { delta.size };
        let taken = choose(&info, &means, 500, left).map(|delta| delta.size);
        assert_eq!(taken, Some(300));
        // One of the path did not do.
        let mut failed = GivenUp::default();
        failed.give_up(Sha256([4; 32]));
        let means = Means {
            given_up: &failed,
            ..means
        };
        assert_eq!(choose(&info, &means, 500, size), None);
    }

    #[test]
    fn a_robot_downloads_what_is_cheapest_for_it() {
        let index = ClosureIndex {
            spec: crate::closure::SPEC,
            toplevel: path(99),
            caches: vec![],
            paths: vec![info(vec![delta(1, 300), delta(2, 100), delta(3, 900)])],
        };
        let bytes = |has: &[u64], deltas| {
            let has: Vec<StorePath> = has.iter().copied().map(path).collect();
            download_bytes(&index, &has.iter().collect(), deltas)
        };
        assert_eq!(bytes(&[1, 2, 3], true), 100);
        assert_eq!(bytes(&[1, 3], true), 300);
        assert_eq!(bytes(&[3], true), 500, "the NAR is smaller");
        assert_eq!(bytes(&[1, 2, 3], false), 500);
        assert_eq!(bytes(&[99], true), 0);
    }

    #[test]
    fn what_does_not_do_is_left_alone_and_what_does_not_come_after_a_while() {
        let mut given_up = GivenUp::default();
        let (wrong, late) = (Sha256([1; 32]), Sha256([2; 32]));
        given_up.give_up(wrong);
        for _ in 0..MAX_FAILURES {
            assert!(given_up.has(&wrong) && !given_up.has(&late));
            given_up.failed(late);
        }
        assert!(given_up.has(&late));
        given_up.give_up_system(path(1));
        given_up.give_up_system(path(1));
        assert!(given_up.has_system(&path(1)) && !given_up.has_system(&path(2)));
        let text = serde_json::to_string(&given_up).expect("JSON");
        assert_eq!(
            serde_json::from_str::<GivenUp>(&text).expect("JSON"),
            given_up
        );
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes() {
        let mut given_up = GivenUp::default();
        let digest = |n: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&(n as u64).to_le_bytes());
            Sha256(bytes)
        };
        for n in 0..=MAX_REMEMBERED {
            given_up.give_up(digest(n));
            given_up.give_up_system(path(n as u64));
        }
        assert_eq!(given_up.deltas.len(), MAX_REMEMBERED);
        assert_eq!(given_up.systems.len(), MAX_REMEMBERED);
        assert!(!given_up.has(&digest(0)) && given_up.has(&digest(MAX_REMEMBERED)));
        assert!(!given_up.has_system(&path(0)));
    }
}
