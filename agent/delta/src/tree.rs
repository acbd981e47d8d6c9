//! A store path, read as the NAR that it would be.

use crate::read_at::ReadAt;
use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Deeper directories are in no store path that anybody built.
const MAX_DEPTH: usize = 128;

/// A file, a directory or a symbolic link, read as its NAR. In memory are the names and what a NAR has
/// around the contents of files; these are read from where they lie.
#[derive(Debug)]
pub struct Tree {
    top: PathBuf,
    /// All of the NAR but the contents of its files.
    around: Vec<u8>,
    files: Vec<Contents>,
    size: u64,
    /// The file that was read last: the next read mostly goes on in it.
    open: Mutex<Option<(usize, Arc<File>)>>,
}

/// The contents of a file.
#[derive(Debug)]
struct Contents {
    /// Where they begin in the NAR.
    at: u64,
    size: u64,
    /// What comes before them in `around`.
    around: usize,
    /// Below the top.
    path: PathBuf,
}

impl Tree {
    /// Looks at all that lies there. Nothing may change as long as it is read: so it is in a Nix store.
    ///
    /// # Errors
    /// Something cannot be read, or is neither a file, a directory nor a symbolic link.
    pub fn new(top: &Path) -> io::Result<Self> {
        let mut tree = Self {
            top: top.into(),
            around: Vec::new(),
            files: Vec::new(),
            size: 0,
            open: Mutex::default(),
        };
        tree.text(b"nix-archive-1");
        tree.node(Path::new(""), 0)?;
        Ok(tree)
    }

    /// Where a file lies; the top itself is the empty path, to which nothing may be joined.
    fn place(&self, path: &Path) -> PathBuf {
        if path.as_os_str().is_empty() {
            self.top.clone()
        } else {
            self.top.join(path)
        }
    }

    fn node(&mut self, path: &Path, depth: usize) -> io::Result<()> {
        let place = self.place(path);
        let metadata = fs::symlink_metadata(&place)?;
        self.texts(&[b"(", b"type"]);
        if metadata.is_dir() {
            if depth >= MAX_DEPTH {
                return Err(io::Error::other("its directories are nested too deeply"));
            }
            self.text(b"directory");
            let mut names = fs::read_dir(&place)?
                .map(|entry| Ok(entry?.file_name()))
                .collect::<io::Result<Vec<_>>>()?;
            names.sort_unstable();
            for name in names {
                self.texts(&[b"entry", b"(", b"name", name.as_bytes(), b"node"]);
                self.node(&path.join(name), depth + 1)?;
                self.text(b")");
            }
        } else if metadata.is_symlink() {
            let target = fs::read_link(&place)?;
            self.texts(&[b"symlink", b"target", target.as_os_str().as_bytes()]);
        } else if metadata.is_file() {
            self.file(path, &metadata);
        } else {
            return Err(io::Error::other(format!(
                "{} is neither a file, a directory nor a symbolic link",
                place.display()
            )));
        }
        self.text(b")");
        Ok(())
    }

    fn file(&mut self, path: &Path, metadata: &Metadata) {
        self.text(b"regular");
        if metadata.permissions().mode() & 0o100 != 0 {
            self.texts(&[b"executable", b""]);
        }
        self.text(b"contents");
        let size = metadata.len();
        self.put(&size.to_le_bytes());
        if size > 0 {
            self.files.push(Contents {
                at: self.size,
                size,
                around: self.around.len(),
                path: path.into(),
            });
            self.size += size;
        }
        self.pad(size);
    }

    fn texts(&mut self, texts: &[&[u8]]) {
        for text in texts {
            self.text(text);
        }
    }

    fn text(&mut self, text: &[u8]) {
        let size = text.len() as u64;
        self.put(&size.to_le_bytes());
        self.put(text);
        self.pad(size);
    }

    fn pad(&mut self, size: u64) {
        self.put(&[0; 8][..(size.next_multiple_of(8) - size) as usize]);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.around.extend_from_slice(bytes);
        self.size += bytes.len() as u64;
    }

    fn opened(&self, index: usize) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((last, file)) = &*open
            && *last == index
        {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(self.place(&self.files[index].path))?);
        *open = Some((index, Arc::clone(&file)));
        Ok(file)
    }
}

impl ReadAt for Tree {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, mut buffer: &mut [u8], mut at: u64) -> io::Result<()> {
        let end = at.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while !buffer.is_empty() {
            // The last file that begins here or before.
            let next = self.files.partition_point(|file| file.at <= at);
            let before = next.checked_sub(1).map(|index| (index, &self.files[index]));
            let until = self.files.get(next).map_or(self.size, |file| file.at);
            let count = |end: u64| buffer.len().min((end - at) as usize);
            let taken = match before {
                Some((index, file)) if at < file.at + file.size => {
                    let count = count(file.at + file.size);
                    let open = self.opened(index)?;
                    ReadAt::read_exact_at(&*open, &mut buffer[..count], at - file.at)?;
                    count
                }
                _ => {
                    let count = count(until);
                    let from = before.map_or(at as usize, |(_, file)| {
                        file.around + (at - file.at - file.size) as usize
                    });
                    buffer[..count].copy_from_slice(&self.around[from..from + count]);
                    count
                }
            };
            at += taken as u64;
            buffer = &mut buffer[taken..];
        }
        Ok(())
    }
}
