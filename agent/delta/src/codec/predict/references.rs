//! References from one place of a program to another, found without a disassembler: by what they look
//! like, and by where they would lead. One that is none costs a few bytes, and nothing else.

use super::image::{Image, Machine, Segment, u32_at, u64_at};

/// As many bytes as any pattern, and what follows it, takes.
const LONGEST: usize = 8;
/// The instructions after an `adrp` among which the one is looked for that completes the address.
const AHEAD: usize = 16;
/// Numbers below this are hardly addresses.
const MIN_ADDRESS: u64 = 0x400;

/// How a reference is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// 4 bytes, counted from an address so many bytes behind its own.
    Relative(u8),
    /// 4 bytes of address.
    Absolute32,
    /// 8 bytes of address.
    Absolute64,
    /// 4 bytes, counted from where the table of unwinding information begins.
    Frame,
    /// `b`, `bl`: 26 bits, in instructions.
    Branch,
    /// `adrp`: 21 bits, in pages of 4 KiB.
    Page,
    /// `add` after `adrp`: the place in the page, 12 bits.
    Add,
    /// A load or store after `adrp`: likewise, in units of so many bits.
    Access(u8),
}

impl Kind {
    /// How many bytes it takes.
    pub(super) const fn size(self) -> usize {
        match self {
            Self::Absolute64 => 8,
            _ => 4,
        }
    }
}

/// A reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reference {
    /// Where it stands, among the bytes that were looked at.
    pub(super) at: usize,
    pub(super) kind: Kind,
    /// The address that it leads to.
    pub(super) target: u64,
}

/// Finds references in parts of a file that follow each other.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    image: &'a Image,
    /// For each register, where an `adrp` stood and what it put there.
    pages: [Option<(u64, u64)>; 32],
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(image: &'a Image) -> Self {
        Self {
            image,
            pages: [None; 32],
        }
    }

    /// Finds what is in `bytes`, which stand at `at` in the file, and says how many of them were looked
    /// at: if `more` follow, the last ones may be left for the next time.
    pub(super) fn scan(
        &mut self,
        at: u64,
        bytes: &[u8],
        more: bool,
        found: &mut Vec<Reference>,
    ) -> usize {
        let image = self.image;
        let mut from = 0;
        while from < bytes.len() {
            let place = at + from as u64;
            let Some(segment) = segment_at(image, place) else {
                // On to the next one.
                let starts = image.segments.iter().map(|segment| segment.at);
                let next = starts.filter(|start| *start > place).min();
                let skip = next.map_or(u64::MAX, |next| next - place);
                from = bytes.len().min(from.saturating_add(clamped(skip)));
                continue;
            };
            let end = bytes
                .len()
                .min(from.saturating_add(clamped(segment.at + segment.size - place)));
            let part = Part {
                bytes: &bytes[..end],
                address: segment.address.wrapping_add(at.wrapping_sub(segment.at)),
                image,
            };
            let stopped = match (segment.executable, image.machine) {
                (true, Machine::X86) => part.x86(from, found),
                (true, Machine::Arm) => part.arm(aligned(from, at), &mut self.pages, found),
                (false, _) => part.data(aligned(from, at), found),
            };
            if more && end == bytes.len() {
                return stopped.min(end);
            }
            from = end;
        }
        bytes.len()
    }
}

fn clamped(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The next of the bytes that stands at a multiple of 4 in the file.
fn aligned(from: usize, at: u64) -> usize {
    let place = at.wrapping_add(from as u64);
    from + (place.wrapping_neg() % 4) as usize
}

fn segment_at(image: &Image, place: u64) -> Option<&Segment> {
    let within = |segment: &&Segment| place.wrapping_sub(segment.at) < segment.size;
    image.segments.iter().find(within)
}

/// Bytes of one segment.
struct Part<'a> {
    bytes: &'a [u8],
    /// The address of the first byte, if it were of this segment; it wraps.
    address: u64,
    image: &'a Image,
}

impl Part<'_> {
    const fn address(&self, at: usize) -> u64 {
        self.address.wrapping_add(at as u64)
    }

    /// Calls, jumps, conditional jumps, and operands relative to the instruction's end (ModRM with mode
    /// 0 and register 5; Intel's manual, volume 2, table 2-7).
    fn x86(&self, mut from: usize, found: &mut Vec<Reference>) -> usize {
        while let Some(bytes) = self
            .bytes
            .get(from..)
            .and_then(<[u8]>::first_chunk::<LONGEST>)
        {
            let (skip, code) = match bytes {
                [0xe8 | 0xe9, ..] => (1, true),
                [0x0f, 0x80..=0x8f, ..] => (2, true),
                [modrm, ..] if modrm & 0xc7 == 5 => (1, false),
                _ => (0, false),
            };
            let mut taken = 1;
            if skip > 0 {
                let at = from + skip;
                let distance = sign_extended(u32_at(bytes, skip));
                let target = self.address(at).wrapping_add(4).wrapping_add(distance);
                if if code {
                    self.image.is_code(target)
                } else {
                    self.image.holds(target)
                } {
                    let kind = Kind::Relative(4);
                    found.push(Reference { at, kind, target });
                    taken = skip + 4;
                }
            }
            if taken == 1 && self.image.fixed {
                let target = u64::from(u32_at(bytes, 0).unwrap_or_default());
                if target >= MIN_ADDRESS && self.image.holds(target) {
                    let kind = Kind::Absolute32;
                    found.push(Reference {
                        at: from,
                        kind,
                        target,
                    });
                    taken = 4;
                }
            }
            from += taken;
        }
        from
    }

    /// Branches, and pairs of `adrp` with what completes the address (Arm ARM, C6.2).
    fn arm(
        &self,
        mut from: usize,
        pages: &mut [Option<(u64, u64)>; 32],
        found: &mut Vec<Reference>,
    ) -> usize {
        while let Some(word) = u32_at(self.bytes, from) {
            let address = self.address(from);
            if word & 0x7c00_0000 == 0x1400_0000 {
                let distance = i64::from((word << 6).cast_signed() >> 6) * 4;
                let target = address.wrapping_add_signed(distance);
                if self.image.is_code(target) {
                    let kind = Kind::Branch;
                    found.push(Reference {
                        at: from,
                        kind,
                        target,
                    });
                }
            } else if word & 0x9f00_0000 == 0x9000_0000 {
                if from + 4 * (AHEAD + 1) > self.bytes.len() && from > 0 {
                    return from;
                }
                let page = page_of(word, address);
                let register = word & 31;
                pages[register as usize] = Some((address, page));
                let completed = (1..=AHEAD)
                    .map_while(|ahead| u32_at(self.bytes, from + 4 * ahead))
                    .find_map(|next| completion(next).filter(|(of, ..)| *of == register));
                if let Some((_, _, rest)) = completed {
                    let target = page.wrapping_add(rest);
                    if self.image.holds(target) {
                        let kind = Kind::Page;
                        found.push(Reference {
                            at: from,
                            kind,
                            target,
                        });
                    }
                }
            } else if let Some((register, kind, rest)) = completion(word)
                && let Some((by, page)) = pages[register as usize]
                && address.wrapping_sub(by) <= 4 * AHEAD as u64
            {
                let target = page.wrapping_add(rest);
                if self.image.holds(target) {
                    found.push(Reference {
                        at: from,
                        kind,
                        target,
                    });
                }
            }
            from += 4;
        }
        from
    }

    /// Addresses, tables of distances to code, and the table of unwinding information.
    fn data(&self, mut from: usize, found: &mut Vec<Reference>) -> usize {
        while let Some(bytes) = self
            .bytes
            .get(from..)
            .and_then(<[u8]>::first_chunk::<LONGEST>)
        {
            let (address, at) = (self.address(from), from);
            from += 4;
            let distance = sign_extended(u32_at(bytes, 0));
            if let Some((frames, size)) = self.image.frames
                && (12..size).contains(&address.wrapping_sub(frames))
            {
                let target = frames.wrapping_add(distance);
                if self.image.holds(target) {
                    let kind = Kind::Frame;
                    found.push(Reference { at, kind, target });
                }
                continue;
            }
            let target = u64::from_le_bytes(*bytes);
            if address.is_multiple_of(8) && target >= MIN_ADDRESS && self.image.holds(target) {
                let kind = Kind::Absolute64;
                found.push(Reference { at, kind, target });
                from += 4;
                continue;
            }
            let target = address.wrapping_add(distance);
            if distance != 0 && self.image.is_code(target) {
                let kind = Kind::Relative(0);
                found.push(Reference { at, kind, target });
            }
        }
        from
    }
}

/// The page that an `adrp` at an address puts into its register.
const fn page_of(word: u32, address: u64) -> u64 {
    let bits = (word >> 5 & 0x7_ffff) << 2 | word >> 29 & 3;
    let pages = ((bits << 11).cast_signed() >> 11) as i64;
    (address & !0xfff).wrapping_add_signed(pages << 12)
}

/// If this may complete an address: the register that has the page, how, and the place in the page.
const fn completion(word: u32) -> Option<(u32, Kind, u64)> {
    let (register, bits) = (word >> 5 & 31, (word >> 10 & 0xfff) as u64);
    if word & 0xffc0_0000 == 0x9100_0000 {
        Some((register, Kind::Add, bits))
    } else if word & 0x3b00_0000 == 0x3900_0000 {
        // 128 bits have a size of zero and the highest bit of the operation.
        let wide = word & 0x0480_0000 == 0x0480_0000 && word >> 30 == 0;
        let unit = if wide { 4 } else { word >> 30 };
        Some((register, Kind::Access(unit as u8), bits << unit))
    } else {
        None
    }
}

fn sign_extended(word: Option<u32>) -> u64 {
    i64::from(word.unwrap_or_default().cast_signed()).cast_unsigned()
}

/// A reference whose place and target have moved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved {
    pub(super) kind: Kind,
    /// The address that it stands at.
    pub(super) from: u64,
    /// The address that it leads to.
    pub(super) target: u64,
    /// Where the table of unwinding information begins.
    pub(super) frames: u64,
}

impl Moved {
    /// Writes the reference. `old` is where it stood and led; what of the bytes is not part of the
    /// reference stays.
    pub(super) fn write(self, old: Self, bytes: &mut [u8]) {
        let Some(word) = u32_at(bytes, 0) else {
            return;
        };
        let by = self.target.wrapping_sub(old.target);
        let place = (self.target & 0xfff) as u32;
        let word = match self.kind {
            Kind::Absolute64 => {
                if let Some(bytes) = bytes.first_chunk_mut() {
                    *bytes = self.target.to_le_bytes();
                }
                return;
            }
            Kind::Absolute32 => self.target as u32,
            Kind::Relative(_) => {
                word.wrapping_add(by.wrapping_sub(self.from.wrapping_sub(old.from)) as u32)
            }
            Kind::Frame => {
                word.wrapping_add(by.wrapping_sub(self.frames.wrapping_sub(old.frames)) as u32)
            }
            Kind::Branch => {
                let distance = (self.target.wrapping_sub(self.from) >> 2) as u32;
                word & 0xfc00_0000 | distance & 0x03ff_ffff
            }
            Kind::Page => {
                let pages = (self.target >> 12).wrapping_sub(self.from >> 12) as u32;
                word & 0x9f00_001f | (pages & 3) << 29 | (pages >> 2 & 0x7_ffff) << 5
            }
            Kind::Add => word & 0xffc0_03ff | place << 10,
            Kind::Access(unit) if place.trailing_zeros() >= u32::from(unit) => {
                word & 0xffc0_03ff | (place >> unit) << 10
            }
            Kind::Access(_) => return,
        };
        if let Some(bytes) = bytes.first_chunk_mut() {
            *bytes = word.to_le_bytes();
        }
    }

    /// Where bytes that stand at `self.from` lead to, if they alone say it.
    pub(super) fn read(self, bytes: &[u8]) -> Option<u64> {
        let word = u32_at(bytes, 0)?;
        match self.kind {
            Kind::Absolute64 => u64_at(bytes, 0),
            Kind::Absolute32 => Some(word.into()),
            Kind::Relative(behind) => {
                let from = self.from.wrapping_add(behind.into());
                Some(from.wrapping_add(sign_extended(Some(word))))
            }
            Kind::Frame => Some(self.frames.wrapping_add(sign_extended(Some(word)))),
            Kind::Branch if word & 0x7c00_0000 == 0x1400_0000 => {
                let distance = i64::from((word << 6).cast_signed() >> 6) * 4;
                Some(self.from.wrapping_add_signed(distance))
            }
            Kind::Branch | Kind::Page | Kind::Add | Kind::Access(_) => None,
        }
    }
}
