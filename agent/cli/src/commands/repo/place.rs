//! Where a repository is pushed to: a directory, or a bucket that is written over HTTP.

use crate::{
    desk::named,
    web_servers::{self, NetArgs},
};
use anyhow::{Context as _, bail};
use jiff::Timestamp;
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
use surefoot_trust::audit::{self, Audit};

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
pub(super) struct Destination<'a> {
    pub(super) place: Place,
    net: &'a NetArgs,
    http: Http,
}

impl<'a> Destination<'a> {
    /// Understands what was typed: a URL of a bucket, or a directory.
    ///
    /// # Errors
    /// A URL that nothing can be pushed to.
    pub(super) fn new(text: &str, net: &'a NetArgs) -> anyhow::Result<Self> {
        let place = if text.contains("://") {
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
            net,
            http: Http::new(net.options()),
        })
    }

    /// A file of the repository; `None` if it is not there.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn read(&self, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let Place::Bucket(base) = &self.place else {
            return Ok(file::read_if_there(&self.path(name), MAX_FILE)?);
        };
        let url = at(base, name)?;
        web_servers::wait(async {
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
            return web_servers::wait(async {
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
        let Place::Bucket(base) = &self.place else {
            let path = self.path(name);
            let write = || -> io::Result<()> {
                file::make_dirs(path.parent().unwrap_or(&path))?;
                file::replace(&path, &bytes, 0o644)
            };
            return write().with_context(|| path.display().to_string());
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
        web_servers::wait(async {
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

    /// Looks at all that is there.
    ///
    /// # Errors
    /// What makes a robot believe none of it.
    pub(super) fn audit(&self, anchor: &[u8], now: Timestamp) -> anyhow::Result<Audit> {
        match &self.place {
            Place::Dir(dir) => Ok(audit::audit(dir, anchor, now, named)?),
            Place::Bucket(url) => web_servers::wait(async {
                Ok(audit::audit_at(url.as_str(), self.net.options(), anchor, now, named).await?)
            }),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        match &self.place {
            Place::Dir(dir) => dir.join(name),
            Place::Bucket(_) => PathBuf::from(name),
        }
    }
}

impl std::fmt::Display for Destination<'_> {
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
