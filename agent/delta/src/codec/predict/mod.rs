//! `predict-1`: the new file as regions of the base and literals between them, the references in programs
//! predicted before the differences are taken.
//!
//! When a program is built again, what was changed is little; but whatever moved changes each reference
//! to it, and these are everywhere. How far things have moved is known from the regions, so the decoder
//! can tell what most references will be. A delta has to say only what was predicted wrongly.
//!
//! Both sides predict with the same code, in whole numbers that wrap; nothing about it is sent.
//!
//! The stream of regions has units, in the order of the new file, until all of it is there:
//!
//! | what | |
//! |---|---|
//! | number | 0, or 1 if references are predicted |
//! | number | bytes that come out of the unit, at least 1; for 1, at least [`HEAD`] |
//! | signed number, number | only for 1: where the old file lies in the base, counted from the end of the old file before (from 0 for the first), and its bytes |
//! | number | regions, up to [`MAX_REGIONS`] |
//! | number, number, signed number | a region: bytes of the base, to which differences are added; bytes of literals that follow, together at least 1; where it begins in the base, counted from the end of the region before (of this unit; from the old file's beginning for the first, or 0). As many as were said |
//!
//! The base of a region is read in [`CHUNK`]s, each ending before a reference that would not fit.

mod image;
#[cfg(feature = "make")]
pub(crate) mod make;
mod movement;
mod predictor;
mod references;
mod streams;

use crate::{
    container::{Checked, Header},
    error::{Error, Result},
    read_at::ReadAt,
};
use image::{HEAD, Image};
use movement::{Movement, Stretch};
use predictor::{Learned, Predictor};
use references::Scanner;
use std::ops::Range;
use streams::{Stream, Streams};

/// What is read and corrected at a time, bytes.
const CHUNK: usize = 64 << 10;
/// The most regions of a unit.
const MAX_REGIONS: u64 = 1 << 18;
/// What a region costs in memory: itself, and what is known of movement from it, bytes.
const REGION: u64 = 160;
/// What is needed beside streams and regions, bytes: two chunks, the references in one, and what was
/// learned.
const BESIDE: u64 = (1 << 20) + Learned::MEMORY;

/// A part of the new file that is like a part of the base, and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Region {
    /// Where it begins in the base.
    old: u64,
    /// Where it begins in the unit.
    new: u64,
    size: u64,
    /// Bytes of literals after it.
    literals: u64,
}

/// A part of the new file, most of the time a file in a NAR, or many.
#[derive(Debug, PartialEq, Eq)]
struct Unit {
    size: u64,
    /// The old file in the base whose references are predicted.
    program: Option<Range<u64>>,
    regions: Vec<Region>,
}

/// The memory that it takes, bytes.
const fn memory(streams: u64, most_regions: u64) -> u64 {
    streams + BESIDE + most_regions * REGION
}

/// Writes all that comes out.
pub(crate) fn decode<D: ReadAt>(
    header: &Header,
    body: &D,
    base: &dyn ReadAt,
    out: &mut Checked<'_>,
) -> Result<()> {
    let most = header.memory.saturating_sub(memory(0, 0));
    let (mut streams, taken) = Streams::open(body, most)?;
    let most_regions = MAX_REGIONS.min((most - taken) / REGION);
    let (mut learned, mut program) = (Learned::new(), 0);
    let (mut bytes, mut buffer) = (vec![0; CHUNK], vec![0; CHUNK]);
    while out.left() > 0 {
        let unit = Unit::read(
            &mut streams.regions,
            &mut program,
            base,
            out.left(),
            most_regions,
        )?;
        let mut decoder = Decoder {
            streams: &mut streams,
            buffer: &mut buffer,
            out,
        };
        unit.go_over(base, &mut learned, &mut bytes, &mut decoder)?;
    }
    streams.end()
}

impl Unit {
    fn read<D: ReadAt>(
        from: &mut Stream<'_, D>,
        program: &mut u64,
        base: &dyn ReadAt,
        left: u64,
        most_regions: u64,
    ) -> Result<Self> {
        let broken = |what| move || Error::Broken(what);
        let kind = from.number()?;
        let size = from.number()?;
        if kind > 1 || size == 0 || size > left {
            return Err(Error::Broken("the size of a unit is out of bounds"));
        }
        let within = |at: u64, step: i64, size: u64| {
            let at = at.checked_add_signed(step)?;
            let end = at.checked_add(size).filter(|end| *end <= base.size())?;
            Some(at..end)
        };
        let outside = broken("it reads behind the end of its base");
        let old = if kind == 1 {
            let (step, old_size) = (from.signed()?, from.number()?);
            let old = within(*program, step, old_size).ok_or_else(outside)?;
            if size < HEAD {
                return Err(Error::Broken("a unit is too small for a program"));
            }
            *program = old.end;
            Some(old)
        } else {
            None
        };
        let count = from.number()?;
        if count > most_regions {
            return Err(Error::Broken("its regions take more memory than it says"));
        }
        let mut regions = Vec::with_capacity(count as usize);
        let mut at = old.as_ref().map_or(0, |old| old.start);
        let mut new: u64 = 0;
        for _ in 0..count {
            let (size_here, literals, step) = (from.number()?, from.number()?, from.signed()?);
            let old = within(at, step, size_here).ok_or_else(outside)?;
            if size_here == 0 && literals == 0 {
                return Err(Error::Broken("a region has nothing in it"));
            }
            regions.push(Region {
                old: old.start,
                new,
                size: size_here,
                literals,
            });
            at = old.end;
            new = new
                .checked_add(size_here)
                .and_then(|new| new.checked_add(literals))
                .filter(|new| *new <= size)
                .ok_or_else(broken("regions are longer than their unit"))?;
        }
        if new < size {
            return Err(Error::Broken("regions are shorter than their unit"));
        }
        Ok(Self {
            size,
            program: old,
            regions,
        })
    }

    /// Goes over all of it, in either direction.
    fn go_over<S: Side>(
        &self,
        base: &dyn ReadAt,
        learned: &mut Learned,
        bytes: &mut [u8],
        side: &mut S,
    ) -> Result<()> {
        let image = self.image(base)?;
        let movement = self.movement();
        let mut predictor = image.as_ref().map(|(old, image)| {
            let predictor = Predictor::new(image, &movement, learned, self.size);
            (old.clone(), image, predictor)
        });
        let mut found = Vec::new();
        for region in &self.regions {
            let mut scanner = None;
            let mut done = 0;
            while done < region.size {
                let (old, new) = (region.old + done, region.new + done);
                let mut count = (region.size - done).min(CHUNK as u64);
                if new < HEAD {
                    count = count.min(HEAD - new);
                }
                let part = &mut bytes[..count as usize];
                base.read_exact_at(part, old).map_err(Error::Base)?;
                found.clear();
                let known = predictor.as_mut().filter(|(program, _, predictor)| {
                    predictor.is_ready()
                        && program.start <= region.old
                        && region.old + region.size <= program.end
                });
                let (part, correct) = match known {
                    Some((program, image, predictor)) => {
                        let more = done + count < region.size;
                        let scanner = scanner.get_or_insert_with(|| Scanner::new(image));
                        let at = old - program.start;
                        let scanned = match scanner.scan(at, part, more, &mut found) {
                            0 => part.len(),
                            scanned => scanned,
                        };
                        (&mut part[..scanned], Some((predictor, at)))
                    }
                    None => (part, None),
                };
                let other = side.other(new, part.len())?;
                if let Some((predictor, at)) = correct {
                    predictor.correct(&found, (at, new), part, other, S::truth);
                }
                let real = side.finish(part)?;
                if let Some((.., predictor)) = &mut predictor {
                    predictor.note(real);
                }
                done += part.len() as u64;
            }
            let mut left = region.literals;
            while left > 0 {
                let count = left.min(CHUNK as u64);
                let at = region.new + region.size + region.literals - left;
                let real = side.literals(at, count as usize)?;
                if let Some((.., predictor)) = &mut predictor {
                    predictor.note(real);
                }
                left -= count;
            }
        }
        Ok(())
    }

    /// The old program, and where it lies in the base.
    fn image(&self, base: &dyn ReadAt) -> Result<Option<(Range<u64>, Image)>> {
        let Some(program) = &self.program else {
            return Ok(None);
        };
        let size = program.end - program.start;
        let mut head = vec![0; size.min(HEAD) as usize];
        base.read_exact_at(&mut head, program.start)
            .map_err(Error::Base)?;
        Ok(Image::new(&head, size).map(|image| (program.clone(), image)))
    }

    /// How what lies in the old program has moved.
    fn movement(&self) -> Movement {
        let Some(program) = &self.program else {
            return Movement::default();
        };
        let inside = |region: &&Region| {
            program.start <= region.old && region.old + region.size <= program.end
        };
        let stretch = |region: &Region| Stretch {
            at: region.old - program.start,
            size: region.size,
            by: region.new.wrapping_sub(region.old - program.start),
        };
        Movement::new(self.regions.iter().filter(inside).map(stretch).collect())
    }
}

/// One of the two directions.
trait Side {
    /// What is known of so many bytes of the unit beside what is predicted: the differences, or the bytes
    /// themselves.
    fn other(&mut self, at: u64, count: usize) -> Result<&[u8]>;

    /// What a byte really is.
    fn truth(predicted: u8, other: u8) -> u8;

    /// Takes what was predicted for the bytes that were last asked for, and gives what they really are.
    fn finish(&mut self, predicted: &[u8]) -> Result<&[u8]>;

    /// Hands on so many bytes that nothing is predicted for.
    fn literals(&mut self, at: u64, count: usize) -> Result<&[u8]>;
}

struct Decoder<'a, 'b, 'c, D> {
    streams: &'a mut Streams<'b, D>,
    buffer: &'a mut [u8],
    out: &'a mut Checked<'c>,
}

impl<D: ReadAt> Side for Decoder<'_, '_, '_, D> {
    fn other(&mut self, _at: u64, count: usize) -> Result<&[u8]> {
        self.streams.differences.fill(&mut self.buffer[..count])?;
        Ok(&self.buffer[..count])
    }

    fn truth(predicted: u8, difference: u8) -> u8 {
        predicted.wrapping_add(difference)
    }

    fn finish(&mut self, predicted: &[u8]) -> Result<&[u8]> {
        let real = &mut self.buffer[..predicted.len()];
        for (real, predicted) in real.iter_mut().zip(predicted) {
            *real = predicted.wrapping_add(*real);
        }
        self.out.write(real)?;
        Ok(real)
    }

    fn literals(&mut self, _at: u64, count: usize) -> Result<&[u8]> {
        let bytes = &mut self.buffer[..count];
        self.streams.literals.fill(bytes)?;
        self.out.write(bytes)?;
        Ok(bytes)
    }
}
