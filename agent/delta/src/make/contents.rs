//! Where the files lie in a NAR.

use crate::read_at::ReadAt;
use std::{io, ops::Range};

/// What every NAR begins with.
const MAGIC: &[u8] = b"nix-archive-1";
/// The longest text in a NAR: the target of a symbolic link, bytes.
const MAX_TEXT: u64 = 4096;
/// Deeper directories are in no NAR.
const MAX_DEPTH: usize = 128;
/// What is read at a time, bytes.
const BLOCK: u64 = 16 << 10;

/// A file in a NAR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Where its contents lie in the NAR.
    pub(crate) at: Range<u64>,
    /// Its path in the NAR, names with `/` between them; empty where the NAR is one file.
    pub(crate) path: Vec<u8>,
}

/// The files of a NAR in their order, without the empty ones; or the whole as one file, if it is not
/// a NAR or has none.
pub(crate) fn contents(of: &dyn ReadAt) -> io::Result<Vec<Contents>> {
    let mut reader = Reader {
        from: of,
        at: 0,
        block: Vec::new(),
        start: 0,
        files: Vec::new(),
    };
    let whole = reader.text()? == Some(MAGIC.to_vec()) && reader.node(&mut Vec::new(), 0)?;
    let whole = whole && reader.at == of.size() && !reader.files.is_empty();
    Ok(if whole {
        reader.files
    } else if of.size() == 0 {
        Vec::new()
    } else {
        vec![Contents {
            at: 0..of.size(),
            path: Vec::new(),
        }]
    })
}

struct Reader<'a> {
    from: &'a dyn ReadAt,
    at: u64,
    /// What was read last, and where that begins.
    block: Vec<u8>,
    start: u64,
    files: Vec<Contents>,
}

impl Reader<'_> {
    /// `None`: it ends before.
    fn bytes(&mut self, count: u64) -> io::Result<Option<&[u8]>> {
        let size = self.from.size();
        if count > size.saturating_sub(self.at) {
            return Ok(None);
        }
        let end = self.at + count;
        if self.at < self.start || end > self.start + self.block.len() as u64 {
            let ahead = BLOCK.max(count).min(size - self.at);
            self.block.resize(ahead as usize, 0);
            self.start = self.at;
            self.from.read_exact_at(&mut self.block, self.at)?;
        }
        let from = (self.at - self.start) as usize;
        self.at = end;
        Ok(self.block.get(from..from + count as usize))
    }

    fn number(&mut self) -> io::Result<Option<u64>> {
        let bytes = self.bytes(8)?.and_then(|bytes| bytes.first_chunk());
        Ok(bytes.map(|bytes| u64::from_le_bytes(*bytes)))
    }

    /// `None`: what is there is not a text.
    fn text(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(size) = self.number()?.filter(|size| *size <= MAX_TEXT) else {
            return Ok(None);
        };
        let text = self.bytes(size.next_multiple_of(8))?;
        Ok(text.map(|text| text[..size as usize].to_vec()))
    }

    fn is(&mut self, texts: &[&[u8]]) -> io::Result<bool> {
        for text in texts {
            if self.text()?.as_deref() != Some(*text) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether there was one.
    fn node(&mut self, path: &mut Vec<u8>, depth: usize) -> io::Result<bool> {
        if depth > MAX_DEPTH || !self.is(&[b"(", b"type"])? {
            return Ok(false);
        }
        match self.text()?.as_deref() {
            Some(b"regular") => self.regular(path),
            Some(b"symlink") => {
                Ok(self.is(&[b"target"])? && self.text()?.is_some() && self.is(&[b")"])?)
            }
            Some(b"directory") => loop {
                match self.text()?.as_deref() {
                    Some(b")") => return Ok(true),
                    Some(b"entry") if self.is(&[b"(", b"name"])? => {}
                    _ => return Ok(false),
                }
                let Some(name) = self.text()? else {
                    return Ok(false);
                };
                let above = path.len();
                if above > 0 {
                    path.push(b'/');
                }
                path.extend_from_slice(&name);
                if !(self.is(&[b"node"])? && self.node(path, depth + 1)? && self.is(&[b")"])?) {
                    return Ok(false);
                }
                path.truncate(above);
            },
            _ => Ok(false),
        }
    }

    fn regular(&mut self, path: &[u8]) -> io::Result<bool> {
        let mut next = self.text()?;
        if next.as_deref() == Some(b"executable") {
            if !self.is(&[b""])? {
                return Ok(false);
            }
            next = self.text()?;
        }
        if next.as_deref() == Some(b"contents") {
            let Some(size) = self.number()? else {
                return Ok(false);
            };
            let (at, end) = (self.at, self.at.checked_add(size));
            let Some(end) = end.filter(|end| *end <= self.from.size()) else {
                return Ok(false);
            };
            if size > 0 {
                let path = path.to_vec();
                self.files.push(Contents { at: at..end, path });
            }
            self.at = end.next_multiple_of(8);
            next = self.text()?;
        }
        Ok(next.as_deref() == Some(b")"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Tree,
        tests::{tree, write_tree},
    };

    #[test]
    fn files_are_found_in_a_nar_and_anything_else_is_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let files = tree(&[
            ("bin/a", b"alpha"),
            ("bin/empty", b""),
            ("z", b"omega omega"),
        ]);
        write_tree(dir.path(), &files);
        let tree = Tree::new(dir.path()).unwrap();
        let mut nar = vec![0; tree.size() as usize];
        tree.read_exact_at(&mut nar, 0).unwrap();
        let found = contents(&nar).unwrap();
        assert_eq!(found, contents(&tree).unwrap());
        let seen: Vec<_> = found
            .iter()
            .map(|file| {
                let at = file.at.start as usize..file.at.end as usize;
                (&file.path[..], &nar[at])
            })
            .collect();
        assert_eq!(
            seen,
            [(&b"bin/a"[..], &b"alpha"[..]), (b"z", b"omega omega")]
        );
        for end in 0..nar.len() {
            let whole = contents(&&nar[..end]).unwrap();
            assert_eq!(whole.len(), usize::from(end > 0), "{end}");
        }
    }
}
