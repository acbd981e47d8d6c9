//! Building a closure index, and checking its signatures before it is published.

use crate::{
    cache::Cache,
    error::{Error, Result},
    narinfo::NarInfo,
    nix_daemon::{Connection, ValidPath},
    signature::PublicKey,
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use std::collections::{HashMap, HashSet, VecDeque};
use surefoot_core::{
    StorePath,
    closure::{ClosureIndex, PathInfo, SPEC},
};
use surefoot_http::Http;

/// Narinfos that are asked for at a time.
const REQUESTS: usize = 16;
/// Closures above this number of paths are refused.
const MAX_PATHS: usize = 200_000;

/// Builds the index of a closure from what a cache says of it, without a Nix store.
///
/// # Errors
/// [`Error::Missing`] if a path of the closure is not in the cache, or a narinfo's or the
/// transfer's own.
pub async fn from_cache(cache: &Cache, http: &Http, toplevel: &StorePath) -> Result<ClosureIndex> {
    let mut found: Vec<PathInfo> = Vec::new();
    let mut seen = HashSet::from([toplevel.clone()]);
    let mut queue = VecDeque::from([toplevel.clone()]);
    let mut asked = FuturesUnordered::new();
    loop {
        while asked.len() < REQUESTS {
            let Some(path) = queue.pop_front() else { break };
            asked.push(narinfo(cache, http, path));
        }
        let Some(info) = asked.next().await else {
            break;
        };
        let info = info?;
        for reference in &info.references {
            if seen.insert(reference.clone()) {
                queue.push_back(reference.clone());
            }
        }
        bound(seen.len())?;
        found.push(info);
    }
    finish(cache, toplevel, found)
}

/// Builds the index of a closure that is valid in the local Nix store, and refuses it if the cache
/// lacks a path or says something else of it.
///
/// # Errors
/// [`Error::NotInStore`], [`Error::Missing`], [`Error::Disagree`], or the transfer's own.
pub async fn from_store(
    daemon: &mut Connection,
    cache: &Cache,
    http: &Http,
    toplevel: &StorePath,
) -> Result<ClosureIndex> {
    let mut local: HashMap<StorePath, ValidPath> = HashMap::new();
    let mut queue = vec![toplevel.clone()];
    while let Some(path) = queue.pop() {
        if local.contains_key(&path) {
            continue;
        }
        let info = daemon.path_info(&path).await?;
        let info = info.ok_or_else(|| Error::NotInStore(path.clone()))?;
        queue.extend(info.references.iter().cloned());
        local.insert(path, info);
        bound(local.len())?;
    }
    let mut found = Vec::with_capacity(local.len());
    let mut left = local.into_iter();
    let mut asked = FuturesUnordered::new();
    loop {
        while asked.len() < REQUESTS {
            let Some((path, local)) = left.next() else {
                break;
            };
            asked.push(async move { Ok::<_, Error>((narinfo(cache, http, path).await?, local)) });
        }
        let Some(pair) = asked.next().await else {
            break;
        };
        let (info, local) = pair?;
        found.push(agree(info, local)?);
    }
    finish(cache, toplevel, found)
}

fn bound(paths: usize) -> Result<()> {
    if paths > MAX_PATHS {
        return Err(Error::IndexFile(format!(
            "the closure has more than {MAX_PATHS} paths"
        )));
    }
    Ok(())
}

async fn narinfo(cache: &Cache, http: &Http, path: StorePath) -> Result<PathInfo> {
    match cache.narinfo(http, &path).await? {
        Some(NarInfo(info)) => Ok(info),
        None => Err(Error::Missing {
            what: path.to_string(),
            caches: cache.to_string(),
        }),
    }
}

/// What the cache says of a path, if the store says the same; the signatures of both.
fn agree(mut info: PathInfo, local: ValidPath) -> Result<PathInfo> {
    let disagree = |field, expected: String, found: String| {
        Err(Error::Disagree {
            path: info.path.clone(),
            field,
            expected,
            source_name: "the local store",
            found,
        })
    };
    if info.nar_hash != local.nar_hash {
        return disagree(
            "NAR hash",
            local.nar_hash.to_string(),
            info.nar_hash.to_string(),
        );
    }
    if info.nar_size != local.nar_size {
        return disagree(
            "NAR size",
            local.nar_size.to_string(),
            info.nar_size.to_string(),
        );
    }
    if info.references != local.references {
        let list = |paths: &[StorePath]| format!("{paths:?}");
        return disagree(
            "list of references",
            list(&local.references),
            list(&info.references),
        );
    }
    info.signatures.extend(local.signatures);
    info.signatures.sort_unstable();
    info.signatures.dedup();
    info.deriver = info.deriver.or(local.deriver);
    info.ca = info.ca.or(local.ca);
    Ok(info)
}

fn finish(cache: &Cache, toplevel: &StorePath, paths: Vec<PathInfo>) -> Result<ClosureIndex> {
    let mut index = ClosureIndex {
        spec: SPEC,
        toplevel: toplevel.clone(),
        caches: vec![cache.to_string()],
        paths,
    };
    index.sort()?;
    index.check()?;
    Ok(index)
}

/// Checks that every path is signed by one of the keys, or is content-addressed: what a robot will
/// demand that has these keys in its `trusted-public-keys`.
///
/// # Errors
/// [`Error::Unsigned`] names the first path that is not.
pub fn check_signatures(index: &ClosureIndex, keys: &[PublicKey]) -> Result<()> {
    match index
        .paths
        .iter()
        .find(|info| info.ca.is_none() && !keys.iter().any(|key| key.signed(info)))
    {
        Some(info) => Err(Error::Unsigned(info.path.clone())),
        None => Ok(()),
    }
}
