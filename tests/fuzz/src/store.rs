//! Binary caches and the Nix daemon.

use std::path::Path;
use surefoot_core::{
    Sha256, StorePath,
    closure::{Compression, Download, PathInfo, SignaturePolicy},
};
use surefoot_http::{
    header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, LAST_MODIFIED, RETRY_AFTER},
    headers::{content_range, retry_after, validator},
};
use surefoot_store::{
    nar::verified,
    narinfo::NarInfo,
    nix_daemon::{Connection, PATIENCE, Payload},
    signature::PublicKey,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
};

/// Files with logins, tokens and keys, and what is signed by them.
pub fn access(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        surefoot_http::access::fuzz(text);
    }
}

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
            compression: compression.into(),
            file_hash: None,
            file_size: None,
        },
        deltas: vec![],
    }
}

/// A file that should be a NAR. The first byte says how it is compressed, the second how large the
/// NAR should be, as a power of two.
pub fn nar(bytes: &[u8]) {
    let [first, second, file @ ..] = bytes else {
        return;
    };
    let kinds = [Compression::None, Compression::Xz, Compression::Zstd];
    // Up to a few pieces: more only takes longer.
    let size = 1 << (second % 20);
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
        static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    }
    RUNTIME.with(|runtime| runtime.block_on(ask(bytes)));
}

async fn ask(answers: &[u8]) {
    let (hears, socket) = (tokio::io::sink(), Path::new("socket"));
    let Ok(mut connection) = Connection::over(answers, hears, socket, PATIENCE).await else {
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
        .add_multiple(SignaturePolicy::Nix, false, &mut payload)
        .await;
}
