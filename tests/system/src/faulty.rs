//! A web server that serves a directory, and misbehaves where it is told to.

use crate::rig;
use anyhow::Result;
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// What goes wrong with one answer. Offsets count from the first byte of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: the answer is right.
    None,
    /// An empty answer with this status and these headers.
    Status(u16, Vec<(&'static str, String)>),
    /// The connection breaks at this offset.
    Drop(u64),
    /// Nothing more is sent from this offset on, until the client leaves.
    Stall(u64),
    /// Nothing more is sent from this offset on, until [`Faulty::release`].
    Hold(u64),
    /// The file ends at this offset, and so it is announced.
    Short(u64),
    /// The file is followed by other bytes, and so it is announced.
    Long,
    /// The byte at this offset is another one.
    Corrupt(u64),
    /// Another file.
    Other(Vec<u8>),
    /// Ranges are ignored: all of the file comes.
    NoRanges,
    /// All of the file comes, in chunks, its length unsaid.
    Chunked,
    /// The file has another `ETag` than before, and another one every time.
    NewTag,
    /// The byte at this offset is another one, under another `ETag`; ranges are honoured if the
    /// condition is for that one, or there is none.
    Changed(u64),
    /// The connection is closed without an answer.
    Hangup,
    /// The file is said to lie at another URL: this one and the path.
    Redirect(String),
}

/// One request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The path.
    pub path: String,
    /// The `Range` header.
    pub range: Option<String>,
    /// The `If-Range` header.
    pub if_range: Option<String>,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The `Proxy-Authorization` header.
    pub proxy_authorization: Option<String>,
}

/// A running server. It ends with this value.
#[derive(Debug)]
pub struct Faulty {
    shared: Arc<Shared>,
    address: SocketAddr,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
    over: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<(String, VecDeque<Fault>, Option<Fault>)>,
    seen: Vec<Seen>,
    held: usize,
    released: bool,
    tags: u64,
    connections: Vec<TcpStream>,
}

impl Faulty {
    /// Serves a directory on a port of this machine's loopback.
    ///
    /// # Errors
    /// When there is no port.
    pub fn start(directory: &Path) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            directory: directory.to_owned(),
            state: Mutex::default(),
            changed: Condvar::new(),
            over: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&serving);
                thread::spawn(move || shared.serve(&stream));
            }
        });
        Ok(Self { shared, address })
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next requests for paths that contain this text go wrong, one fault each; after them the
    /// answers are right again.
    pub fn fail(&self, path: &str, faults: impl IntoIterator<Item = Fault>) {
        let faults = faults.into_iter().collect();
        self.shared.state().rules.push((path.into(), faults, None));
    }

    /// Every request for a path that contains this text goes wrong.
    pub fn always(&self, path: &str, fault: Fault) {
        let rule = (path.into(), VecDeque::new(), Some(fault));
        self.shared.state().rules.push(rule);
    }

    /// From now on all answers are right.
    pub fn heal(&self) {
        self.shared.state().rules.clear();
    }

    /// Waits until so many answers are held back.
    ///
    /// # Errors
    /// When they are not within a minute.
    pub fn wait_held(&self, count: usize) -> Result<()> {
        rig::wait_for("an answer that is held back", || {
            Ok((self.shared.state().held >= count).then_some(()))
        })
    }

    /// Lets go of the answers that are held back, and holds no more.
    pub fn release(&self) {
        self.shared.state().released = true;
        self.shared.changed.notify_all();
    }

    /// What was asked for so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.state().seen.clone()
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.release();
        for stream in &self.shared.state().connections {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

/// One answer: a part of a file.
struct Answer {
    bytes: Vec<u8>,
    start: usize,
    tag: String,
    ranged: bool,
    chunked: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let waited = self.changed.wait(state);
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: &TcpStream) {
        if let Ok(copy) = stream.try_clone() {
            self.state().connections.push(copy);
        }
        let mut reader = BufReader::new(stream);
        while let Some(request) = read_request(&mut reader) {
            if self.answer(stream, &request).is_none() {
                break;
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
    }

    fn fault(&self, path: &str) -> (Fault, u64) {
        let mut state = self.state();
        let state = &mut *state;
        let rules = state.rules.iter_mut().rev();
        let mut rules = rules.filter(|rule| path.contains(rule.0.as_str()));
        let fault = rules.find_map(|rule| rule.1.pop_front().or(rule.2.clone()));
        if fault == Some(Fault::NewTag) {
            state.tags += 1;
        }
        (fault.unwrap_or(Fault::None), state.tags)
    }

    /// `None` when the connection is to be closed.
    fn answer(&self, mut stream: &TcpStream, request: &Seen) -> Option<()> {
        self.state().seen.push(request.clone());
        let (fault, tags) = self.fault(&request.path);
        match &fault {
            Fault::Hangup => return None,
            Fault::Redirect(to) => {
                let head = format!(
                    "HTTP/1.1 302 Found\r\nlocation: {to}{}\r\ncontent-length: 0\r\n\r\n",
                    request.path
                );
                return stream.write_all(head.as_bytes()).ok();
            }
            Fault::Status(code, headers) => {
                let headers: String = headers
                    .iter()
                    .map(|(name, value)| format!("{name}: {value}\r\n"))
                    .collect();
                let head = format!("HTTP/1.1 {code} X\r\ncontent-length: 0\r\n{headers}\r\n");
                return stream.write_all(head.as_bytes()).ok();
            }
            _ => {}
        }
        // A proxy is asked for whole URLs: this one has all hosts' files.
        let path = match request.path.strip_prefix("http://") {
            Some(rest) => rest.split_once('/').map_or("", |(_, path)| path),
            None => request.path.trim_start_matches('/'),
        };
        let Ok(mut bytes) = std::fs::read(self.directory.join(path)) else {
            let head = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
            return stream.write_all(head).ok();
        };
        let mut tag = format!("\"{}-{tags}\"", bytes.len());
        match &fault {
            Fault::Corrupt(at) => bytes[*at as usize] ^= 0xff,
            Fault::Changed(at) => {
                bytes[*at as usize] ^= 0xff;
                tag = "\"changed\"".into();
            }
            Fault::Other(other) => bytes.clone_from(other),
            Fault::Short(at) => bytes.truncate(*at as usize),
            Fault::Long => bytes.extend_from_slice(&[7; 1000]),
            _ => {}
        }
        let ignored = matches!(fault, Fault::NoRanges | Fault::Chunked);
        let start = match range(request).filter(|_| !ignored) {
            Some(_) if request.if_range.as_ref().is_some_and(|want| *want != tag) => None,
            Some(start) if start >= bytes.len() => {
                let head = b"HTTP/1.1 416 X\r\ncontent-length: 0\r\n\r\n";
                return stream.write_all(head).ok();
            }
            start => start,
        };
        let answer = Answer {
            start: start.unwrap_or(0),
            ranged: start.is_some(),
            chunked: fault == Fault::Chunked,
            bytes,
            tag,
        };
        self.send(stream, &answer, &fault)
    }

    fn send(&self, mut stream: &TcpStream, answer: &Answer, fault: &Fault) -> Option<()> {
        let total = answer.bytes.len();
        let body = &answer.bytes[answer.start..];
        let length = if answer.chunked {
            "transfer-encoding: chunked".to_owned()
        } else {
            format!("content-length: {}", body.len())
        };
        let status = if answer.ranged {
            let (start, end) = (answer.start, total - 1);
            format!("206 Partial Content\r\ncontent-range: bytes {start}-{end}/{total}")
        } else {
            "200 OK".to_owned()
        };
        let head = format!(
            "HTTP/1.1 {status}\r\netag: {}\r\n{length}\r\n\r\n",
            answer.tag
        );
        stream.write_all(head.as_bytes()).ok()?;
        if answer.chunked {
            for chunk in body.chunks(10_000) {
                let head = format!("{:x}\r\n", chunk.len());
                stream.write_all(head.as_bytes()).ok()?;
                stream.write_all(chunk).ok()?;
                stream.write_all(b"\r\n").ok()?;
            }
            return stream.write_all(b"0\r\n\r\n").ok();
        }
        let until = match fault {
            Fault::Drop(at) | Fault::Stall(at) | Fault::Hold(at) => *at as usize,
            _ => total,
        };
        let (first, rest) = body.split_at(until.saturating_sub(answer.start).min(body.len()));
        stream.write_all(first).ok()?;
        match fault {
            Fault::Drop(_) => return None,
            Fault::Stall(_) => {
                // Until the client leaves, or this server ends.
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
                return None;
            }
            Fault::Hold(_) => {
                let mut state = self.state();
                state.held += 1;
                self.changed.notify_all();
                while !state.released {
                    state = self.wait(state);
                }
            }
            _ => {}
        }
        stream.write_all(rest).ok()
    }
}

/// `bytes=N-`, the only form that is needed.
fn range(request: &Seen) -> Option<usize> {
    let range = request.range.as_ref()?.strip_prefix("bytes=")?;
    range.strip_suffix('-')?.parse().ok()
}

fn read_request(reader: &mut impl BufRead) -> Option<Seen> {
    let mut line = String::new();
    reader.take(8000).read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut seen = Seen {
        path,
        range: None,
        if_range: None,
        authorization: None,
        proxy_authorization: None,
    };
    loop {
        line.clear();
        reader.take(8000).read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            return Some(seen);
        };
        let value = Some(value.trim().to_owned());
        match name.to_ascii_lowercase().as_str() {
            "range" => seen.range = value,
            "if-range" => seen.if_range = value,
            "authorization" => seen.authorization = value,
            "proxy-authorization" => seen.proxy_authorization = value,
            _ => {}
        }
    }
}
