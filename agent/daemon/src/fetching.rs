//! Bringing a closure, as it is configured.

use crate::{
    config::{Config, Fetch, Secret},
    robot::nixos,
};
use jiff::{Timestamp, Zoned, civil::DateTime};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use surefoot_base::file;
use surefoot_core::{
    StorePath,
    closure::{self, ClosureIndex},
    gate::in_window,
    release::Name,
};
use surefoot_http::{
    Options,
    access::{Access, By},
    pace::Bandwidth,
};
use surefoot_store::{
    Error, Wrongs,
    fetch::{self, FetchReport},
    nix_daemon::Connection,
    progress::Progress,
    request::{FetchRequest, Verification},
    verify::Verified,
};

/// How often the clock is asked whether a window begins or ends.
const LOOK: Duration = Duration::from_secs(20);

/// Fetches a closure; its root is the one of the next system. `wrongs` is what came wrong in earlier
/// fetches, `verified` what of the store was read in this boot, and `known_time` a time that has passed, where
/// the clock cannot be trusted. With `collect`, what nothing keeps goes where there is no room.
///
/// # Errors
/// See [`fetch::run`].
pub(crate) async fn run(
    config: &Config,
    index: ClosureIndex,
    staging: PathBuf,
    (wrongs, verified): (&Wrongs, &Verified),
    known_time: Option<Timestamp>,
    collect: bool,
    progress: &dyn Progress,
) -> Result<FetchReport, Error> {
    remember_caches(&config.state_dir, &index.caches);
    let mut request = request(config, index, staging);
    request.wrongs = wrongs.clone();
    request.collect = collect;
    request.verify = config.verify.before_trial.then(|| Verification {
        verified: verified.clone(),
        pace: Bandwidth::new(config.verify.rate.0),
        running: vec![nixos::CURRENT.into(), nixos::BOOTED.into()],
    });
    request.http.known_time = known_time;
    tokio::select! {
        result = fetch::run(&request, progress) => result,
        never = keep_to_windows(&config.fetch, &request.bandwidth) => never,
    }
}

/// Where the caches stand that the last index named, in the state directory.
const CACHES: &str = "caches.json";
/// Bytes of that file that are read or written.
const MAX_CACHES: u64 = 64 << 10;

/// What is damaged later comes from the same caches. Nothing depends on that.
fn remember_caches(state_dir: &Path, caches: &[String]) {
    let place = state_dir.join(CACHES);
    let Ok(bytes) = serde_json::to_vec(caches) else {
        return;
    };
    let there = file::read_if_there(&place, MAX_CACHES).ok().flatten();
    if there.as_ref() != Some(&bytes)
        && bytes.len() as u64 <= MAX_CACHES
        && let Err(error) = file::replace(&place, &bytes, 0o600)
    {
        tracing::warn!("cannot write {}: {error}", place.display());
    }
}

/// How what nobody signed an index for is brought: from the caches of the last fetch.
pub(crate) fn request_from_caches(
    config: &Config,
    system: StorePath,
    staging: PathBuf,
) -> FetchRequest {
    let caches = file::read_if_there(&config.state_dir.join(CACHES), MAX_CACHES);
    let caches = caches.ok().flatten();
    let caches = caches.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let index = ClosureIndex {
        spec: closure::SPEC,
        toplevel: system,
        caches: caches.unwrap_or_default(),
        paths: Vec::new(),
    };
    request(config, index, staging)
}

/// How a closure is brought.
fn request(config: &Config, index: ClosureIndex, staging: PathBuf) -> FetchRequest {
    let fetch = &config.fetch;
    let mut caches: Vec<String> = fetch.caches.iter().map(ToString::to_string).collect();
    caches.extend(index.caches.iter().cloned());
    let root = std::path::Path::new(crate::state::roots::DIR).join("next");
    let mut request = FetchRequest::new(Arc::new(index), caches, staging, root);
    request.connections = fetch.connections as usize;
    request.daemon_socket = fetch.daemon_socket();
    request.daemon_patience = fetch.daemon_timeout;
    request.signatures = fetch.signatures;
    request.reserve = fetch.reserve.0;
    request.staging_limit = fetch.staging.0;
    request.memory = fetch.memory.0;
    request.deltas = fetch.deltas;
    request
        .bandwidth
        .set(limit(fetch, Zoned::now().datetime()).0);
    request.http = http(config);
    request
}

/// How web servers are spoken to, and what they are shown: those of caches and of the repository.
pub(crate) fn http(config: &Config) -> Options {
    let fetch = &config.fetch;
    let mut http = own(config);
    http.netrc_file = fetch.netrc_file.as_ref().map(Secret::file);
    http.client_certificate = fetch.client_certificate.as_ref().map(|certificate| {
        let key = fetch.client_key.as_ref().unwrap_or(certificate);
        (certificate.file(), key.file())
    });
    http.access = (fetch.access.iter())
        .filter_map(|access| {
            let s3 = access.s3_credentials.as_ref().map(|credentials| By::S3 {
                credentials: credentials.file(),
                region: access.s3_region.to_string(),
            });
            let headers = access.headers.as_ref();
            Some(Access {
                url: access.url.0.to_string(),
                by: headers.map(|file| By::Headers(file.file())).or(s3)?,
            })
        })
        .collect();
    http
}

/// How web servers are spoken to that are shown nothing: what is on this robot without a proxy, as
/// an HTTP proxy cannot reach it.
pub(crate) fn own(config: &Config) -> Options {
    Options {
        ca_files: config.ca_file.iter().cloned().collect(),
        direct_loopback: true,
        ..Options::default()
    }
}

/// Keeps a system, and so all that it refers to, from being collected as long as the connection is
/// open; `None` if it is not valid in the store.
///
/// # Errors
/// The Nix daemon does not answer.
pub(crate) async fn hold(config: &Config, system: &StorePath) -> Result<Option<Connection>, Error> {
    let fetch = &config.fetch;
    let mut daemon = Connection::open(&fetch.daemon_socket(), fetch.daemon_timeout).await?;
    daemon.add_temp_roots(&[system]).await?;
    let valid = daemon.valid_paths(&[system]).await?.contains(system);
    Ok(valid.then_some(daemon))
}

/// Ends never.
async fn keep_to_windows(fetch: &Fetch, bandwidth: &Bandwidth) -> Result<FetchReport, Error> {
    loop {
        tokio::time::sleep(LOOK).await;
        let (limit, window) = limit(fetch, Zoned::now().datetime());
        if limit != bandwidth.get() {
            tracing::info!(?window, "the bandwidth is {limit} B/s now; 0 is all of it");
            bandwidth.set(limit);
        }
    }
}

/// Bytes a second at a time of the day, 0 being as many as come, and the window that says so.
fn limit(fetch: &Fetch, now: DateTime) -> (u64, Option<&Name>) {
    let mut windows = fetch.window.iter();
    let window = windows.find(|window| in_window(&[], window.from.0, window.to.0, now));
    window.map_or((fetch.limit.0, None), |window| {
        (window.limit.0, Some(&window.name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::good;

    #[test]
    fn windows_have_limits_of_their_own() {
        let config = good(&[
            crate::config::tests::MINIMAL,
            "[fetch]\nlimit = '1KiB'\n\
             [[fetch.window]]\nname = 'night'\nfrom = '22:00'\nto = '06:30'\nlimit = '0B'\n\
             [[fetch.window]]\nname = 'shift'\nfrom = '06:00'\nto = '14:00'\nlimit = '10B'",
        ]);
        for (hour, minute, bytes) in [
            (21, 59, 1024),
            (22, 0, 0),
            (0, 0, 0),
            (6, 29, 0),
            (6, 30, 10),
            (13, 59, 10),
            (14, 0, 1024),
        ] {
            let now = jiff::civil::date(2026, 11, 24).at(hour, minute, 0, 0);
            assert_eq!(limit(&config.fetch, now).0, bytes, "{now}");
        }
    }

    #[test]
    fn what_is_configured_is_handed_on() {
        let config = good(&[
            crate::config::tests::MINIMAL,
            "[fetch]\nstaging = '3MiB'\nmemory = '5MiB'\nconnections = 7\nreserve = '2B'\ndeltas = false\n\
             netrc_file = '/c/netrc'\nclient_certificate = '/c/pem'\n\
             [[fetch.access]]\nname = 'a'\nurl = 'https://a/x'\nheaders = '/c/token'\n\
             [[fetch.access]]\nname = 'b'\nurl = 'https://b/'\ns3_credentials = '/c/aws'",
        ]);
        let index = ClosureIndex {
            spec: 1,
            toplevel: format!("/nix/store/{}-x", "0".repeat(32)).parse().unwrap(),
            caches: vec![],
            paths: vec![],
        };
        let request = request(&config, index, "/s".into());
        assert_eq!((request.staging_limit, request.memory), (3 << 20, 5 << 20));
        assert_eq!((request.connections, request.reserve), (7, 2));
        assert!(!request.deltas);
        let http = request.http;
        assert_eq!(http.netrc_file, Some("/c/netrc".into()));
        assert_eq!(
            http.client_certificate,
            Some(("/c/pem".into(), "/c/pem".into()))
        );
        assert_eq!(http.access[0].by, By::Headers("/c/token".into()));
        let (credentials, region) = ("/c/aws".into(), "us-east-1".into());
        assert_eq!(
            http.access[1].by,
            By::S3 {
                credentials,
                region
            }
        );
    }
}
