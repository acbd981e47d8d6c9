//! Binary caches and the Nix daemon.

use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, LAST_MODIFIED, RETRY_AFTER};
use std::{cell::RefCell, path::PathBuf};
use surefoot_core::{
    Sha256, StorePath,
    closure::{Compression, Download, PathInfo},
};
use surefoot_store::{
    headers::{content_range, retry_after, validator},
    nar::verified,
    narinfo::{NarInfo, PublicKey},
    nix_daemon::{CheckSignatures, Connection, Payload},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
    runtime::{Builder, Runtime},
    sync::mpsc,
};

/// What a binary cache says of a store path, and whether a key signed it.
pub fn narinfo(bytes: &[u8]) {
    if let Ok(NarInfo(info)) = NarInfo::parse(bytes)
        && let Some(signature) = info.signatures.first()
        && let Ok(key) = signature.parse::<PublicKey>()
    {
        let _ = key.signed(&info);
    }
}

/// Headers of answers: the first byte says which.
pub fn headers(bytes: &[u8]) {
    let Some((&first, value)) = bytes.split_first() else {
        return;
    };
    let Ok(value) = HeaderValue::from_bytes(value) else {
        return;
    };
    let names = [CONTENT_RANGE, RETRY_AFTER, ETAG, LAST_MODIFIED];
    let name = &names[usize::from(first) % names.len()];
    let headers = HeaderMap::from_iter([(name.clone(), value)]);
    let _ = content_range(&headers);
    let _ = retry_after(&headers);
    if let Some(validator) = validator(&headers) {
        assert!(validator.len() <= 1000 && HeaderValue::from_str(&validator).is_ok());
    }
}

fn path() -> StorePath {
    StorePath::from_base_name("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-x").expect("a path")
}

/// A path whose NAR nobody can offer: its digest is all zeros.
fn info(compression: Compression, nar_size: u64) -> PathInfo {
    PathInfo {
        path: path(),
        nar_hash: Sha256([0; 32]),
        nar_size,
        references: vec![],
        deriver: None,
        signatures: vec![],
        ca: None,
        download: Download {
            url: "nar/x".into(),
            compression,
            file_hash: None,
            file_size: None,
        },
    }
}

/// A file that should be a NAR. The first byte says how it is compressed, the second how large the
/// NAR should be, as a power of two.
pub fn nar(bytes: &[u8]) {
    let [first, second, file @ ..] = bytes else {
        return;
    };
    let kinds = [Compression::None, Compression::Xz, Compression::Zstd];
    let size = 1 << (second % 24);
    let info = info(kinds[usize::from(*first) % kinds.len()], size);
    let (mut given, mut frame) = (0, Vec::new());
    let result = verified(&info, file, &mut frame, |frame| {
        given += frame.len() as u64;
        frame.clear();
        Ok(())
    });
    assert!(result.is_err() && given < size);
}

/// A Nix daemon that says anything: all that it says, before it hangs up.
pub fn nix_daemon(bytes: &[u8]) {
    thread_local! {
        static DAEMON: RefCell<Option<Daemon>> = const { RefCell::new(None) };
    }
    DAEMON.with_borrow_mut(|daemon| {
        let daemon = daemon.get_or_insert_with(Daemon::new);
        daemon.runtime.block_on(daemon.says(bytes));
    });
}

struct Daemon {
    runtime: Runtime,
    listener: UnixListener,
    socket: PathBuf,
    _dir: tempfile::TempDir,
}

impl Daemon {
    fn new() -> Self {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("socket");
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(&socket).expect("a socket")
        };
        Self {
            runtime,
            listener,
            socket,
            _dir: dir,
        }
    }

    async fn says(&self, bytes: &[u8]) {
        let server = async {
            let (mut stream, _) = self.listener.accept().await.expect("a client");
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard).await;
        };
        let ((), ()) = tokio::join!(server, self.ask());
    }

    async fn ask(&self) {
        let Ok(mut connection) = Connection::open(&self.socket).await else {
            return;
        };
        let path = path();
        let _ = connection.valid_paths(&[&path]).await;
        let _ = connection.path_info(&path).await;
        let _ = connection.add_temp_roots(&[&path]).await;
        let (pieces, mut payload) = mpsc::channel(1);
        let mut piece = Payload::start(1);
        Payload::path(&info(Compression::None, 1), &mut piece);
        let _ = pieces.try_send(Ok(piece));
        drop(pieces);
        let _ = connection
            .add_multiple(CheckSignatures::Yes, &mut payload)
            .await;
    }
}
