//! Bytes that are read by random access.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt,
};

/// A fixed number of bytes that can be read at any place, without all of them being in memory.
pub trait ReadAt {
    /// How many there are.
    fn size(&self) -> u64;

    /// Fills `buffer` with what begins at the byte `at`.
    ///
    /// # Errors
    /// It cannot be read, or ends before `buffer` is full.
    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        (**self).read_exact_at(buffer, at)
    }
}

impl ReadAt for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let from = usize::try_from(at).ok().and_then(|at| self.get(at..));
        match from.and_then(|from| from.get(..buffer.len())) {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.as_slice().read_exact_at(buffer, at)
    }
}

/// A file as large as it is when it is asked; one that cannot say has no bytes.
impl ReadAt for File {
    fn size(&self) -> u64 {
        self.metadata().map_or(0, |metadata| metadata.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, at)
    }
}

/// A part of something, read from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Section<R> {
    from: R,
    at: u64,
    end: u64,
}

impl<R: ReadAt> Section<R> {
    /// The bytes from `at` to `end`; what lies behind the end of `from` is left out.
    pub(crate) fn new(from: R, at: u64, end: u64) -> Self {
        let end = end.min(from.size());
        Self { from, at, end }
    }

    /// Where the next byte lies.
    pub(crate) const fn position(&self) -> u64 {
        self.at
    }
}

/// What is left of it, by random access.
impl<R: ReadAt> ReadAt for Section<R> {
    fn size(&self) -> u64 {
        self.end.saturating_sub(self.at)
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let end = at.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.size()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.from.read_exact_at(buffer, self.at + at)
    }
}

impl<R: ReadAt> Read for Section<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.end.saturating_sub(self.at);
        let count = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        self.from.read_exact_at(&mut buffer[..count], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
