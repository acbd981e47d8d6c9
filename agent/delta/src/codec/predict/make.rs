//! The other direction: finding the regions, and taking the differences.

use super::{
    CHUNK, HEAD, Image, Learned, MAX_REGIONS, Region, Scanner, Side, Unit, memory,
    references::{Kind, Moved},
    streams::make::Streams,
};
use crate::{
    error::{Error, Result},
    make::{
        matches::matches,
        parts::{Part, parts},
    },
    number,
    read_at::ReadAt,
};
use std::ops::Range;

/// Files above this are not taken for programs here: their suffixes have 31 bits, bytes.
const MAX_PROGRAM: u64 = 1 << 30;
/// The most that comes out of a unit that is not one program, bytes.
const MAX_OTHER: u64 = 16 << 20;
/// The most of the base that it is compared with, bytes.
const MAX_OTHER_OLD: u64 = 64 << 20;
/// As many bytes behind a target say what is there.
const TOKEN_OF: usize = 24;

/// What the codec reads, and the memory that it takes, bytes.
pub(crate) fn encode(base: &dyn ReadAt, new: &dyn ReadAt) -> Result<(Vec<u8>, u64)> {
    let program = |new_at: &Range<u64>, old_at: &Range<u64>| {
        let new = image(new, new_at).map_err(Error::New)?;
        let old = image(base, old_at).map_err(Error::Base)?;
        Ok(new
            .zip(old)
            .is_some_and(|(new, old)| new.machine == old.machine))
    };
    let (mut streams, mut learned, mut last) = (Streams::default(), Learned::new(), 0);
    let mut most_regions = 0;
    let mut bytes = vec![0; CHUNK];
    for part in parts(base, new, MAX_OTHER, MAX_OTHER_OLD, &program)? {
        let real = read(new, &part.new).map_err(Error::New)?;
        for unit in units(&part, &real, base)? {
            most_regions = most_regions.max(unit.regions.len() as u64);
            unit.write(&mut last, &mut streams.regions);
            let start = unit.regions.first().map_or(0, |region| region.new);
            let unit = unit.counted_from(start);
            let mut encoder = Encoder {
                real: &real[start as usize..],
                asked: 0,
                streams: &mut streams,
            };
            unit.go_over(base, &mut learned, &mut bytes, &mut encoder)?;
        }
    }
    let (body, needed) = streams.finish().map_err(Error::Output)?;
    Ok((body, memory(needed, most_regions)))
}

fn read(of: &dyn ReadAt, at: &Range<u64>) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; (at.end - at.start) as usize];
    of.read_exact_at(&mut bytes, at.start)?;
    Ok(bytes)
}

/// The program that lies there, if it is one and its references can be predicted.
fn image(of: &dyn ReadAt, at: &Range<u64>) -> std::io::Result<Option<Image>> {
    let size = at.end - at.start;
    if !(HEAD..=MAX_PROGRAM).contains(&size) {
        return Ok(None);
    }
    Ok(Image::new(&read(of, &(at.start..at.start + HEAD))?, size))
}

/// The units of a part: one, as long as it has not too many regions.
fn units(part: &Part, new: &[u8], base: &dyn ReadAt) -> Result<Vec<Unit>> {
    let mut old = Vec::new();
    for range in &part.old {
        old.extend(read(base, range).map_err(Error::Base)?);
    }
    let found = if part.is_pair {
        matches(&tokens(&old), &tokens(new))
    } else {
        matches(&old, new)
    };
    let mut regions = Vec::new();
    for found in found {
        let first = regions.len();
        let (mut from, mut at) = (found.old as u64, found.new as u64);
        let end = from + found.size as u64;
        // Where the ranges of the base are not one, a region ends with its range.
        let mut begins = 0;
        for range in &part.old {
            let ends = begins + (range.end - range.start);
            if from < ends.min(end) {
                let size = ends.min(end) - from;
                regions.push(Region {
                    old: range.start + (from - begins),
                    new: at,
                    size,
                    literals: 0,
                });
                from += size;
                at += size;
            }
            begins = ends;
        }
        if regions.len() == first {
            regions.push(Region {
                old: part.old.first().map_or(0, |range| range.start),
                new: at,
                size: 0,
                literals: 0,
            });
        }
        if let Some(last) = regions.last_mut() {
            last.literals = found.literals as u64;
        }
    }
    let program = part.old.first().filter(|_| part.is_pair);
    let units = regions.chunks(MAX_REGIONS as usize).enumerate();
    let unit = |(index, regions): (usize, &[Region])| Unit {
        size: regions
            .iter()
            .map(|region| region.size + region.literals)
            .sum(),
        program: program.filter(|_| index == 0).cloned(),
        regions: regions.to_vec(),
    };
    let mut units: Vec<Unit> = units.map(unit).collect();
    for unit in &mut units {
        // What is left of a program may be too short to be one.
        unit.program = unit.program.take().filter(|_| unit.size >= HEAD);
    }
    Ok(units)
}

impl Unit {
    fn write(&self, last: &mut u64, to: &mut Vec<u8>) {
        number::write(to, self.program.is_some().into());
        number::write(to, self.size);
        let mut at = 0;
        if let Some(old) = &self.program {
            number::write_signed(to, old.start.wrapping_sub(*last).cast_signed());
            number::write(to, old.end - old.start);
            *last = old.end;
            at = old.start;
        }
        number::write(to, self.regions.len() as u64);
        for region in &self.regions {
            number::write(to, region.size);
            number::write(to, region.literals);
            number::write_signed(to, region.old.wrapping_sub(at).cast_signed());
            at = region.old + region.size;
        }
    }

    /// With its regions counted from where it begins, and not its part.
    fn counted_from(mut self, start: u64) -> Self {
        for region in &mut self.regions {
            region.new -= start;
        }
        self
    }
}

struct Encoder<'a> {
    /// All of the unit.
    real: &'a [u8],
    /// Where what was last asked for begins.
    asked: usize,
    streams: &'a mut Streams,
}

impl Side for Encoder<'_> {
    fn other(&mut self, at: u64, count: usize) -> Result<&[u8]> {
        self.asked = at as usize;
        Ok(&self.real[self.asked..self.asked + count])
    }

    fn truth(_predicted: u8, real: u8) -> u8 {
        real
    }

    fn finish(&mut self, predicted: &[u8]) -> Result<&[u8]> {
        let real = &self.real[self.asked..self.asked + predicted.len()];
        let differences = real.iter().zip(predicted);
        let differences = differences.map(|(real, predicted)| real.wrapping_sub(*predicted));
        self.streams.differences.extend(differences);
        Ok(real)
    }

    fn literals(&mut self, at: u64, count: usize) -> Result<&[u8]> {
        let bytes = &self.real[at as usize..at as usize + count];
        self.streams.literals.extend_from_slice(bytes);
        Ok(bytes)
    }
}

/// A program with each reference replaced by what it leads to: code that only moved then matches. For
/// finding matches, and for nothing else.
fn tokens(program: &[u8]) -> Vec<u8> {
    let mut bytes = program.to_vec();
    let head = &program[..program.len().min(HEAD as usize)];
    let Some(image) = Image::new(head, program.len() as u64) else {
        return bytes;
    };
    let mut found = Vec::new();
    Scanner::new(&image).scan(0, program, false, &mut found);
    for reference in &found {
        put(&mut bytes, reference.at, reference.kind, 0);
    }
    let blank = bytes.clone();
    for reference in &found {
        let there = image
            .place(reference.target)
            .and_then(|at| blank.get(at as usize..));
        let token = there.map_or(0x5a5a_5a5a, |there| {
            let there = &there[..there.len().min(TOKEN_OF)];
            // FNV-1a.
            let hash = there.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
            });
            (hash >> 20) as u32
        });
        put(&mut bytes, reference.at, reference.kind, token);
    }
    bytes
}

/// Puts a token in the place of a reference; the rest of its instruction stays.
fn put(bytes: &mut [u8], at: usize, kind: Kind, token: u32) {
    let token = u64::from(token);
    let (kind, target) = match kind {
        Kind::Relative(_) | Kind::Absolute32 | Kind::Frame => (Kind::Absolute32, token),
        Kind::Absolute64 => (kind, token),
        Kind::Branch => (kind, (token & 0x03ff_ffff) << 2),
        Kind::Page => (kind, token << 12),
        Kind::Add => (kind, token & 0xfff),
        Kind::Access(unit) => (kind, (token << unit) & 0xfff),
    };
    let nowhere = Moved {
        kind,
        from: 0,
        target: 0,
        frames: 0,
    };
    let moved = Moved { target, ..nowhere };
    moved.write(nowhere, &mut bytes[at..at + kind.size()]);
}
