//! What of an ELF file has to be known to understand its references: where its segments lie in the file
//! and in memory (System V ABI, "Program Header"). Only its first [`HEAD`] bytes are looked at.

/// What is looked at of a file, bytes.
pub(super) const HEAD: u64 = 4096;
/// The most segments that are looked at.
const MAX_SEGMENTS: usize = 64;
/// The size of a program header, bytes.
const PROGRAM_HEADER: usize = 56;
/// Addresses above this are not of programs.
const MAX_ADDRESS: u64 = 1 << 62;

/// What the instructions are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Machine {
    X86,
    Arm,
}

/// A part of the file that is loaded into memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where it begins in the file.
    pub(super) at: u64,
    /// Its bytes in the file.
    pub(super) size: u64,
    /// Where it begins in memory.
    pub(super) address: u64,
    /// Its bytes in memory, as many as in the file at least.
    pub(super) memory: u64,
    pub(super) executable: bool,
}

/// An ELF file that can be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) machine: Machine,
    /// It is loaded where its addresses say.
    pub(super) fixed: bool,
    pub(super) segments: Vec<Segment>,
    /// Where the table of unwinding information lies in memory, and its bytes.
    pub(super) frames: Option<(u64, u64)>,
}

impl Image {
    /// The image of a file of `size` bytes that begins like this; `None` for anything that is not
    /// understood.
    pub(super) fn new(head: &[u8], size: u64) -> Option<Self> {
        const LOAD: u32 = 1;
        const FRAMES: u32 = 0x6474_e550;
        const EXECUTABLE: u32 = 1;
        const X86_64: u16 = 62;
        const AARCH64: u16 = 183;
        if !head.starts_with(b"\x7fELF\x02\x01") {
            return None;
        }
        let machine = match u16_at(head, 18)? {
            X86_64 => Machine::X86,
            AARCH64 => Machine::Arm,
            _ => return None,
        };
        let mut image = Self {
            machine,
            fixed: u16_at(head, 16)? == 2,
            segments: Vec::new(),
            frames: None,
        };
        let table = usize::try_from(u64_at(head, 32)?).ok()?;
        let count = usize::from(u16_at(head, 56)?);
        if count > MAX_SEGMENTS {
            return None;
        }
        let headers = head.get(table..)?.get(..count * PROGRAM_HEADER)?;
        for header in headers.chunks_exact(PROGRAM_HEADER) {
            let (kind, flags) = (u32_at(header, 0)?, u32_at(header, 4)?);
            let segment = Segment {
                at: u64_at(header, 8)?,
                size: u64_at(header, 32)?,
                address: u64_at(header, 16)?,
                memory: u64_at(header, 40)?.max(u64_at(header, 32)?),
                executable: flags & EXECUTABLE != 0,
            };
            let inside = segment
                .at
                .checked_add(segment.size)
                .is_some_and(|end| end <= size);
            if !inside || segment.address > MAX_ADDRESS || segment.memory > MAX_ADDRESS {
                return None;
            }
            match kind {
                LOAD => image.segments.push(segment),
                FRAMES => image.frames = Some((segment.address, segment.size)),
                _ => {}
            }
        }
        (!image.segments.is_empty()).then_some(image)
    }

    /// Where a place in the file comes to lie in memory.
    pub(super) fn address(&self, at: u64) -> Option<u64> {
        let within = |segment: &&Segment| at.wrapping_sub(segment.at) < segment.size;
        let segment = self.segments.iter().find(within)?;
        Some(at - segment.at + segment.address)
    }

    /// Where in the file an address comes from.
    pub(super) fn place(&self, address: u64) -> Option<u64> {
        let within = |segment: &&Segment| address.wrapping_sub(segment.address) < segment.size;
        let segment = self.segments.iter().find(within)?;
        Some(address - segment.address + segment.at)
    }

    /// Whether something of it lies at an address.
    pub(super) fn holds(&self, address: u64) -> bool {
        let within = |segment: &Segment| address.wrapping_sub(segment.address) < segment.memory;
        self.segments.iter().any(within)
    }

    /// Whether code of it lies at an address.
    pub(super) fn is_code(&self, address: u64) -> bool {
        let within = |segment: &Segment| {
            segment.executable && address.wrapping_sub(segment.address) < segment.size
        };
        self.segments.iter().any(within)
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*bytes))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*bytes))
}
