//! Offering the daemon what it has already.

use super::{Connection, Payload, ValidPath};
use crate::error::Result;
use surefoot_core::{
    StorePath,
    closure::{Compression, Download, PathInfo, SignaturePolicy},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};

/// A NAR of an empty file: what stands for one that nobody reads.
const NAR: [&str; 7] = ["nix-archive-1", "(", "type", "regular", "contents", "", ")"];

/// Offers the daemon a path that is valid in its store, as an import would, with these signatures. It
/// judges the signatures before it looks whether it has the path (Nix `src/libstore/local-store.cc`,
/// `LocalStore::addToStore`), and then throws away what comes: nothing is written. Were the path gone
/// meanwhile, what comes would not be what its digest says, and the daemon would refuse it.
///
/// # Errors
/// The daemon's: it would import nothing that is signed like this.
pub async fn offer<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    daemon: &mut Connection<R, W>,
    signatures: SignaturePolicy,
    path: &StorePath,
    known: ValidPath,
) -> Result<()> {
    let info = PathInfo {
        path: path.clone(),
        nar_hash: known.nar_hash,
        nar_size: known.nar_size,
        references: known.references,
        deriver: known.deriver,
        signatures: known.signatures,
        ca: known.ca,
        download: Download {
            url: String::new(),
            compression: Compression::None.into(),
            file_hash: None,
            file_size: None,
        },
        deltas: vec![],
    };
    let mut frame = Payload::start(1);
    Payload::path(&info, &mut frame);
    for word in NAR {
        frame.extend((word.len() as u64).to_le_bytes());
        frame.extend(word.as_bytes());
        frame.resize(frame.len().next_multiple_of(8), 0);
    }
    let (send, mut frames) = mpsc::channel(1);
    // It has room for the one.
    let _ = send.try_send(Ok(frame));
    drop(send);
    // Never as a repair: that removes what is there first.
    daemon.add_multiple(signatures, false, &mut frames).await
}
