//! Where a repository is pushed to: a directory, or a bucket that is written over HTTP.

use super::verify::is_url;
use crate::web_servers::{self, NetArgs};
use anyhow::{Context as _, bail};
use std::{
    io,
    path::{Path, PathBuf},
};
use surefoot_base::file;
use surefoot_http::{
    Bytes, Http, Method, StatusCode, Url, below,
    document::{self, Document},
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue},
    pace::LeastPace,
};
use tokio::runtime::Runtime;

/// No file of a repository is larger, bytes.
pub(super) const MAX_FILE: u64 = 256 << 20;

/// What robots ask for first. It comes last: until then they see the old repository.
pub(super) const NEWEST: &str = "metadata/timestamp.json";

/// Where a repository goes.
pub(super) enum Place {
    Dir(PathBuf),
    /// A bucket of an S3-compatible store, or whatever takes PUT, below this URL.
    Bucket(Url),
}

/// What reaches it.
pub(super) struct Destination {
    pub(super) place: Place,
    http: Http,
    /// Connections last as long as the runtime that they were made in.
    runtime: Runtime,
}

impl Destination {
    /// Understands what was typed: a URL of a bucket, or a directory.
    ///
    /// # Errors
    /// A URL that nothing can be pushed to.
    pub(super) fn new(text: &str, net: &NetArgs) -> anyhow::Result<Self> {
        let place = if is_url(text) {
            let url = Url::parse(&format!("{}/", text.trim_end_matches('/')))?;
            if !matches!(url.scheme(), "http" | "https") {
                bail!(
                    "'{text}' is not a place to push to: give a directory, or the URL of a bucket such as \
                     https://s3.eu-central-1.amazonaws.com/BUCKET/fleet"
                );
            }
            Place::Bucket(url)
        } else {
            Place::Dir(text.into())
        };
        Ok(Self {
            place,
            http: Http::new(net.options()),
            runtime: web_servers::runtime()?,
        })
    }

    /// A file of the repository; `None` if it is not there.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn read(&self, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let base = match &self.place {
            Place::Dir(dir) => return Ok(file::read_if_there(&dir.join(name), MAX_FILE)?),
            Place::Bucket(base) => base,
        };
        let url = at(base, name)?;
        self.runtime.block_on(async {
            let pace = LeastPace::default();
            let found = document::get(&self.http, url.as_str(), MAX_FILE, None, pace).await?;
            Ok(match found {
                Document::Bytes(bytes, _) => Some(bytes),
                // Stores of objects say of what is not there that it is forbidden to whoever may not list.
                Document::Absent(_) | Document::NotModified => None,
            })
        })
    }

    /// Whether the destination has these very bytes, as far as can be told without reading what is named by
    /// its digest.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn has(&self, name: &str, bytes: &[u8]) -> anyhow::Result<Has> {
        if let Place::Bucket(base) = &self.place
            && name.starts_with("targets/")
        {
            let url = at(base, name)?;
            return self.runtime.block_on(async {
                let answer = self.http.head(url.clone(), url.as_str()).await?;
                let length = answer.headers().get(CONTENT_LENGTH);
                let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
                let there = answer.status() == StatusCode::OK && length == Some(bytes.len() as u64);
                Ok(if there { Has::Same } else { Has::Nothing })
            });
        }
        Ok(match self.read(name)? {
            None => Has::Nothing,
            Some(there) if there == bytes => Has::Same,
            Some(_) => Has::Other,
        })
    }

    /// Writes a file of the repository: what never changes may be kept by caches for a year, the timestamp
    /// not at all.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn write(&self, name: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
        let base = match &self.place {
            Place::Dir(dir) => {
                let path = dir.join(name);
                let write = || -> io::Result<()> {
                    file::make_dirs(path.parent().unwrap_or(&path))?;
                    file::replace(&path, &bytes, 0o644)
                };
                return write().with_context(|| path.display().to_string());
            }
            Place::Bucket(base) => base,
        };
        let url = at(base, name)?;
        let mut headers = HeaderMap::new();
        let caching = if name == NEWEST {
            "no-cache"
        } else {
            "public, max-age=31536000, immutable"
        };
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
        let kind = if Path::new(name).extension().is_some_and(|it| it == "json") {
            "application/json"
        } else {
            "application/octet-stream"
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let body = Bytes::from(bytes);
        self.runtime.block_on(async {
            let sent = self
                .http
                .send(&Method::PUT, url.clone(), url.as_str(), &headers, &body);
            let status = sent.await?.status();
            if !status.is_success() {
                bail!("{url}: the server answered {status}");
            }
            Ok(())
        })
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::Dir(dir) => dir.display().fmt(f),
            Place::Bucket(url) => url.fmt(f),
        }
    }
}

/// What a destination has under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Has {
    Nothing,
    Same,
    Other,
}

fn at(base: &Url, name: &str) -> anyhow::Result<Url> {
    below(base, name).with_context(|| format!("'{name}' cannot stand in a URL"))
}
