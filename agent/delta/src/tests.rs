//! Deltas as a whole: what is made comes out, and what is broken does not.

use crate::*;
use proptest::prelude::*;
use std::{fs, io::Read as _, os::unix::fs as unix, path::Path};

/// Files by their paths.
pub(crate) type Files = Vec<(String, Vec<u8>)>;

pub(crate) fn tree(files: &[(&str, &[u8])]) -> Files {
    let owned = |(path, contents): &(&str, &[u8])| ((*path).into(), contents.to_vec());
    files.iter().map(owned).collect()
}

pub(crate) fn write_tree(top: &Path, files: &Files) {
    for (path, contents) in files {
        let place = top.join(path);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, contents).unwrap();
    }
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..count).map(|_| next()).collect()
}

fn made(codec: Codec, base: &dyn ReadAt, new: &dyn ReadAt) -> Vec<u8> {
    let mut file = Vec::new();
    make(base, new, codec, &mut file).unwrap();
    file
}

fn applied(file: &[u8], base: &dyn ReadAt) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    Delta::open(file, &Limits::default())?.apply(base, &mut out)?;
    Ok(out)
}

#[test]
fn what_was_made_comes_out() {
    let old = noise(1, 300_000);
    let mut new = old.clone();
    new.splice(100_000..100_010, noise(2, 500));
    new[200_000] ^= 1;
    let (nothing, old, new) = (Vec::new(), old, new);
    for codec in Codec::ALL {
        for (base, new) in [
            (&old, &new),
            (&nothing, &new),
            (&old, &nothing),
            (&nothing, &nothing),
            (&old, &old),
        ] {
            let file = made(codec, base, new);
            assert_eq!(&applied(&file, base).unwrap(), new, "{codec:?}");
        }
        let size = made(codec, &old, &new).len();
        assert!(size < 1000, "{codec:?}: {size} bytes for 501 new ones");
    }
}

#[test]
fn a_store_path_is_read_as_its_nar() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("top");
    write_tree(
        &top,
        &tree(&[
            ("bin/run", b"#!/bin/sh\n"),
            ("a", b"12345678"),
            ("b/empty", b""),
        ]),
    );
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o555);
    fs::set_permissions(top.join("bin/run"), mode).unwrap();
    unix::symlink("../a", top.join("b/link")).unwrap();
    let tree = Tree::new(&top).unwrap();
    let mut nar = Vec::new();
    read_at::Section::new(&tree, 0, u64::MAX)
        .read_to_end(&mut nar)
        .unwrap();
    // As `nix-store --dump` has it (Nix manual, "Nix Archive Format").
    let text = |text: &[u8]| {
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(text);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    };
    let words = "nix-archive-1 ( type directory \
        entry ( name a node ( type regular contents 12345678 ) ) \
        entry ( name b node ( type directory \
        entry ( name empty node ( type regular contents _ ) ) \
        entry ( name link node ( type symlink target ../a ) ) ) ) \
        entry ( name bin node ( type directory \
        entry ( name run node ( type regular executable _ contents RUN ) ) ) ) )";
    let expected: Vec<u8> = words
        .split_whitespace()
        .flat_map(|word| match word {
            "_" => text(b""),
            "RUN" => text(b"#!/bin/sh\n"),
            word => text(word.as_bytes()),
        })
        .collect();
    assert_eq!(nar, expected);
    assert_eq!(tree.size(), nar.len() as u64);
    // Any part, across the borders of files.
    for from in 0..nar.len() {
        for to in [from, from + 1, from + 30, nar.len()] {
            let Some(part) = nar.get(from..to) else {
                continue;
            };
            let mut read = vec![0; part.len()];
            tree.read_exact_at(&mut read, from as u64).unwrap();
            assert_eq!(read, part);
        }
    }
    let mut read = [0; 2];
    assert!(tree.read_exact_at(&mut read, tree.size() - 1).is_err());
}

#[test]
fn a_delta_of_a_store_path_costs_what_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    let library = noise(1, 200_000);
    let mut patched = library.clone();
    patched[77_777] ^= 0x55;
    let config = b"path = /nix/store/0123456789abcdfghijklmnpqrsvwxyz-unit\n";
    let other = b"path = /nix/store/zyxwvsrqpnmlkjihgfdcba9876543210-unit\n";
    write_tree(
        &old,
        &tree(&[
            ("etc/c", config),
            ("lib/x.so.1", &library),
            ("a", &noise(5, 50_000)),
        ]),
    );
    write_tree(
        &new,
        &tree(&[
            ("etc/c", other),
            ("lib/x.so.2", &patched),
            ("z", &noise(5, 50_000)),
        ]),
    );
    let (old, new) = (Tree::new(&old).unwrap(), Tree::new(&new).unwrap());
    for codec in Codec::ALL {
        let file = made(codec, &old, &new);
        assert!(file.len() < 1000, "{codec:?}: {}", file.len());
        let mut nar = vec![0; new.size() as usize];
        new.read_exact_at(&mut nar, 0).unwrap();
        assert_eq!(applied(&file, &old).unwrap(), nar);
    }
}

#[test]
fn limits_are_kept_before_anything_is_read() {
    let (old, new) = (noise(1, 5000), noise(2, 5000));
    for codec in Codec::ALL {
        let file = made(codec, &old, &new);
        let header = Delta::open(&file, &Limits::default())
            .unwrap()
            .header()
            .clone();
        let exactly = Limits {
            memory: header.memory,
            result: 5000,
        };
        Delta::open(&file, &exactly).unwrap();
        let memory = Limits {
            memory: header.memory - 1,
            ..exactly
        };
        let error = Delta::open(&file, &memory).unwrap_err();
        assert!(matches!(error, Error::Memory { .. }), "{error}");
        let result = Limits {
            result: 4999,
            ..exactly
        };
        let error = Delta::open(&file, &result).unwrap_err();
        assert!(matches!(error, Error::Result { .. }), "{error}");
        // It says that it takes less than it does.
        let less = Header {
            memory: 1,
            ..header.clone()
        }
        .to_bytes();
        let body = &file[header.to_bytes().len()..];
        let error = applied(&[&less, body].concat(), &old).unwrap_err();
        assert!(matches!(error, Error::Broken(_)), "{error}");
    }
}

#[test]
fn another_base_is_refused_before_anything_comes_out() {
    let (old, new) = (noise(1, 5000), noise(2, 5000));
    for codec in Codec::ALL {
        let file = made(codec, &old, &new);
        for base in [noise(3, 5000), noise(1, 4999), Vec::new()] {
            let mut out = Vec::new();
            let delta = Delta::open(&file, &Limits::default()).unwrap();
            let error = delta.apply(&base, &mut out).unwrap_err();
            assert!(matches!(error, Error::WrongBase), "{error}");
            assert!(out.is_empty());
        }
    }
}

#[test]
fn a_codec_of_the_future_is_named() {
    let mut file = made(Codec::ZstdPatch, &noise(1, 10), &noise(2, 10));
    let name = Codec::ZstdPatch.name().len();
    file[8 + name] = b'9';
    let error = applied(&file, &noise(1, 10)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the delta is coded as 'zstd-patch-9', which this version does not know"
    );
    for end in 0..20 {
        let error = applied(&file[..end], &noise(1, 10)).unwrap_err();
        assert!(matches!(error, Error::NotADelta), "{end}: {error}");
    }
}

fn any_codec() -> impl Strategy<Value = Codec> {
    proptest::sample::select(&Codec::ALL[..])
}

/// A base, and something made from parts of it and other bytes.
fn any_pair() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let cuts = proptest::collection::vec(
        (any::<prop::sample::Index>(), 0..400_usize, any::<bool>()),
        0..8,
    );
    (proptest::collection::vec(any::<u8>(), 1..2000), cuts).prop_map(|(base, cuts)| {
        let mut new = Vec::new();
        for (at, count, known) in cuts {
            let at = at.index(base.len());
            if known {
                new.extend_from_slice(&base[at..(at + count).min(base.len())]);
            } else {
                new.extend(noise(at as u64, count / 8));
            }
        }
        (base, new)
    })
}

proptest! {
    #[test]
    fn any_pair_comes_back(codec in any_codec(), (base, new) in any_pair()) {
        let file = made(codec, &base, &new);
        prop_assert_eq!(applied(&file, &base).unwrap(), new);
    }

    #[test]
    fn a_damaged_delta_never_makes_anything_else(
        codec in any_codec(),
        (base, new) in any_pair(),
        at: prop::sample::Index,
        flip in 1_u8..,
    ) {
        let mut file = made(codec, &base, &new);
        let at = at.index(file.len());
        file[at] ^= flip;
        if let Ok(out) = applied(&file, &base) {
            prop_assert_eq!(out, new);
        }
    }

    #[test]
    fn a_truncated_delta_makes_nothing(
        codec in any_codec(),
        (base, new) in any_pair(),
        at: prop::sample::Index,
    ) {
        let file = made(codec, &base, &new);
        let cut = &file[..at.index(file.len())];
        prop_assert!(applied(cut, &base).is_err());
    }
}

/// The bytes of each function of [`program`].
const FUNCTION: usize = 64;
/// Where its code begins.
const CODE: usize = 4096;

/// A program of so many functions that call each other, point to each other and are listed in a table,
/// with so many bytes put in between before the function in the middle.
fn program(arm: bool, functions: usize, between: usize) -> Vec<u8> {
    let place = |index: usize| {
        let moved = if index >= functions / 2 { between } else { 0 };
        CODE + index * FUNCTION + moved
    };
    let (code_end, address) = (place(functions).next_multiple_of(8), 0x40_0000_u64);
    let size = code_end + functions * 8;
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    let mut put = |at: usize, with: &[u8]| {
        bytes.resize(bytes.len().max(at + with.len()), 0);
        bytes[at..at + with.len()].copy_from_slice(with);
    };
    put(16, &[3, 0, if arm { 183 } else { 62 }, 0]);
    put(32, &64_u64.to_le_bytes());
    put(54, &[56, 0, 2, 0]);
    for (index, (flags, from, to)) in [(5_u32, 0, code_end), (6, code_end, size)]
        .into_iter()
        .enumerate()
    {
        let header = 64 + index * 56;
        put(header, &1_u32.to_le_bytes());
        put(header + 4, &flags.to_le_bytes());
        let (from, length) = (from as u64, (to - from) as u64);
        for (field, value) in [from, address + from, 0, length, length]
            .into_iter()
            .enumerate()
        {
            put(header + 8 + field * 8, &value.to_le_bytes());
        }
    }
    put(place(functions / 2) - between, &noise(77, between));
    for index in 0..functions {
        let at = place(index);
        put(at, &noise(index as u64 + 1000, FUNCTION));
        let target = |step: usize| place((index * 7919 + step) % functions) as i64;
        let distance = |from: usize, to: i64| (to - from as i64) as i32;
        if arm {
            let call = 0x9400_0000 | (distance(at, target(1)) >> 2) as u32 & 0x03ff_ffff;
            put(at, &call.to_le_bytes());
            let pages = ((target(2) >> 12) - (at as i64 >> 12)) as u32;
            let page = 0x9000_0005 | (pages & 3) << 29 | (pages >> 2 & 0x7_ffff) << 5;
            put(at + 20, &page.to_le_bytes());
            let rest = 0x9100_00a5 | (target(2) as u32 & 0xfff) << 10;
            put(at + 24, &rest.to_le_bytes());
        } else {
            put(at + 8, &[0xe8]);
            put(at + 9, &distance(at + 13, target(1)).to_le_bytes());
            put(at + 30, &[0x48, 0x8d, 0x05]);
            put(at + 33, &distance(at + 37, target(2)).to_le_bytes());
        }
        put(
            code_end + index * 8,
            &(address + target(3) as u64).to_le_bytes(),
        );
    }
    bytes
}

#[test]
fn what_only_moved_costs_nothing_on_either_machine() {
    for arm in [false, true] {
        let (old, new) = (program(arm, 3000, 0), program(arm, 3000, 5192));
        let file = made(Codec::Predict, &old, &new);
        assert_eq!(applied(&file, &old).unwrap(), new);
        // What is new is noise.
        assert!(file.len() < 5192 + 1500, "{arm}: {}", file.len());
        let without = made(Codec::ZstdPatch, &old, &new).len();
        assert!(without > 2 * file.len(), "{arm}: {without}");
    }
}

#[test]
fn what_an_earlier_version_made_comes_out_of_this_one_on_every_machine() {
    // Made by the first version that had the codec. It must never be made anew: deltas like it lie on
    // servers, and a robot's decoder may be younger or for another processor.
    for (arm, file) in [
        (false, &include_bytes!("../tests/x86-64.delta")[..]),
        (true, include_bytes!("../tests/aarch64.delta")),
    ] {
        let out = applied(file, &program(arm, 600, 0)).unwrap();
        assert!(out == program(arm, 600, 72));
    }
}
