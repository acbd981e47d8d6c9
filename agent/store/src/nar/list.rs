//! What lies in a NAR, by its names alone.
//!
//! Source: Nix `src/libutil/archive.cc`; the format is described in E. Dolstra's thesis, figure 5.2.

use std::io;

/// NARs above this size are not listed, bytes.
pub const MAX_LISTED: usize = 64 << 20;

/// Directories may lie in each other so deep.
const MAX_DEPTH: usize = 64;

/// The files and links of a NAR by their path in it, such as `bin/sh`; a NAR that is one file gives one
/// empty name.
///
/// # Errors
/// It is not a NAR, is cut off, or is larger than [`MAX_LISTED`].
pub fn list(nar: &[u8]) -> io::Result<Vec<String>> {
    if nar.len() > MAX_LISTED {
        return Err(bad("it is too large to be listed"));
    }
    let mut words = Words(nar);
    words.expect("nix-archive-1")?;
    let mut names = Vec::new();
    node(&mut words, "", 0, &mut names)?;
    Ok(names)
}

fn node(words: &mut Words<'_>, at: &str, depth: usize, names: &mut Vec<String>) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(bad("its directories are nested too deep"));
    }
    words.expect("(")?;
    words.expect("type")?;
    match words.next()? {
        b"regular" => {
            let mut word = words.next()?;
            if word == b"executable" {
                words.expect("")?;
                word = words.next()?;
            }
            if word == b"contents" {
                words.next()?;
                word = words.next()?;
            }
            names.push(at.to_owned());
            closing(word)
        }
        b"symlink" => {
            words.expect("target")?;
            words.next()?;
            names.push(at.to_owned());
            words.expect(")")
        }
        b"directory" => loop {
            let word = words.next()?;
            if word != b"entry" {
                return closing(word);
            }
            words.expect("(")?;
            words.expect("name")?;
            let name = String::from_utf8_lossy(words.next()?).into_owned();
            words.expect("node")?;
            let below = if at.is_empty() {
                name
            } else {
                format!("{at}/{name}")
            };
            node(words, &below, depth + 1, names)?;
            words.expect(")")?;
        },
        _ => Err(bad(
            "it has something that is neither file, link nor directory",
        )),
    }
}

fn closing(word: &[u8]) -> io::Result<()> {
    if word == b")" {
        Ok(())
    } else {
        Err(bad("it has a word where a node should end"))
    }
}

/// Strings with their length before them, padded to eight bytes.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn next(&mut self) -> io::Result<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<8>().ok_or_else(cut_off)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut_off())?;
        let padded = length.checked_next_multiple_of(8).ok_or_else(cut_off)?;
        if padded > rest.len() {
            return Err(cut_off());
        }
        self.0 = &rest[padded..];
        Ok(&rest[..length])
    }

    fn expect(&mut self, word: &str) -> io::Result<()> {
        if self.next()? == word.as_bytes() {
            Ok(())
        } else {
            Err(bad("it has another word than a NAR has there"))
        }
    }
}

fn cut_off() -> io::Error {
    bad("it is cut off")
}

fn bad(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{fs, os::unix::fs::symlink};

    fn nar() -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("bin/deep")).unwrap();
        fs::write(dir.path().join("bin/tool"), "#!/bin/sh\n").unwrap();
        fs::write(dir.path().join("empty"), "").unwrap();
        symlink("/elsewhere", dir.path().join("kernel")).unwrap();
        let mut nar = Vec::new();
        super::super::write(dir.path(), &mut nar).unwrap();
        nar
    }

    #[test]
    fn the_names_in_a_nar_are_listed() {
        assert_eq!(list(&nar()).unwrap(), ["bin/tool", "empty", "kernel"]);
    }

    #[test]
    fn one_that_is_cut_off_is_not_a_nar() {
        let nar = nar();
        for length in 0..nar.len() {
            assert!(list(&nar[..length]).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_listed_or_refused(at in any::<prop::sample::Index>(), byte: u8) {
            let mut nar = nar();
            let at = at.index(nar.len());
            nar[at] = byte;
            let _ = list(&nar);
        }
    }
}
