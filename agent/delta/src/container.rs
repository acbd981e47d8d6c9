//! The container: what every delta begins with, whatever codec it names.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `SFDELTA1` |
//! | 1 | length of the codec's name, 1 to 32 |
//! | … | the codec's name: small letters, digits, `-` |
//! | number, 32 | size and SHA-256 of the base |
//! | number, 32 | size and SHA-256 of what comes out |
//! | number | memory that applying it takes, bytes |
//! | … | what the codec reads, up to the end |

use crate::{
    codec::name::Codec,
    error::{Error, Result},
    number,
    read_at::{ReadAt, Section},
};
use sha2::{Digest as _, Sha256};
use std::io::{self, Read, Write};

/// What every delta begins with.
const MAGIC: &[u8; 8] = b"SFDELTA1";
/// The longest name of a codec, bytes.
const MAX_NAME: usize = 32;
/// The longest header, bytes.
const MAX_HEADER: u64 = 8 + 1 + MAX_NAME as u64 + 3 * 10 + 2 * 32;
/// What is read and hashed at a time, bytes.
const PIECE: usize = 128 << 10;

/// SHA-256.
pub type Digest = [u8; 32];

/// What a delta says of itself. None of it is to be believed before something signed says the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// How it is coded.
    pub codec: Codec,
    /// The size of its base, bytes: of a NAR where the base is a store path.
    pub base_size: u64,
    /// The digest of its base.
    pub base_digest: Digest,
    /// The size of what comes out, bytes.
    pub result_size: u64,
    /// The digest of what comes out.
    pub result_digest: Digest,
    /// The memory that applying it takes, bytes: no more is used. What a [`Tree`](crate::Tree) needs
    /// to know where its files lie comes on top, some 300 bytes for each.
    pub memory: u64,
}

#[cfg(feature = "make")]
impl Header {
    /// What a delta begins with that says this of itself.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let name = self.codec.name();
        let mut bytes = MAGIC.to_vec();
        bytes.push(name.len() as u8);
        bytes.extend_from_slice(name.as_bytes());
        number::write(&mut bytes, self.base_size);
        bytes.extend_from_slice(&self.base_digest);
        number::write(&mut bytes, self.result_size);
        bytes.extend_from_slice(&self.result_digest);
        number::write(&mut bytes, self.memory);
        bytes
    }
}

/// What a delta may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory, bytes.
    pub memory: u64,
    /// What comes out, bytes.
    pub result: u64,
}

/// The memory that any delta made here keeps to; results of any size.
impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            result: u64::MAX,
        }
    }
}

/// A delta whose header was read and is within the limits.
#[derive(Debug)]
pub struct Delta<D> {
    pub(crate) header: Header,
    pub(crate) file: D,
    /// Where what the codec reads begins.
    pub(crate) body: u64,
}

impl<D: ReadAt> Delta<D> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Error::Delta`], [`Error::NotADelta`], [`Error::Codec`], [`Error::Memory`], [`Error::Result`].
    pub fn open(file: D, limits: &Limits) -> Result<Self> {
        let mut from = Section::new(&file, 0, MAX_HEADER);
        let mut counted = Counted {
            from: &mut from,
            count: 0,
        };
        let header = read(&mut counted)?;
        let body = counted.count;
        if header.memory > limits.memory {
            return Err(Error::Memory {
                needed: header.memory,
                allowed: limits.memory,
            });
        }
        if header.result_size > limits.result {
            return Err(Error::Result {
                size: header.result_size,
                allowed: limits.result,
            });
        }
        Ok(Self { header, file, body })
    }

    /// What it says of itself.
    pub const fn header(&self) -> &Header {
        &self.header
    }
}

/// The digest of all of it.
///
/// # Errors
/// It cannot be read.
pub fn digest(of: &dyn ReadAt) -> io::Result<Digest> {
    let mut digest = Sha256::new();
    let mut from = Section::new(of, 0, u64::MAX);
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(digest.finalize().into()),
            count => digest.update(&piece[..count]),
        }
    }
}

fn read(from: &mut impl Read) -> Result<Header> {
    let short = |_| Error::NotADelta;
    let mut magic = [0; MAGIC.len()];
    from.read_exact(&mut magic).map_err(short)?;
    if &magic != MAGIC {
        return Err(Error::NotADelta);
    }
    let mut length = [0];
    from.read_exact(&mut length).map_err(short)?;
    let mut name = [0; MAX_NAME];
    let name = name
        .get_mut(..length[0].into())
        .ok_or(Error::Broken("the name of its codec is too long"))?;
    from.read_exact(name).map_err(short)?;
    let name = std::str::from_utf8(name)
        .ok()
        .filter(|name| {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            !name.is_empty() && name.chars().all(plain)
        })
        .ok_or(Error::Broken("the name of its codec is not a word"))?;
    let codec = Codec::named(name).ok_or_else(|| Error::Codec(name.into()))?;
    let mut sized = || {
        let size = number::read(from).map_err(short)?;
        let mut digest = Digest::default();
        from.read_exact(&mut digest).map_err(short)?;
        Ok::<_, Error>((size, digest))
    };
    let (base_size, base_digest) = sized()?;
    let (result_size, result_digest) = sized()?;
    let memory = number::read(from).map_err(short)?;
    Ok(Header {
        codec,
        base_size,
        base_digest,
        result_size,
        result_digest,
        memory,
    })
}

/// Counts what is read.
struct Counted<'a, R> {
    from: &'a mut R,
    count: u64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

/// Where the codec writes to: no more than the header says, hashed on the way.
pub(crate) struct Checked<'a> {
    out: &'a mut dyn Write,
    left: u64,
    digest: Sha256,
}

impl<'a> Checked<'a> {
    /// Nothing has come out yet of what this header says.
    pub(crate) fn new(out: &'a mut dyn Write, header: &Header) -> Self {
        Self {
            out,
            left: header.result_size,
            digest: Sha256::new(),
        }
    }

    /// Whether all came out that this header says, and as it says.
    pub(crate) fn ends_as(self, header: &Header) -> bool {
        self.left == 0 && Digest::from(self.digest.finalize()) == header.result_digest
    }

    /// How much is still to come, bytes.
    pub(crate) const fn left(&self) -> u64 {
        self.left
    }

    /// Hands on what came out.
    ///
    /// # Errors
    /// [`Error::Broken`] if it is more than was said, [`Error::Output`].
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or(Error::Broken("more comes out than it says"))?;
        self.digest.update(bytes);
        self.out.write_all(bytes).map_err(Error::Output)
    }
}
