//! What lies in the store, as a NAR.
//!
//! Source: Nix `src/libutil/archive.cc` (`dump`), `src/libutil/serialise.hh`.

use super::PIECE;
use std::{
    fs::{self, File, Metadata},
    io::{self, Read, Write},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
};

/// Directories inside each other. A store path has a handful; what has more is damaged.
const MAX_DEPTH: usize = 256;

/// Writes a file, symlink or directory as a NAR. At most one piece of a file is in memory, and the names of
/// the directories on the way to it.
///
/// # Errors
/// It cannot be read, is shorter than it says, holds what no NAR can (a socket, say), or `to` takes no more.
pub fn write(path: &Path, to: &mut impl Write) -> io::Result<()> {
    text(b"nix-archive-1", to)?;
    let mut piece = vec![0; PIECE];
    node(path, 0, &mut piece, to)
}

fn node(path: &Path, depth: usize, piece: &mut [u8], to: &mut impl Write) -> io::Result<()> {
    let data = fs::symlink_metadata(path)?;
    let kind = data.file_type();
    text(b"(", to)?;
    text(b"type", to)?;
    if kind.is_file() {
        text(b"regular", to)?;
        file(path, &data, piece, to)?;
    } else if kind.is_symlink() {
        text(b"symlink", to)?;
        text(b"target", to)?;
        text(fs::read_link(path)?.as_os_str().as_bytes(), to)?;
    } else if kind.is_dir() {
        if depth >= MAX_DEPTH {
            return Err(io::Error::other(
                "its directories lie too deep in each other",
            ));
        }
        text(b"directory", to)?;
        let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        for name in names {
            text(b"entry", to)?;
            text(b"(", to)?;
            text(b"name", to)?;
            text(name.as_bytes(), to)?;
            text(b"node", to)?;
            node(&path.join(&name), depth + 1, piece, to)?;
            text(b")", to)?;
        }
    } else {
        let what = format!("{} is neither file, directory nor symlink", path.display());
        return Err(io::Error::other(what));
    }
    text(b")", to)
}

fn file(path: &Path, data: &Metadata, piece: &mut [u8], to: &mut impl Write) -> io::Result<()> {
    if data.permissions().mode() & 0o100 != 0 {
        text(b"executable", to)?;
        text(b"", to)?;
    }
    text(b"contents", to)?;
    to.write_all(&data.len().to_le_bytes())?;
    let mut left = data.len();
    let mut file = File::open(path)?.take(left);
    while left > 0 {
        let got = file.read(piece)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_all(&piece[..got])?;
        left -= got as u64;
    }
    pad(data.len(), to)
}

fn text(bytes: &[u8], to: &mut impl Write) -> io::Result<()> {
    to.write_all(&(bytes.len() as u64).to_le_bytes())?;
    to.write_all(bytes)?;
    pad(bytes.len() as u64, to)
}

fn pad(len: u64, to: &mut impl Write) -> io::Result<()> {
    let padding = (len.wrapping_neg() % 8) as usize;
    to.write_all(&[0; 8][..padding])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{OpenOptionsExt, symlink};

    /// NARs as `nix-store --dump` of Nix 2.26 writes them.
    fn words(words: &[&[u8]]) -> Vec<u8> {
        let mut nar = Vec::new();
        words.iter().for_each(|word| text(word, &mut nar).unwrap());
        nar
    }

    fn nar(path: &Path) -> Vec<u8> {
        let mut nar = Vec::new();
        write(path, &mut nar).unwrap();
        nar
    }

    #[test]
    fn a_tree_is_written_in_the_order_of_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join("tree").join(name);
        fs::create_dir_all(at("b")).unwrap();
        fs::write(at("b/empty"), "").unwrap();
        symlink("/nix/store/x", at("B")).unwrap();
        let mut program = fs::OpenOptions::new();
        program.write(true).create(true).mode(0o555);
        let mut program = program.open(at("a.sh")).unwrap();
        program.write_all(b"123456789").unwrap();
        let expected = words(&[
            b"nix-archive-1",
            b"(",
            b"type",
            b"directory",
            b"entry",
            b"(",
            b"name",
            b"B",
            b"node",
            b"(",
            b"type",
            b"symlink",
            b"target",
            b"/nix/store/x",
            b")",
            b")",
            b"entry",
            b"(",
            b"name",
            b"a.sh",
            b"node",
            b"(",
            b"type",
            b"regular",
            b"executable",
            b"",
            b"contents",
            b"123456789",
            b")",
            b")",
            b"entry",
            b"(",
            b"name",
            b"b",
            b"node",
            b"(",
            b"type",
            b"directory",
            b"entry",
            b"(",
            b"name",
            b"empty",
            b"node",
            b"(",
            b"type",
            b"regular",
            b"contents",
            b"",
            b")",
            b")",
            b")",
            b")",
            b")",
        ]);
        assert!(nar(&dir.path().join("tree")) == expected);
    }

    #[test]
    fn files_around_the_piece_are_whole() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        for len in [PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5] {
            let bytes: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
            fs::write(&file, &bytes).unwrap();
            let expected: [&[u8]; 7] = [
                b"nix-archive-1",
                b"(",
                b"type",
                b"regular",
                b"contents",
                &bytes,
                b")",
            ];
            assert!(nar(&file) == words(&expected), "{len}");
        }
    }

    #[test]
    fn what_no_nar_can_hold_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        let error = write(dir.path(), &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("socket is neither"), "{error}");
        let deep: std::path::PathBuf = (0..MAX_DEPTH).map(|_| "d").collect();
        let deep = dir.path().join("deep").join(deep);
        fs::create_dir_all(&deep).unwrap();
        let error = write(&dir.path().join("deep"), &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("too deep"), "{error}");
        assert!(write(&dir.path().join("missing"), &mut Vec::new()).is_err());
    }
}
