//! A repository to be honest or hostile with, and a web server for it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "each test binary uses its own part; tests may panic"
)]

use jiff::Timestamp as Time;
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::PathBuf,
    sync::{Arc, Mutex},
};
use surefoot_trust::{
    Editor, Keyring,
    editor::{DAY, RepositoryPlan, RolePlan},
    keys::{PrivateKey, Scheme, Signer as _},
};

pub const START: &str = "2030-01-01T00:00:00Z";

pub fn time(text: &str) -> Time {
    text.parse().unwrap()
}

/// New keys for a role, added to the others.
fn role(all: &mut Vec<Arc<PrivateKey>>, threshold: u64, lifetime: u64) -> RolePlan {
    let keys = (0..threshold)
        .map(|_| {
            let key = Arc::new(PrivateKey::generate(Scheme::Ed25519).unwrap());
            all.push(Arc::clone(&key));
            key.public().clone()
        })
        .collect();
    RolePlan {
        keys,
        threshold,
        lifetime,
    }
}

/// A repository in a directory, with one target.
pub struct Repo {
    pub dir: tempfile::TempDir,
    pub ring: Keyring,
    pub private: Vec<Arc<PrivateKey>>,
}

impl Repo {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut private = Vec::new();
        let all = &mut private;
        let plan = RepositoryPlan {
            root: role(all, 2, 365 * DAY),
            targets: role(all, 1, 100 * DAY),
            snapshot: role(all, 1, 30 * DAY),
            timestamp: role(all, 1, 7 * DAY),
            names: Default::default(),
        };
        let mut ring = Keyring::new();
        for key in &private {
            ring.add(Arc::clone(key) as _);
        }
        let editor = Editor::init(dir.path(), &plan, ring.clone(), time(START)).unwrap();
        drop(editor);
        let repo = Self { dir, ring, private };
        repo.publish("channels/stable.json", b"one", START);
        repo
    }

    pub fn editor(&self) -> Editor {
        Editor::open(self.dir.path(), self.ring.clone()).unwrap()
    }

    pub fn publish(&self, name: &str, bytes: &[u8], now: &str) {
        let mut editor = self.editor();
        editor.put_target(name, bytes).unwrap();
        editor.publish(time(now)).unwrap();
    }

    pub fn anchor(&self) -> Vec<u8> {
        std::fs::read(self.dir.path().join("metadata/1.root.json")).unwrap()
    }

    pub fn file_url(&self) -> String {
        format!("file://{}", self.dir.path().display())
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }
}

/// What the server does for a path instead of serving the file.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This status, no body.
    Status(u16),
    /// A body without an end or a length.
    Endless,
    /// A length that is not kept.
    Short,
    /// To itself.
    Redirect,
    /// Other bytes.
    Bytes(Vec<u8>),
    /// A web page, as portals and web applications give it for every path.
    Page,
    /// The file, compressed although nobody asked for that.
    Gzip,
    /// Too busy, for so many seconds.
    Busy(u64),
}

/// A web server for one directory, as simple as one can be. Lives as long as the test.
pub struct Server {
    pub url: String,
    pub log: Arc<Mutex<Vec<String>>>,
    pub faults: Arc<Mutex<BTreeMap<String, Fault>>>,
}

impl Server {
    pub fn new(dir: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let faults: Arc<Mutex<BTreeMap<String, Fault>>> = Arc::default();
        let (seen, wrong) = (Arc::clone(&log), Arc::clone(&faults));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (dir, log, faults) = (dir.clone(), Arc::clone(&seen), Arc::clone(&wrong));
                std::thread::spawn(move || {
                    let _ = answer(stream, &dir, &log, &faults);
                });
            }
        });
        Self { url, log, faults }
    }

    /// The requests since the last call, as `STATUS PATH`.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    pub fn fault(&self, path: &str, fault: Fault) {
        self.faults.lock().unwrap().insert(path.into(), fault);
    }

    pub fn heal(&self) {
        self.faults.lock().unwrap().clear();
    }
}

fn answer(
    stream: std::net::TcpStream,
    dir: &std::path::Path,
    log: &Mutex<Vec<String>>,
    faults: &Mutex<BTreeMap<String, Fault>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut out = stream;
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let path = lines[0].split(' ').nth(1).unwrap_or("/").to_owned();
    let asked = lines.iter().find_map(|l| {
        l.to_lowercase()
            .strip_prefix("if-none-match: ")
            .map(str::to_owned)
    });
    let close = "Connection: close\r\n";
    let fault = faults.lock().unwrap().get(&path).cloned();
    let body = match fault {
        None => std::fs::read(dir.join(unquote(path.trim_start_matches('/')))).ok(),
        Some(Fault::Bytes(bytes)) => Some(bytes),
        Some(Fault::Status(status)) => {
            log.lock().unwrap().push(format!("{status} {path}"));
            return write!(
                out,
                "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n{close}\r\n"
            );
        }
        Some(Fault::Page | Fault::Gzip) => {
            log.lock().unwrap().push(format!("200 {path}"));
            let (head, body) = match fault {
                Some(Fault::Page) => ("Type: text/html; charset=utf-8", "<!DOCTYPE html><p>Log in"),
                _ => ("Encoding: gzip", "\u{1f}\u{8b}"),
            };
            let len = body.len();
            return write!(
                out,
                "HTTP/1.1 200 OK\r\nContent-{head}\r\nContent-Length: {len}\r\n{close}\r\n{body}"
            );
        }
        Some(Fault::Busy(seconds)) => {
            log.lock().unwrap().push(format!("503 {path}"));
            return write!(
                out,
                "HTTP/1.1 503 X\r\nRetry-After: {seconds}\r\nContent-Length: 0\r\n{close}\r\n"
            );
        }
        Some(Fault::Redirect) => {
            log.lock().unwrap().push(format!("302 {path}"));
            return write!(
                out,
                "HTTP/1.1 302 X\r\nLocation: {path}\r\nContent-Length: 0\r\n{close}\r\n"
            );
        }
        Some(Fault::Endless) => {
            log.lock().unwrap().push(format!("200 {path}"));
            write!(out, "HTTP/1.1 200 OK\r\n{close}\r\n")?;
            loop {
                out.write_all(&[b' '; 4096])?;
            }
        }
        Some(Fault::Short) => {
            log.lock().unwrap().push(format!("200 {path}"));
            return write!(
                out,
                "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n{close}\r\n{{}}"
            );
        }
    };
    let Some(body) = body else {
        log.lock().unwrap().push(format!("404 {path}"));
        return write!(out, "HTTP/1.1 404 X\r\nContent-Length: 0\r\n{close}\r\n");
    };
    let hash = body
        .iter()
        .fold(7u64, |h, b| h.wrapping_mul(31) + u64::from(*b));
    let etag = format!("\"{hash:x}\"");
    if asked.as_deref() == Some(etag.as_str()) {
        log.lock().unwrap().push(format!("304 {path}"));
        return write!(out, "HTTP/1.1 304 X\r\nETag: {etag}\r\n{close}\r\n");
    }
    log.lock().unwrap().push(format!("200 {path}"));
    write!(
        out,
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: {etag}\r\n{close}\r\n",
        body.len()
    )?;
    out.write_all(&body)
}

/// Undoes percent-encoding.
fn unquote(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .get(..2)
            .and_then(|code| std::str::from_utf8(code).ok());
        match (
            first,
            code.and_then(|code| u8::from_str_radix(code, 16).ok()),
        ) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}
