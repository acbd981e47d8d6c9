//! Every fuzz target over its seeds and some thousand mutants of them, always the same: what fits
//! into an ordinary test run. `tests/fuzz/run` looks further.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

use fastrand::Rng;
use std::{collections::BTreeSet, fs, path::Path};
use surefoot_fuzz::TARGETS;

/// Mutants of each target.
const MUTANTS: usize = 1_000;

/// Numbers, brackets and words that parsers stumble over.
const ODD: &[&[u8]] = &[
    b"",
    b"\0",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f\0\0\0\0",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"9223372036854775808",
    b"{\"a\":{\"a\":[[[",
    b"\"\\ud800\"",
    "\u{202e}\u{feff}\u{1f916}".as_bytes(),
    b"../",
    b"*?[!",
    b"null",
];

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(target);
    let mut paths: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// One change, or a few.
fn mutant(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[rng.usize(..seeds.len())].clone();
    for _ in 0..=rng.usize(..4) {
        let at = rng.usize(..=bytes.len());
        let end = (at + rng.usize(..=64)).min(bytes.len());
        match rng.u8(..7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(..8),
            1 if at < bytes.len() => bytes[at] = rng.u8(..),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let again = bytes[at..end].repeat(rng.usize(..40));
                bytes.splice(at..at, again);
            }
            5 => {
                let other = &seeds[rng.usize(..seeds.len())];
                bytes.truncate(at);
                bytes.extend_from_slice(&other[rng.usize(..=other.len())..]);
            }
            _ => drop(bytes.splice(at..at, ODD[rng.usize(..ODD.len())].iter().copied())),
        }
    }
    bytes
}

fn run(target: &str) {
    let (_, body) = TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let seeds = seeds(target);
    for seed in &seeds {
        body(seed);
    }
    body(b"");
    let mut rng = Rng::with_seed(0);
    for _ in 0..MUTANTS {
        body(&mutant(&mut rng, &seeds));
    }
}

macro_rules! short {
    ($($target:ident)*) => {
        $(#[test] fn $target() { run(stringify!($target)); })*

        #[test]
        fn every_target_is_listed_everywhere() {
            let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).into()).collect();
            assert_eq!(names, [$(stringify!($target).to_owned()),*].into());
            let top = Path::new(env!("CARGO_MANIFEST_DIR"));
            for dir in ["fuzz_targets", "seeds"] {
                let found = fs::read_dir(top.join(dir)).unwrap().map(|entry| {
                    let path = entry.unwrap().path();
                    path.file_stem().unwrap().to_str().unwrap().to_owned()
                });
                assert_eq!(names, found.collect(), "{dir}");
            }
        }
    };
}

short! {
    access config control delegations delta delta_pair draft headers index journal keys loader manifest
    metadata nar narinfo nix_daemon pattern roots stored systemd texts workflow
}
