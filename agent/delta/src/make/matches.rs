//! What of the new bytes is like something in the old ones: the search of bsdiff (C. Percival, "Naive
//! differences of executable code", 2003) over a suffix array.

/// A new match must be so many bytes better than going on with the last one.
const BETTER: usize = 8;

/// A part of the new bytes that is like a part of the old ones, and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match {
    /// Where it begins in the old bytes.
    pub(crate) old: usize,
    /// Where it begins in the new ones.
    pub(crate) new: usize,
    /// How long it is. Most bytes are the same.
    pub(crate) size: usize,
    /// Bytes after it that are like nothing.
    pub(crate) literals: usize,
}

/// Covers the new bytes with matches and what follows them, in order; at most 2 GiB of old ones.
pub(crate) fn matches(old: &[u8], new: &[u8]) -> Vec<Match> {
    let mut suffixes = vec![0; old.len()];
    divsufsort::sort_in_place(old, &mut suffixes);
    let same =
        |new_at: usize, shift: usize| old.get(new_at.wrapping_add(shift)) == Some(&new[new_at]);
    let mut found = Vec::new();
    // The last match, which may still grow forwards; `shift` from new to old, wrapping.
    let (mut last_new, mut last_old, mut shift) = (0_usize, 0_usize, 0_usize);
    let (mut at, mut size, mut old_at) = (0, 0, 0);
    while at < new.len() {
        // As many bytes from here on go with the last match, too.
        let mut score = 0;
        at += size;
        let mut counted = at;
        while at < new.len() {
            (old_at, size) = longest(old, &suffixes, &new[at..]);
            while counted < at + size {
                score += usize::from(same(counted, shift));
                counted += 1;
            }
            if (size == score && size != 0) || size > score + BETTER {
                break;
            }
            score -= usize::from(same(at, shift));
            at += 1;
        }
        if size == score && at < new.len() {
            continue;
        }
        let mut forwards = grown((last_new..at).map_while(|place| {
            let before = last_old + (place - last_new);
            (before < old.len()).then(|| old[before] == new[place])
        }));
        let mut backwards = 0;
        if at < new.len() {
            let most = (at - last_new).min(old_at);
            backwards = grown((1..=most).map(|back| old[old_at - back] == new[at - back]));
        }
        let overlap = (last_new + forwards).saturating_sub(at - backwards);
        if overlap > 0 {
            // Each byte goes where it is the same.
            let (mut best, mut kept, mut balance) = (0, 0, 0_isize);
            for index in 0..overlap {
                let first = forwards - overlap + index;
                balance += isize::from(new[last_new + first] == old[last_old + first]);
                let second = backwards - index;
                balance -= isize::from(new[at - second] == old[old_at - second]);
                if balance > best {
                    best = balance;
                    kept = index + 1;
                }
            }
            forwards = forwards + kept - overlap;
            backwards -= kept;
        }
        found.push(Match {
            old: last_old,
            new: last_new,
            size: forwards,
            literals: (at - backwards) - (last_new + forwards),
        });
        if at < new.len() {
            last_new = at - backwards;
            last_old = old_at - backwards;
            shift = old_at.wrapping_sub(at);
        }
    }
    found.retain(|found| found.size + found.literals > 0);
    found
}

/// How far it is worth going: where the bytes that are the same lead most over those that are not.
fn grown(same: impl Iterator<Item = bool>) -> usize {
    let (mut lead, mut best, mut best_at) = (0_isize, 0, 0);
    for (index, same) in same.enumerate() {
        lead += if same { 1 } else { -1 };
        if lead > best {
            best = lead;
            best_at = index + 1;
        }
    }
    best_at
}

/// Where in `old` the most of what `new` begins with is, and how much that is.
fn longest(old: &[u8], suffixes: &[i32], new: &[u8]) -> (usize, usize) {
    let suffix = |index: usize| suffixes[index] as usize;
    let common = |index: usize| {
        let pairs = old[suffix(index)..].iter().zip(new);
        pairs.take_while(|(old, new)| old == new).count()
    };
    // The first suffix that is not below.
    let (mut low, mut high) = (0, suffixes.len());
    // What those below and above have in common with it at least.
    let (mut low_common, mut high_common) = (0, 0);
    while low < high {
        let middle = low + (high - low) / 2;
        let known = low_common.min(high_common);
        let there = &old[suffix(middle) + known..];
        let more = there
            .iter()
            .zip(&new[known..])
            .take_while(|(old, new)| old == new)
            .count();
        let shared = known + more;
        if there.get(more) < new.get(shared) {
            low = middle + 1;
            low_common = shared;
        } else {
            high = middle;
            high_common = shared;
        }
    }
    let around = [
        low.checked_sub(1),
        Some(low).filter(|low| *low < suffixes.len()),
    ];
    let best = around
        .into_iter()
        .flatten()
        .max_by_key(|index| common(*index));
    best.map_or((0, 0), |index| (suffix(index), common(index)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_is_covered_in_order_and_the_longest_is_found(
            old in proptest::collection::vec(0..4_u8, 0..200),
            new in proptest::collection::vec(0..4_u8, 0..200),
        ) {
            let mut at = 0;
            for found in matches(&old, &new) {
                prop_assert_eq!(found.new, at);
                prop_assert!(found.old + found.size <= old.len());
                at += found.size + found.literals;
            }
            prop_assert_eq!(at, new.len());

            let mut suffixes = vec![0; old.len()];
            divsufsort::sort_in_place(&old, &mut suffixes);
            let (place, size) = longest(&old, &suffixes, &new);
            prop_assert_eq!(&old[place..place + size], &new[..size]);
            let above = new.get(..=size);
            prop_assert!(above.is_none_or(|above| !old.windows(size + 1).any(|w| w == above)));
        }
    }

    #[test]
    fn what_moved_is_one_match() {
        let old: Vec<u8> = (0..2000_u32).flat_map(|n| (n * n).to_be_bytes()).collect();
        let mut new = [&old[4000..], &[0xee; 10], &old[..4000]].concat();
        new[100] ^= 1;
        let found = matches(&old, &new);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(
            (found[0].old, found[0].size, found[0].literals),
            (4000, 4000, 10)
        );
        assert_eq!((found[1].old, found[1].size), (0, 4000));
    }
}
