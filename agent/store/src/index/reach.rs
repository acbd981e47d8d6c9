//! Whether robots would find in the caches what an index promises: asked before it is published.

use crate::{
    blocking::blocking,
    cache::{Cache, Resume},
    download::transfer::{self, longest},
    error::{Error, Result},
    nar,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::{
    fs::File,
    io::{self, BufReader, Seek as _, Write as _},
};
use surefoot_core::{
    StorePath,
    closure::{ClosureIndex, PathInfo},
};
use surefoot_http::{Http, pace::LeastPace};
use tokio::time::Instant;

/// NARs that are asked for at a time.
const REQUESTS: usize = 16;

/// NARs that are read at a time: each may take a decompressor's window of memory.
const READ: usize = 4;

/// Makes a file to put a NAR into while it is looked at.
pub type Scratch = fn() -> io::Result<File>;

/// Checks that for each path one of the caches has the NAR, of the size that the index says. Nothing is
/// downloaded.
///
/// # Errors
/// [`Error::Missing`] names the first that none has; what the transfer says.
pub async fn check_nars(index: &ClosureIndex, caches: &[Cache], http: &Http) -> Result<()> {
    stream::iter(&index.paths)
        .map(|info| async move {
            for cache in caches {
                let (name, size) = (&info.download.url, info.download.file_size);
                if cache.has(http, name, size).await? {
                    return Ok(());
                }
            }
            Err(missing(info, caches))
        })
        .buffer_unordered(REQUESTS)
        .try_collect()
        .await
}

/// Reads each NAR of the closure from the caches and compares it with what the index says of it: for who
/// has no Nix store to ask, and no key to believe the cache by. A stolen key of the cache cannot put
/// anything into a release that its bytes are not.
///
/// # Errors
/// [`Error::Missing`], [`Error::NarHash`] and the other complaints of [`nar::check`]; what the transfer
/// says.
pub async fn read_nars(
    index: &ClosureIndex,
    caches: &[Cache],
    http: &Http,
    scratch: Scratch,
) -> Result<()> {
    stream::iter(&index.paths)
        .map(|info| async move { read(info, caches, http, scratch, false).await.map(drop) })
        .buffer_unordered(READ)
        .try_collect()
        .await
}

/// The names of the files below a path of the closure, such as `bin/sh`, by its NAR in the caches.
///
/// # Errors
/// As [`read_nars`]; [`Error::Unpack`] if it is not a NAR, or has more than
/// [`nar::MAX_LISTED`] bytes.
pub async fn list(
    info: &PathInfo,
    caches: &[Cache],
    http: &Http,
    scratch: Scratch,
) -> Result<Vec<String>> {
    let unpack = |why| Error::Unpack {
        path: info.path.clone(),
        why,
    };
    if info.nar_size > nar::MAX_LISTED as u64 {
        return Err(unpack(io::Error::other("it is too large to be listed")));
    }
    let bytes = read(info, caches, http, scratch, true).await?;
    nar::list(&bytes).map_err(unpack)
}

/// The NAR of a path from the caches, unpacked and checked.
///
/// # Errors
/// As [`read_nars`].
pub async fn bring(
    info: &PathInfo,
    caches: &[Cache],
    http: &Http,
    scratch: Scratch,
) -> Result<File> {
    let (packed, plain) = download(info, caches, http, scratch).await?;
    let path = info.path.clone();
    let mut file = scratch().map_err(disk(&path))?;
    blocking(move || {
        let mut frame = Vec::with_capacity(nar::PIECE);
        nar::verified(&plain, BufReader::new(packed), &mut frame, |frame| {
            file.write_all(frame).map_err(disk(&path))?;
            frame.clear();
            Ok(())
        })?;
        file.write_all(&frame).map_err(disk(&path))?;
        Ok(file)
    })
    .await
}

/// Brings a NAR and checks it; gives its bytes if they are to be kept.
async fn read(
    info: &PathInfo,
    caches: &[Cache],
    http: &Http,
    scratch: Scratch,
    keep: bool,
) -> Result<Vec<u8>> {
    let (packed, plain) = download(info, caches, http, scratch).await?;
    blocking(move || {
        let mut kept = Vec::new();
        let mut frame = Vec::with_capacity(nar::PIECE);
        nar::verified(&plain, BufReader::new(packed), &mut frame, |frame| {
            if keep && kept.len() <= nar::MAX_LISTED {
                kept.extend_from_slice(frame);
            }
            frame.clear();
            Ok(())
        })?;
        if keep {
            kept.extend_from_slice(&frame);
        }
        Ok(kept)
    })
    .await
}

fn disk(path: &StorePath) -> impl Fn(io::Error) -> Error + use<> {
    let path = path.clone();
    move |why| Error::Unpack {
        path: path.clone(),
        why,
    }
}

/// Downloads the file of a NAR; with it comes what its NAR is checked against. A cache that sends more than the file
/// can have fills no disk, and one that sends hardly anything holds nobody up.
async fn download(
    info: &PathInfo,
    caches: &[Cache],
    http: &Http,
    scratch: Scratch,
) -> Result<(File, PathInfo)> {
    let disk = disk(&info.path);
    for cache in caches {
        let start = Resume::default();
        let Some(mut body) = cache.open(http, &info.download.url, &start).await? else {
            continue;
        };
        let mut file = scratch().map_err(&disk)?;
        let (limit, pace) = (longest(info), LeastPace::default());
        let (mut len, mut in_window) = (0, 0);
        let mut ends = Instant::now() + pace.window;
        while let Some(piece) = body.piece().await? {
            len += piece.len() as u64;
            in_window += piece.len() as u64;
            if len > limit {
                return Err(Error::TooLong {
                    url: body.url,
                    expected: limit,
                });
            }
            if Instant::now() >= ends {
                if in_window < pace.min_bytes {
                    let (bytes, seconds) = (pace.min_bytes, pace.window.as_secs());
                    let why = format!("slower than {bytes} bytes in {seconds} s");
                    let url = body.url;
                    return Err(surefoot_http::Error::Transfer { url, why }.into());
                }
                in_window = 0;
                ends = Instant::now() + pace.window;
            }
            file.write_all(&piece).map_err(&disk)?;
        }
        file.rewind().map_err(&disk)?;
        // The digest of what was unpacked is what counts, whatever the file's own is.
        let mut plain = info.clone();
        plain.download.file_hash = None;
        return Ok((file, plain));
    }
    Err(missing(info, caches))
}

fn missing(info: &PathInfo, caches: &[Cache]) -> Error {
    let names: Vec<String> = caches.iter().map(ToString::to_string).collect();
    transfer::missing(info, names.join(", "))
}
