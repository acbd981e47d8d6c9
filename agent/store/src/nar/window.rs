//! How far back a decompressor must remember, by the first bytes of what it reads.

use surefoot_core::closure::Compression;

/// The largest window that is given: `xz -9` has 64 MiB, `zstd` reads 128 MiB without being asked to.
const MAX: u64 = 128 << 20;
/// What is given if the beginning does not say it: it is broken, or will be found so.
const MIN: u64 = 64 << 10;

/// The window of a compressed file, bytes.
pub(super) fn window(compression: Compression, beginning: &[u8]) -> u64 {
    let said = match compression {
        Compression::None | Compression::Delta => Some(0),
        Compression::Xz => xz(beginning),
        Compression::Zstd => zstd(beginning),
    };
    said.unwrap_or(MIN).clamp(MIN, MAX)
}

/// The dictionary of the first block (xz file format 1.2.1, sections 3.1 and 5.3.1).
fn xz(file: &[u8]) -> Option<u64> {
    const STREAM_HEADER: usize = 12;
    const LZMA2: u64 = 0x21;
    let mut header = file.get(STREAM_HEADER..)?;
    let [_size, flags] = take(&mut header)?;
    for has_size in [flags & 0x40, flags & 0x80] {
        if has_size != 0 {
            number(&mut header)?;
        }
    }
    for _ in 0..=flags & 3 {
        let (filter, size) = (number(&mut header)?, number(&mut header)?);
        if filter == LZMA2 {
            let [bits] = take(&mut header)?;
            let bits = u32::from(bits & 0x3f);
            return Some((2 | u64::from(bits & 1)) << (bits / 2 + 11));
        }
        header = header.get(usize::try_from(size).ok()?..)?;
    }
    None
}

/// Seven bits in each byte, the lowest first.
fn number(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let [byte] = take(from)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// The window of the first frame (RFC 8878, section 3.1.1.1).
fn zstd(file: &[u8]) -> Option<u64> {
    let mut header = file.strip_prefix(&0xfd2f_b528_u32.to_le_bytes())?;
    let [descriptor] = take(&mut header)?;
    if descriptor & 0x20 == 0 {
        let [window] = take(&mut header)?;
        let base = 1_u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    // One segment: the window is all of it.
    header = header.get([0, 1, 2, 4][usize::from(descriptor & 3)]..)?;
    match descriptor >> 6 {
        0 => take::<1>(&mut header).map(|[byte]| byte.into()),
        1 => take(&mut header).map(|two| u64::from(u16::from_le_bytes(two)) + 256),
        2 => take(&mut header).map(|four| u32::from_le_bytes(four).into()),
        _ => take(&mut header).map(u64::from_le_bytes),
    }
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(*first)
}
