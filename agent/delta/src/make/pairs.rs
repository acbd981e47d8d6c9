//! Which file of the base a new file was made from.

use super::contents::Contents;
use crate::read_at::ReadAt;
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    io,
};

/// How many letters the hash in a store path has.
const STORE_HASH: usize = 32;
/// The hashes that stand for a file whose contents are compared: the smallest of all.
const SKETCH: usize = 64;
/// As many hashes must be the same before two files count as versions of one.
const ALIKE: usize = 4;
/// What hashes are taken of, bytes.
const WINDOW: usize = 24;
/// Files below this size are not compared by their contents, bytes.
const MIN_SKETCHED: u64 = 4 << 10;

/// For each new file, the file of the base that it is to be compared with: of the same path, the same
/// contents, a path that differs in numbers alone, the same name, or mostly the same contents.
pub(crate) fn pairs(
    base: &dyn ReadAt,
    old: &[Contents],
    new_bytes: &dyn ReadAt,
    new: &[Contents],
) -> io::Result<Vec<Option<usize>>> {
    let mut pairs = vec![None; new.len()];
    by_key(&mut pairs, old, new, |file| without_hashes(&file.path));
    let sizes: BTreeSet<u64> = pairs
        .iter()
        .zip(new)
        .filter(|(pair, _)| pair.is_none())
        .map(|(_, file)| size(file))
        .collect();
    let same: HashMap<_, _> = (0..)
        .zip(old)
        .filter(|(_, file)| sizes.contains(&size(file)))
        .map(|(index, file)| Ok((digest(base, file)?, index)))
        .collect::<io::Result<_>>()?;
    for (pair, file) in pairs.iter_mut().zip(new) {
        if pair.is_none() {
            *pair = same.get(&digest(new_bytes, file)?).copied();
        }
    }
    by_key(&mut pairs, old, new, |file| {
        without_numbers(&without_hashes(&file.path))
    });
    by_key(&mut pairs, old, new, |file| {
        let name = file.path.rsplit(|byte| *byte == b'/').next();
        without_numbers(&without_hashes(name.unwrap_or_default()))
    });
    by_sketch(&mut pairs, base, old, new_bytes, new)?;
    Ok(pairs)
}

fn size(file: &Contents) -> u64 {
    file.at.end - file.at.start
}

/// Pairs what has no pair yet with the file of the same key whose size is nearest.
fn by_key<K: Eq + Hash>(
    pairs: &mut [Option<usize>],
    old: &[Contents],
    new: &[Contents],
    key: impl Fn(&Contents) -> K,
) {
    if pairs.iter().all(Option::is_some) {
        return;
    }
    let mut known: HashMap<K, Vec<usize>> = HashMap::new();
    for (index, file) in old.iter().enumerate() {
        known.entry(key(file)).or_default().push(index);
    }
    for (pair, file) in pairs.iter_mut().zip(new) {
        if pair.is_none()
            && let Some(all) = known.get(&key(file))
        {
            *pair = all
                .iter()
                .copied()
                .min_by_key(|index| size(&old[*index]).abs_diff(size(file)));
        }
    }
}

/// Pairs what has no pair yet with the file of the base that shares most of its contents.
fn by_sketch(
    pairs: &mut [Option<usize>],
    base: &dyn ReadAt,
    old: &[Contents],
    new_bytes: &dyn ReadAt,
    new: &[Contents],
) -> io::Result<()> {
    let worth = |file: &Contents| size(file) >= MIN_SKETCHED;
    let mut open = pairs
        .iter_mut()
        .zip(new)
        .filter(|(pair, file)| pair.is_none() && worth(file));
    let Some(first) = open.next() else {
        return Ok(());
    };
    let mut holds: HashMap<u64, Vec<usize>> = HashMap::new();
    for (index, file) in old.iter().enumerate().filter(|(_, file)| worth(file)) {
        for hash in sketch(base, file)? {
            holds.entry(hash).or_default().push(index);
        }
    }
    for (pair, file) in std::iter::once(first).chain(open) {
        let mut shared: HashMap<usize, usize> = HashMap::new();
        for hash in sketch(new_bytes, file)? {
            for index in holds.get(&hash).into_iter().flatten() {
                *shared.entry(*index).or_default() += 1;
            }
        }
        *pair = shared
            .into_iter()
            .filter(|(_, count)| *count >= ALIKE)
            .max_by_key(|(index, count)| (*count, std::cmp::Reverse(*index)))
            .map(|(index, _)| index);
    }
    Ok(())
}

/// The smallest hashes of all places of a file.
fn sketch(of: &dyn ReadAt, file: &Contents) -> io::Result<BTreeSet<u64>> {
    let bytes = read(of, file)?;
    let mut smallest = BTreeSet::new();
    for window in bytes.windows(WINDOW).step_by(1) {
        // FNV-1a over four words: cheap, and good enough to choose by.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for word in window.as_chunks::<8>().0 {
            hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 29;
        }
        if smallest.len() < SKETCH {
            smallest.insert(hash);
        } else if smallest.last().is_some_and(|last| hash < *last) && smallest.insert(hash) {
            smallest.pop_last();
        }
    }
    Ok(smallest)
}

fn digest(of: &dyn ReadAt, file: &Contents) -> io::Result<[u8; 32]> {
    Ok(Sha256::digest(read(of, file)?).into())
}

fn read(of: &dyn ReadAt, file: &Contents) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; size(file) as usize];
    of.read_exact_at(&mut bytes, file.at.start)?;
    Ok(bytes)
}

/// With the hashes of store paths left out: another hash is not a difference.
fn without_hashes(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut from = 0;
    while from < path.len() {
        let word = path[from..]
            .iter()
            .take_while(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            .count();
        if word == STORE_HASH && path.get(from + word) == Some(&b'-') {
            from += word;
        } else {
            let end = (from + word.max(1)).min(path.len());
            out.extend_from_slice(&path[from..end]);
            from = end;
        }
    }
    out
}

/// With one `0` for each run of digits and dots: another version is not a difference.
fn without_numbers(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for byte in path {
        match byte {
            b'0'..=b'9' if out.last() == Some(&b'0') => {}
            b'0'..=b'9' => {
                if out.ends_with(b"0.") {
                    out.pop();
                } else {
                    out.push(b'0');
                }
            }
            _ => out.push(*byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(files: &[(&str, &[u8])]) -> (Vec<u8>, Vec<Contents>) {
        let (mut bytes, mut all) = (Vec::new(), Vec::new());
        for (path, contents) in files {
            let at = bytes.len() as u64;
            bytes.extend_from_slice(contents);
            all.push(Contents {
                at: at..bytes.len() as u64,
                path: path.as_bytes().to_vec(),
            });
        }
        (bytes, all)
    }

    #[test]
    fn a_file_is_found_by_path_by_contents_and_by_name() {
        let long: Vec<u8> = (0..20_000_u32)
            .flat_map(|n| (n * n).to_le_bytes())
            .collect();
        let mut changed = long.clone();
        changed[5000] ^= 1;
        changed.extend_from_slice(b"more");
        let (old_bytes, old) = laid(&[
            ("etc/0123456789abcdfghijklmnpqrsvwxyz-unit/x", b"one"),
            ("lib/libx.so.1.2", b"two"),
            ("share/moved", b"the same"),
            ("share/renamed", &long),
            ("doc/other", b"other"),
        ]);
        let (new_bytes, new) = laid(&[
            ("etc/zyxwvsrqpnmlkjihgfdcba9876543210-unit/x", b"1"),
            ("lib/libx.so.1.10.3", b"2"),
            ("elsewhere/name", b"the same"),
            ("var/so-called", &changed),
            ("else/other", b"another"),
            ("nothing", b"like it"),
        ]);
        let pairs = pairs(&old_bytes, &old, &new_bytes, &new).unwrap();
        assert_eq!(pairs, [Some(0), Some(1), Some(2), Some(3), Some(4), None]);
    }

    #[test]
    fn numbers_and_hashes_are_no_difference() {
        assert_eq!(without_numbers(b"a-1.22.333-b4"), b"a-0-b0");
        assert_eq!(without_numbers(b"a-0-b9.x"), b"a-0-b0.x");
        let path = b"0123456789abcdfghijklmnpqrsvwxyz-a/0123-b";
        assert_eq!(without_hashes(path), b"-a/0123-b");
        assert_eq!(without_hashes(b"short-a"), b"short-a");
    }
}
