//! Which path of an older closure a new one is made from.

use std::collections::{BTreeMap, HashMap, HashSet};
use surefoot_core::{
    StorePath,
    closure::{ClosureIndex, PathInfo},
    package,
};

/// Smaller files are not worth a delta, bytes: its header and its place in the index are not free.
const LEAST: u64 = 1 << 10;

/// For each path of `new` that robots with one of the old closures lack, by its place, the paths that it may
/// be made from: at most one of each old closure.
pub(super) fn pairs<'a>(
    new: &ClosureIndex,
    old: &'a [ClosureIndex],
) -> BTreeMap<usize, Vec<&'a PathInfo>> {
    let has: HashSet<&StorePath> = new.paths.iter().map(|info| &info.path).collect();
    let mut pairs: BTreeMap<usize, Vec<&PathInfo>> = BTreeMap::new();
    for closure in old {
        let had: HashSet<&StorePath> = closure.paths.iter().map(|info| &info.path).collect();
        let gone = Gone::new(
            closure
                .paths
                .iter()
                .filter(|info| !has.contains(&info.path)),
        );
        for (at, info) in new.paths.iter().enumerate() {
            let small = info.download.size(info.nar_size) < LEAST;
            if small || had.contains(&info.path) {
                continue;
            }
            // Systems may be called after anything.
            let system = || {
                let it = closure
                    .paths
                    .iter()
                    .find(|one| one.path == closure.toplevel);
                it.filter(|_| info.path == new.toplevel)
            };
            if let Some(base) = gone.like(info).or_else(system) {
                let bases = pairs.entry(at).or_default();
                if !bases.iter().any(|one| one.path == base.path) {
                    bases.push(base);
                }
            }
        }
    }
    pairs
}

/// Paths that only the older closure has, by what their names say.
struct Gone<'a> {
    by: [HashMap<String, Vec<&'a PathInfo>>; 3],
}

impl<'a> Gone<'a> {
    fn new(paths: impl Iterator<Item = &'a PathInfo>) -> Self {
        let mut by: [HashMap<String, Vec<_>>; 3] = Default::default();
        for info in paths {
            for (by, name) in by.iter_mut().zip(names(&info.path)) {
                by.entry(name).or_default().push(info);
            }
        }
        Self { by }
    }

    /// The one whose name is most like this one's; of several the one nearest in size.
    fn like(&self, info: &PathInfo) -> Option<&'a PathInfo> {
        let named = self.by.iter().zip(names(&info.path));
        let mut found = named.filter_map(|(by, name)| by.get(&name));
        let candidates = found.next()?.iter().copied();
        candidates.min_by_key(|one| (one.nar_size.abs_diff(info.nar_size), one.path.base_name()))
    }
}

/// A name as it is; without its version; without any digit.
fn names(path: &StorePath) -> [String; 3] {
    let (package, version) = package::split(path.name());
    // `glibc-2.40-66-bin` and `glibc-2.40-66` are not the same.
    let output = version.rsplit('-').next().unwrap_or_default();
    let output = if output.starts_with(|c: char| c.is_ascii_alphabetic()) {
        output
    } else {
        ""
    };
    let plain = path.name().chars().filter(|c| !c.is_ascii_digit());
    [
        path.name().to_owned(),
        format!("{package}-{output}"),
        plain.collect(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::index;

    #[test]
    fn a_path_is_made_from_the_one_of_its_name_in_each_older_closure() {
        let old = [
            index(&[
                ('a', "glibc-2.40-66", 9000),
                ('b', "glibc-2.40-66-bin", 5000),
                ('c', "python3.11-numpy-1.0", 7000),
                ('d', "etc", 2000),
                ('f', "etc", 8000),
                ('g', "same", 4000),
                ('p', "system-of-may", 9000),
            ]),
            index(&[
                ('a', "glibc-2.40-66", 9000),
                ('h', "glibc-2.39-5-bin", 5000),
                ('q', "system-of-june", 9000),
            ]),
        ];
        let new = index(&[
            ('i', "glibc-2.41-1", 9000),
            ('j', "glibc-2.41-1-bin", 5000),
            ('k', "python3.12-numpy-1.1", 7000),
            ('l', "etc", 7500),
            ('g', "same", 4000),
            ('m', "tiny-1", 10),
            ('n', "brand-new", 9000),
            ('r', "system-of-july", 9000),
        ]);
        let found: Vec<String> = pairs(&new, &old)
            .into_iter()
            .map(|(at, bases)| {
                let letter = |path: &StorePath| path.base_name()[..1].to_owned();
                let bases: String = bases.iter().map(|info| letter(&info.path)).collect();
                format!("{}<{bases}", letter(&new.paths[at].path))
            })
            .collect();
        // What both older ones have the same is one base; `same` need not come to who has the first.
        assert_eq!(found, ["i<a", "j<bh", "k<c", "l<f", "r<pq"]);
    }
}
