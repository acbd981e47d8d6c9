//! Room in the store: what nothing keeps goes, and no more of it than a fetch needs.
//!
//! Source: Nix `src/libstore/gc.cc` (`collectGarbage`).

use crate::{
    error::{Error, Result},
    nix_daemon::Connection,
    progress::{Dead, Progress, Status},
    request::FetchRequest,
};
use std::os::unix::fs::MetadataExt;
use surefoot_base::units::short_bytes;

/// Bytes that one order to the Nix daemon frees at most: it answers at the end only, and has to do so
/// within its patience.
const SLICE: u64 = 256 << 20;
/// Paths whose sizes are asked for.
const MAX_ASKED: usize = 100_000;

/// What could be removed. Nothing is.
///
/// # Errors
/// The Nix daemon's.
pub async fn look(daemon: &mut Connection) -> Result<Dead> {
    let paths = daemon.dead_paths().await?;
    let mut dead = Dead {
        paths: paths.len() as u64,
        bytes: 0,
    };
    for path in paths.iter().take(MAX_ASKED) {
        // What is not valid was left half-way, and nobody knows its size.
        let info = daemon.path_info(path).await?;
        dead.bytes += info.map_or(0, |info| info.nar_size);
    }
    Ok(dead)
}

/// Removes what nothing keeps until so many bytes are free, and says beforehand what could go. If all of it
/// would not be enough, none goes. What holds temporary roots, as each fetch does, stays.
///
/// # Errors
/// The Nix daemon's.
pub async fn make_room(
    request: &FetchRequest,
    bytes: u64,
    progress: &dyn Progress,
) -> Result<Dead> {
    let mut daemon = Connection::open(&request.daemon_socket, request.daemon_patience).await?;
    let dead = look(&mut daemon).await?;
    let all = format!(
        "{} are missing in the store, and {} paths that nothing keeps take {}",
        short_bytes(bytes),
        dead.paths,
        short_bytes(dead.bytes)
    );
    if dead.bytes < bytes {
        tracing::warn!("{all}: that is not enough, and none is removed");
        return Ok(Dead::default());
    }
    tracing::info!("{all}: as many of them as are needed are removed");
    let mut gone = Dead::default();
    while gone.bytes < bytes {
        let (paths, freed) = daemon.delete_dead((bytes - gone.bytes).min(SLICE)).await?;
        if paths == 0 {
            break;
        }
        gone.paths += paths;
        gone.bytes += freed;
        progress.update(&Status {
            freed: gone.bytes,
            ..Status::default()
        });
    }
    tracing::info!(
        "{} paths were removed, {} bytes freed",
        gone.paths,
        gone.bytes
    );
    progress.collected(gone);
    Ok(gone)
}

/// The bytes that a fetch lacks on the file system of the store, if that is why it was refused.
pub(crate) fn lacking(error: &Error, request: &FetchRequest) -> Option<u64> {
    let Error::NoSpace { dir, needed, free } = error else {
        return None;
    };
    let same = dir.metadata().ok()?.dev() == request.store_dir.metadata().ok()?.dev();
    same.then(|| needed.saturating_sub(*free))
}
