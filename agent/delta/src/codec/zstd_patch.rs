//! `zstd-patch-1`: the new file in pieces. Each is a zstd frame (RFC 8878) whose matches may reach into
//! parts of the base, which stand before it as a prefix; nothing reaches from one piece to another. So a
//! decoder holds the prefix and the window of one piece, whatever the size of the file.
//!
//! A piece:
//!
//! | what | |
//! |---|---|
//! | number | bytes that come out of it, 1 to [`MAX_PIECE`] |
//! | number | bytes of its prefix, up to [`MAX_PREFIX`] |
//! | signed number, number | a part of the prefix: where it begins in the base, counted from the end of the part before (from 0 for the first), and its bytes. As many as make up the prefix |
//! | number | bytes of the frame |
//! | … | the frame |

use crate::{
    container::{Checked, Header},
    error::{Error, Result},
    number,
    read_at::{ReadAt, Section},
};
use std::io::{BufRead, BufReader, Read};

/// The most that comes out of a piece, bytes: the largest window.
pub(crate) const MAX_PIECE: u64 = 16 << 20;
/// The most of the base that stands before a piece, bytes.
pub(crate) const MAX_PREFIX: u64 = 32 << 20;
/// What a decoder needs beside prefix and window, bytes: its tables, and what is on its way in and out.
const BESIDE: u64 = 1 << 20;
/// How often all of base and result may be read as a prefix: this bounds the time.
const MAX_READ_AGAIN: u64 = 4;
/// What is handed on at a time, bytes.
const OUT: usize = 128 << 10;

/// The memory that a piece takes, bytes.
pub(crate) const fn memory(piece: u64, prefix: u64) -> u64 {
    piece.next_power_of_two() + prefix + BESIDE
}

/// The window that a piece is given, as a power of two: zstd has none below 1 KiB.
pub(crate) const fn window_log(piece: u64) -> u32 {
    let log = piece.next_power_of_two().ilog2();
    if log < 10 { 10 } else { log }
}

/// Writes all that comes out.
pub(crate) fn decode<D: ReadAt>(
    header: &Header,
    body: Section<D>,
    base: &dyn ReadAt,
    out: &mut Checked<'_>,
) -> Result<()> {
    let mut from = BufReader::new(body);
    let mut prefix = Vec::new();
    let mut buffer = vec![0; OUT];
    let mut may_read = header
        .base_size
        .saturating_add(header.result_size)
        .saturating_mul(MAX_READ_AGAIN);
    while out.left() > 0 {
        let piece = read(&mut from)?;
        let size = read(&mut from)?;
        if piece == 0 || piece > MAX_PIECE.min(out.left()) {
            return Err(Error::Broken("the size of a piece is out of bounds"));
        }
        if size > MAX_PREFIX || size > may_read {
            return Err(Error::Broken("it reads too much of its base"));
        }
        may_read -= size;
        if memory(piece, size) > header.memory {
            return Err(Error::Broken("a piece takes more memory than it says"));
        }
        fill(&mut prefix, size, &mut from, base)?;
        let frame = read(&mut from)?;
        let rest = unpack(piece, &prefix, (&mut from).take(frame), &mut buffer, out)?;
        if rest > 0 {
            return Err(Error::Broken("a piece is longer than what comes out of it"));
        }
    }
    if !from.fill_buf().map_err(Error::Delta)?.is_empty() {
        return Err(Error::Broken("something follows its end"));
    }
    Ok(())
}

/// Reads the parts of a prefix of `size` bytes, which is within bounds.
fn fill(prefix: &mut Vec<u8>, size: u64, from: &mut impl Read, base: &dyn ReadAt) -> Result<()> {
    // `size` is at most [`MAX_PREFIX`].
    let size = size as usize;
    prefix.clear();
    prefix.reserve_exact(size);
    let mut at: u64 = 0;
    while prefix.len() < size {
        let step = number::read_signed(from).map_err(Error::Delta)?;
        let part = read(from)?;
        at = at
            .checked_add_signed(step)
            .filter(|at| part <= base.size() && *at <= base.size() - part)
            .ok_or(Error::Broken("it reads behind the end of its base"))?;
        let old = prefix.len();
        if part == 0 || part > (size - old) as u64 {
            return Err(Error::Broken("the parts of a prefix do not fit"));
        }
        prefix.resize(old + part as usize, 0);
        base.read_exact_at(&mut prefix[old..], at)
            .map_err(Error::Base)?;
        at += part;
    }
    Ok(())
}

/// Hands on what comes out of a frame, and says how much of it was left over.
fn unpack<R: BufRead>(
    piece: u64,
    prefix: &[u8],
    frame: std::io::Take<R>,
    buffer: &mut [u8],
    out: &mut Checked<'_>,
) -> Result<u64> {
    let mut decoder = zstd::stream::read::Decoder::with_ref_prefix(frame, prefix)
        .map_err(Error::Delta)?
        .single_frame();
    decoder
        .window_log_max(window_log(piece))
        .map_err(Error::Delta)?;
    let mut left = piece;
    loop {
        // One byte more than there should be is noticed.
        let want = buffer.len().min(left as usize + 1);
        let got = decoder.read(&mut buffer[..want]).map_err(Error::Delta)?;
        if got as u64 > left || (got == 0 && left > 0) {
            return Err(Error::Broken("a piece has another size than it says"));
        }
        if got == 0 {
            return Ok(decoder.finish().limit());
        }
        out.write(&buffer[..got])?;
        left -= got as u64;
    }
}

fn read(from: &mut impl Read) -> Result<u64> {
    number::read(from).map_err(Error::Delta)
}

#[cfg(feature = "make")]
pub(crate) mod make {
    //! The other direction.

    use super::{MAX_PIECE, MAX_PREFIX, memory, window_log};
    use crate::{
        error::{Error, Result},
        make::parts::parts,
        number,
        read_at::ReadAt,
    };
    use std::io::Write as _;

    /// zstd's highest level that it counts as ordinary.
    const LEVEL: i32 = 19;

    /// What the codec reads, and the memory that it takes, bytes.
    pub(crate) fn encode(base: &dyn ReadAt, new: &dyn ReadAt) -> Result<(Vec<u8>, u64)> {
        let (mut body, mut most) = (Vec::new(), memory(1, 0));
        let (mut prefix, mut piece) = (Vec::new(), Vec::new());
        for part in parts(base, new, MAX_PIECE, MAX_PREFIX, &|_, _| Ok(false))? {
            let (size, at) = (part.new.end - part.new.start, part.new.start);
            piece.resize(size as usize, 0);
            new.read_exact_at(&mut piece, at).map_err(Error::New)?;
            prefix.clear();
            let mut end: u64 = 0;
            let mut parts = Vec::new();
            for old in &part.old {
                let length = prefix.len();
                prefix.resize(length + (old.end - old.start) as usize, 0);
                base.read_exact_at(&mut prefix[length..], old.start)
                    .map_err(Error::Base)?;
                number::write_signed(&mut parts, old.start.wrapping_sub(end).cast_signed());
                number::write(&mut parts, old.end - old.start);
                end = old.end;
            }
            let frame = compress(&piece, &prefix).map_err(Error::Output)?;
            number::write(&mut body, size);
            number::write(&mut body, prefix.len() as u64);
            body.extend_from_slice(&parts);
            number::write(&mut body, frame.len() as u64);
            body.extend_from_slice(&frame);
            most = most.max(memory(size, prefix.len() as u64));
        }
        Ok((body, most))
    }

    fn compress(piece: &[u8], prefix: &[u8]) -> std::io::Result<Vec<u8>> {
        let size = piece.len() as u64;
        let mut encoder = zstd::stream::write::Encoder::with_ref_prefix(Vec::new(), LEVEL, prefix)?;
        encoder.window_log(window_log(size))?;
        encoder.long_distance_matching(true)?;
        encoder.set_pledged_src_size(Some(size))?;
        encoder.include_checksum(false)?;
        encoder.include_dictid(false)?;
        encoder.write_all(piece)?;
        encoder.finish()
    }
}
