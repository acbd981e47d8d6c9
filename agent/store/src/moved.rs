//! Files that lie elsewhere by now: a cache that compresses its NARs anew, say, has the same path as
//! another file.

use crate::{
    cache::Cache,
    error::Result,
    nix_daemon::Connection,
    request::FetchRequest,
    staging::{Found, Staging, StagingKey},
};
use futures_util::{StreamExt, stream};
use surefoot_core::{
    Sha256, StorePath,
    closure::{ClosureIndex, Download, PathInfo},
};
use surefoot_http::Http;

/// The closure with the files that the caches name now for the paths that are missing, if they name
/// others. Only where a path's NAR lies comes from them: its digest and size stay those that were
/// signed, and decide.
///
/// # Errors
/// The Nix daemon does not answer. Caches that do not answer are passed over.
pub(crate) async fn find(request: &FetchRequest) -> Result<Option<ClosureIndex>> {
    let mut index = (*request.index).clone();
    let paths: Vec<_> = index.paths.iter().map(|info| &info.path).collect();
    let mut daemon = Connection::open(&request.daemon_socket, request.daemon_patience).await?;
    let valid = daemon.valid_paths(&paths).await?;
    let http = Http::new(request.http.clone());
    let caches = request.caches.iter().map(|url| Cache::new(url));
    let caches = caches.collect::<Result<Vec<_>>>()?;
    let mut asked = Vec::new();
    for (at, info) in index.paths.iter().enumerate() {
        let found = Staging::look(&request.staging, &StagingKey::of(info));
        if !valid.contains(&info.path) && !matches!(found, Found::Whole(_)) {
            let (http, caches) = (&http, &caches);
            asked.push(async move { (at, elsewhere(http, caches, info).await) });
        }
    }
    let connections = request.connections.clamp(1, 64);
    let found: Vec<_> = stream::iter(asked)
        .buffer_unordered(connections)
        .collect()
        .await;
    let mut moved = false;
    for (at, download) in found {
        if let Some(download) = download {
            index.paths[at].download = download;
            moved = true;
        }
    }
    // What a cache names may lead out of it.
    Ok(Some(index).filter(|index| moved && index.check().is_ok()))
}

/// Where the first cache that knows a path says that its NAR lies, if that is elsewhere.
async fn elsewhere(http: &Http, caches: &[Cache], info: &PathInfo) -> Option<Download> {
    let now = place(http, caches, &info.path, (info.nar_hash, info.nar_size)).await;
    now.filter(|now| now.url != info.download.url)
}

/// Where the first cache that has this NAR of a path, by its digest and its size in bytes, says that it
/// lies.
pub(crate) async fn place(
    http: &Http,
    caches: &[Cache],
    path: &StorePath,
    nar: (Sha256, u64),
) -> Option<Download> {
    for cache in caches {
        let Ok(Some(now)) = cache.narinfo(http, path).await else {
            continue;
        };
        if (now.0.nar_hash, now.0.nar_size) == nar {
            return Some(Download {
                // Nobody signed these.
                file_hash: None,
                file_size: None,
                ..now.0.download
            });
        }
    }
    None
}
