//! The four streams of a delta: each LZMA2 without a container (`lzma_raw_decoder` in liblzma), read
//! side by side.
//!
//! | what | |
//! |---|---|
//! | number | bytes of a stream; an empty one has none |
//! | number | its dictionary as a power of two, 12 to 23; not for an empty one |
//!
//! and that four times, for regions, runs, differences and literals; then the streams.

use crate::{
    error::{Error, Result},
    number,
    read_at::{ReadAt, Section},
};
use liblzma::{
    bufread::XzDecoder,
    stream::{Filters, LzmaOptions, Stream as Lzma},
};
use std::io::{self, BufRead, BufReader, Read};

/// The largest dictionary, as a power of two.
const MAX_DICTIONARY: u32 = 23;
/// The smallest one that LZMA2 has.
const MIN_DICTIONARY: u32 = 12;
/// What a decoder takes beside its dictionary, bytes: its state and its buffers.
const BESIDE: u64 = 128 << 10;
/// What is read at a time, bytes.
const BUFFER: usize = 16 << 10;

/// The memory that a stream takes, bytes.
const fn memory(dictionary: u32) -> u64 {
    (1 << dictionary) + BESIDE
}

/// One stream. One that is empty ends at once.
pub(super) struct Stream<'a, D>(Option<BufReader<XzDecoder<BufReader<Section<&'a D>>>>>);

impl<'a, D: ReadAt> Stream<'a, D> {
    fn new(part: Section<&'a D>, dictionary: Option<u32>) -> io::Result<Self> {
        let Some(dictionary) = dictionary else {
            return Ok(Self(None));
        };
        let mut options = LzmaOptions::new_preset(0)?;
        options.dict_size(1 << dictionary);
        let decoder = Lzma::new_raw_decoder(Filters::new().lzma2(&options))?;
        let packed = BufReader::with_capacity(BUFFER, part);
        let unpacked = XzDecoder::new_stream(packed, decoder);
        Ok(Self(Some(BufReader::with_capacity(BUFFER, unpacked))))
    }

    /// A number.
    pub(super) fn number(&mut self) -> Result<u64> {
        number::read(self).map_err(Error::Delta)
    }

    /// A number that may be negative.
    pub(super) fn signed(&mut self) -> Result<i64> {
        number::read_signed(self).map_err(Error::Delta)
    }

    /// As many bytes as there is room for.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.read_exact(buffer).map_err(Error::Delta)
    }

    /// Checks that nothing is left.
    fn end(&mut self) -> Result<()> {
        let Some(stream) = &mut self.0 else {
            return Ok(());
        };
        let unpacked = stream.fill_buf().map_err(Error::Delta)?.is_empty();
        let packed = stream.get_mut().get_mut().fill_buf();
        if !unpacked || !packed.map_err(Error::Delta)?.is_empty() {
            return Err(Error::Broken("something follows its end"));
        }
        Ok(())
    }
}

impl<D: ReadAt> Read for Stream<'_, D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.as_mut().map_or(Ok(0), |stream| stream.read(buffer))
    }
}

/// All of them.
pub(super) struct Streams<'a, D> {
    /// Units and their regions.
    pub(super) regions: Stream<'a, D>,
    /// What differs.
    pub(super) differences: Differences<'a, D>,
    /// What the base does not have.
    pub(super) literals: Stream<'a, D>,
}

impl<'a, D: ReadAt> Streams<'a, D> {
    /// Opens them, and says what memory they take, bytes, which is at most `most`.
    pub(super) fn open(body: &'a D, most: u64) -> Result<(Self, u64)> {
        // The numbers are few; no stream begins before they end.
        let mut head = Section::new(body, 0, body.size());
        let mut sizes = [(0, None); 4];
        let mut needed: u64 = 0;
        for (size, dictionary) in &mut sizes {
            *size = number::read(&mut head).map_err(Error::Delta)?;
            if *size > 0 {
                let log = number::read(&mut head).map_err(Error::Delta)?;
                let log = u32::try_from(log)
                    .ok()
                    .filter(|log| (MIN_DICTIONARY..=MAX_DICTIONARY).contains(log))
                    .ok_or(Error::Broken("a dictionary is out of bounds"))?;
                *dictionary = Some(log);
                needed += memory(log);
            }
        }
        if needed > most {
            return Err(Error::Broken("its streams take more memory than it says"));
        }
        let mut at = head.position();
        let mut next = |index: usize| {
            let (size, dictionary) = sizes[index];
            let end = at
                .checked_add(size)
                .filter(|end| *end <= body.size())
                .ok_or(Error::Broken("a stream is longer than the delta"))?;
            let part = Section::new(body, std::mem::replace(&mut at, end), end);
            Stream::new(part, dictionary).map_err(Error::Delta)
        };
        let streams = Self {
            regions: next(0)?,
            differences: Differences {
                runs: next(1)?,
                bytes: next(2)?,
                left: [0; 2],
            },
            literals: next(3)?,
        };
        if at != body.size() {
            return Err(Error::Broken("something follows its end"));
        }
        Ok((streams, needed))
    }

    /// Checks that nothing is left of any.
    pub(super) fn end(&mut self) -> Result<()> {
        self.regions.end()?;
        self.differences.runs.end()?;
        self.differences.bytes.end()?;
        self.literals.end()?;
        if self.differences.left != [0; 2] {
            return Err(Error::Broken("a run reaches behind its end"));
        }
        Ok(())
    }
}

/// Differences: in turn, so many as they stand in their stream, and so many zeros.
pub(super) struct Differences<'a, D> {
    runs: Stream<'a, D>,
    bytes: Stream<'a, D>,
    left: [u64; 2],
}

impl<D: ReadAt> Differences<'_, D> {
    /// The next ones.
    pub(super) fn fill(&mut self, mut buffer: &mut [u8]) -> Result<()> {
        while !buffer.is_empty() {
            if self.left == [0; 2] {
                self.left = [self.runs.number()?, self.runs.number()?];
                if self.left == [0; 2] {
                    return Err(Error::Broken("a run has no length"));
                }
            }
            let [given, zeros] = &mut self.left;
            let (left, is_given) = if *given > 0 {
                (given, true)
            } else {
                (zeros, false)
            };
            let count = buffer
                .len()
                .min(usize::try_from(*left).unwrap_or(usize::MAX));
            let (now, later) = buffer.split_at_mut(count);
            if is_given {
                self.bytes.fill(now)?;
            } else {
                now.fill(0);
            }
            *left -= count as u64;
            buffer = later;
        }
        Ok(())
    }
}

#[cfg(feature = "make")]
pub(super) mod make {
    //! The other direction.

    use super::{MAX_DICTIONARY, MIN_DICTIONARY, memory};
    use crate::number;
    use liblzma::{
        stream::{Filters, LzmaOptions, PRESET_EXTREME, Stream},
        write::XzEncoder,
    };
    use std::io::{self, Write as _};

    /// Fewer zeros than this stand among the differences: a run costs more.
    const MIN_ZEROS: usize = 8;

    /// The streams as they are filled.
    #[derive(Debug, Default)]
    pub(in super::super) struct Streams {
        pub(in super::super) regions: Vec<u8>,
        pub(in super::super) differences: Vec<u8>,
        pub(in super::super) literals: Vec<u8>,
    }

    impl Streams {
        /// What the codec reads, and the memory that the streams take, bytes.
        pub(in super::super) fn finish(self) -> io::Result<(Vec<u8>, u64)> {
            let (runs, differences) = runs(&self.differences);
            let (mut body, mut data, mut needed) = (Vec::new(), Vec::new(), 0);
            // Literals are code and text; numbers and differences have no alignment.
            for (bytes, position_bits) in [
                (self.regions, 0),
                (runs, 0),
                (differences, 0),
                (self.literals, 2),
            ] {
                let log = dictionary(bytes.len());
                let packed = pack(&bytes, log, position_bits)?;
                number::write(&mut body, packed.len() as u64);
                if !packed.is_empty() {
                    number::write(&mut body, log.into());
                    needed += memory(log);
                }
                data.extend_from_slice(&packed);
            }
            body.extend_from_slice(&data);
            Ok((body, needed))
        }
    }

    /// The dictionary for so many bytes: one that is larger would not help.
    fn dictionary(size: usize) -> u32 {
        let log = size.max(1).next_power_of_two().ilog2();
        log.clamp(MIN_DICTIONARY, MAX_DICTIONARY)
    }

    fn pack(bytes: &[u8], dictionary: u32, position_bits: u32) -> io::Result<Vec<u8>> {
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        let mut options = LzmaOptions::new_preset(9 | PRESET_EXTREME)?;
        options.dict_size(1 << dictionary);
        options.position_bits(position_bits);
        let encoder = Stream::new_raw_encoder(Filters::new().lzma2(&options))?;
        let mut encoder = XzEncoder::new_stream(Vec::new(), encoder);
        encoder.write_all(bytes)?;
        encoder.finish()
    }

    /// The lengths of runs, and what is left without the zeros.
    fn runs(differences: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (mut lengths, mut rest) = (Vec::new(), Vec::new());
        let (mut from, mut at) = (0, 0);
        while from < differences.len() {
            let zeros = differences[at..]
                .iter()
                .take_while(|byte| **byte == 0)
                .count();
            let ends = at + zeros == differences.len();
            if zeros >= MIN_ZEROS || ends {
                number::write(&mut lengths, (at - from) as u64);
                number::write(&mut lengths, zeros as u64);
                rest.extend_from_slice(&differences[from..at]);
                at += zeros;
                from = at;
            } else {
                at += zeros + 1;
            }
        }
        (lengths, rest)
    }
}
