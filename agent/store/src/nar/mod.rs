//! NARs as streams: unpacking them, and checking what comes out against the closure index.

use crate::error::{Error, Result};
use liblzma::stream::{CONCATENATED, IGNORE_CHECK, Stream};
use sha2::Digest;
use std::io::{self, BufRead, Read};
use surefoot_core::{
    Sha256,
    closure::{Compression, PathInfo},
    word::Word,
};

mod list;
mod window;
mod write;

pub use list::{MAX_LISTED, list};
use window::window;
pub use write::write;

/// A NAR is handed on in pieces of this size, bytes.
pub const PIECE: usize = 128 << 10;

/// What a decoder needs beside its window, bytes.
const BESIDE: u64 = 512 << 10;

/// Unpacks a compressed stream, with no larger a window than its beginning asks for.
///
/// # Errors
/// It cannot be read, or the decompressor cannot be set up.
pub fn unpack<'a>(
    compression: Compression,
    mut from: impl BufRead + Send + 'a,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let window = window(compression, from.fill_buf()?);
    Ok(match compression {
        Compression::None => Box::new(from),
        Compression::Delta => return Err(io::Error::other("it is a delta and not a NAR")),
        Compression::Xz => {
            // Digests say more than its own checksums.
            let flags = CONCATENATED | IGNORE_CHECK;
            let stream = Stream::new_stream_decoder(window + BESIDE, flags)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(from, stream))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(from)?;
            decoder.window_log_max(window.next_power_of_two().ilog2())?;
            Box::new(decoder)
        }
    })
}

/// How the file of a path is compressed.
///
/// # Errors
/// [`Error::Compression`].
pub(crate) fn compression(info: &PathInfo) -> Result<Compression> {
    match &info.download.compression {
        Word::Known(compression) => Ok(*compression),
        Word::Other(word) => Err(Error::Compression {
            path: info.path.clone(),
            word: word.clone(),
        }),
    }
}

/// How much memory unpacking a file will take, bytes, by its beginning: its window, of which no
/// more is touched than comes out of it, and a little beside.
#[must_use]
pub fn memory(info: &PathInfo, beginning: &[u8]) -> u64 {
    match info.download.compression.known() {
        None | Some(Compression::None | Compression::Delta) => 0,
        Some(compression) => window(compression, beginning).min(info.nar_size) + BESIDE,
    }
}

/// Unpacks the NAR of a path onto the end of `frame`. Whenever that has [`PIECE`] bytes and more is
/// to come, `full` must take them away. The rest stays in `frame`, and only if the size of the whole
/// is that of the closure index: otherwise there is an error, and `frame` must not be used. Without
/// the rest, nobody can take the NAR for complete.
///
/// The digest is checked here if the index does not pin the compressed file, which staging checks.
/// The Nix daemon checks it in any case.
///
/// # Errors
/// [`Error::Compression`], [`Error::Unpack`], [`Error::NarSize`], [`Error::NarHash`], or those of `full`.
pub fn verified(
    info: &PathInfo,
    from: impl BufRead + Send,
    frame: &mut Vec<u8>,
    mut full: impl FnMut(&mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    let unpacking = |why| Error::Unpack {
        path: info.path.clone(),
        why,
    };
    let wrong_size = || Error::NarSize {
        path: info.path.clone(),
        expected: info.nar_size,
    };
    let mut from = unpack(compression(info)?, from).map_err(unpacking)?;
    let mut digest = info.download.file_hash.is_none().then(sha2::Sha256::new);
    let mut left = info.nar_size;
    while left > 0 {
        if frame.len() >= PIECE {
            full(frame)?;
        }
        let (at, room) = (frame.len(), PIECE.saturating_sub(frame.len()) as u64);
        let want = left.min(room.max(1));
        let got = (&mut from)
            .take(want)
            .read_to_end(frame)
            .map_err(unpacking)? as u64;
        if got < want {
            return Err(wrong_size());
        }
        if let Some(digest) = &mut digest {
            digest.update(&frame[at..]);
        }
        left -= got;
    }
    if (&mut from)
        .take(1)
        .read_to_end(&mut Vec::new())
        .map_err(unpacking)?
        > 0
    {
        return Err(wrong_size());
    }
    match digest.map(|digest| Sha256(digest.finalize().into())) {
        Some(found) if found != info.nar_hash => Err(Error::NarHash {
            path: info.path.clone(),
            expected: info.nar_hash,
            found,
        }),
        _ => Ok(()),
    }
}

/// Checks the NAR of a path without keeping it.
///
/// # Errors
/// As [`verified`].
pub fn check(info: &PathInfo, from: impl BufRead + Send) -> Result<()> {
    let mut frame = Vec::with_capacity(PIECE);
    verified(info, from, &mut frame, |frame| {
        frame.clear();
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use liblzma::stream::{Check, Filters, LzmaOptions};
    use proptest::prelude::*;
    use std::io::Write;
    use surefoot_core::{StorePath, closure::Download};

    fn compress(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        match compression {
            Compression::None | Compression::Delta => bytes.to_vec(),
            Compression::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Zstd => zstd::encode_all(bytes, 1).unwrap(),
        }
    }

    fn info(compression: Compression, nar: &[u8]) -> PathInfo {
        PathInfo {
            path: StorePath::from_base_name(&format!("{}-x", "0".repeat(32))).unwrap(),
            nar_hash: Sha256(sha2::Sha256::digest(nar).into()),
            nar_size: nar.len() as u64,
            references: vec![],
            deriver: None,
            signatures: vec![],
            ca: None,
            download: Download {
                url: "nar/x".into(),
                compression: compression.into(),
                file_hash: None,
                file_size: None,
            },
            deltas: vec![],
        }
    }

    fn run(info: &PathInfo, file: &[u8]) -> (Vec<u8>, Result<()>) {
        let (mut out, mut frame) = (Vec::new(), Vec::new());
        let result = verified(info, file, &mut frame, |frame| {
            assert!(frame.len() >= PIECE);
            out.append(frame);
            Ok(())
        });
        if result.is_ok() {
            out.append(&mut frame);
        }
        (out, result)
    }

    const ALL: [Compression; 3] = [Compression::None, Compression::Xz, Compression::Zstd];

    fn any_compression() -> impl Strategy<Value = Compression> {
        proptest::sample::select(&ALL[..])
    }

    #[test]
    fn sizes_around_the_piece_come_out_whole() {
        for compression in ALL {
            for len in [2, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
                let nar: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
                let file = compress(compression, &nar);
                let (out, result) = run(&info(compression, &nar), &file);
                result.unwrap();
                assert!(out == nar, "{compression:?} {len}");
                // One byte more or less than signed.
                for size in [len as u64 - 1, len as u64 + 1] {
                    let mut other = info(compression, &nar);
                    other.nar_size = size;
                    let (out, result) = run(&other, &file);
                    assert!(matches!(result, Err(Error::NarSize { .. })));
                    assert!((out.len() as u64) < size);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_damaged_file_never_comes_out_whole(
            compression in any_compression(),
            nar in proptest::collection::vec(any::<u8>(), 1..2000),
            at: prop::sample::Index,
            flip in 1u8..,
        ) {
            let mut file = compress(compression, &nar);
            let at = at.index(file.len());
            file[at] ^= flip;
            let (out, result) = run(&info(compression, &nar), &file);
            // Some bytes of the container mean nothing; then the NAR is the right one.
            match result {
                Ok(()) => prop_assert_eq!(out, nar),
                Err(_) => prop_assert!(out.len() < nar.len()),
            }
        }

        #[test]
        fn a_truncated_file_never_comes_out_whole(
            compression in any_compression(),
            nar in proptest::collection::vec(any::<u8>(), 1..2000),
            at: prop::sample::Index,
        ) {
            let mut file = compress(compression, &nar);
            file.truncate(at.index(file.len()));
            let (out, result) = run(&info(compression, &nar), &file);
            // zstd and xz may have given all of the NAR before their own trailer.
            prop_assert!(result.is_err() || out == nar);
        }

        #[test]
        fn garbage_is_refused(
            compression in any_compression(),
            file in proptest::collection::vec(any::<u8>(), 0..500),
        ) {
            let (_, result) = run(&info(compression, b"the NAR that was signed"), &file);
            prop_assert!(result.is_err());
        }
    }

    #[test]
    fn a_window_is_what_the_file_says_and_no_larger_one_is_taken() {
        let nar = vec![7; 3 << 20];
        let xz = |preset, dictionary| {
            let mut options = LzmaOptions::new_preset(preset).unwrap();
            let mut filters = Filters::new();
            if let Some(size) = dictionary {
                filters.x86();
                options.dict_size(size);
            }
            let stream = Stream::new_stream_encoder(filters.lzma2(&options), Check::Crc64).unwrap();
            let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
            encoder.write_all(&nar).unwrap();
            encoder.finish().unwrap()
        };
        let zstd = |log| {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(&nar).unwrap();
            encoder.finish().unwrap()
        };
        for (compression, file, window) in [
            (Compression::Xz, xz(0, None), 256 << 10),
            (Compression::Xz, xz(6, None), 8 << 20),
            (Compression::Xz, xz(9, None), 64 << 20),
            (Compression::Xz, xz(6, Some(1 << 20)), 1 << 20),
            (Compression::Zstd, zstd(20), 1 << 20),
            (Compression::Zstd, zstd(27), 128 << 20),
            (
                Compression::Zstd,
                zstd::bulk::compress(&nar, 19).unwrap(),
                3 << 20,
            ),
        ] {
            let mut info = info(compression, &nar);
            assert_eq!(memory(&info, &file), (3 << 20).min(window) + BESIDE);
            info.nar_size = u64::MAX / 2;
            assert_eq!(memory(&info, &file), window + BESIDE, "{compression:?}");
            info.nar_size = nar.len() as u64;
            run(&info, &file).1.unwrap();
        }
        // A second part that wants more than the first.
        let both = [xz(0, None), xz(9, None)].concat();
        let both = run(
            &info(Compression::Xz, &[&nar[..], &nar[..]].concat()),
            &both,
        );
        assert!(matches!(both.1, Err(Error::Unpack { .. })));
    }

    #[test]
    fn a_word_of_another_version_is_named() {
        let mut info = info(Compression::None, b"nar");
        info.download.compression = Word::Other("lz5".into());
        assert_eq!(memory(&info, b"nar"), 0);
        let (_, result) = run(&info, b"nar");
        let error = result.unwrap_err();
        assert!(error.to_string().contains("compressed as 'lz5'"), "{error}");
        assert!(!error.is_retryable());
    }

    #[test]
    fn a_bomb_ends_at_the_signed_size() {
        let file = compress(Compression::Zstd, &vec![0; 64 << 20]);
        let (out, result) = run(&info(Compression::Zstd, &[1; 1000]), &file);
        assert!(matches!(result, Err(Error::NarSize { .. })));
        assert!(out.is_empty());
    }
}
