//! A bucket of an S3-compatible store, or whatever takes PUT.

use super::{DELTAS, Has, MAX_FILE, NEWEST, is_versioned, read, versioned};
use crate::web_servers::{self, NetArgs};
use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};
use surefoot_http::{
    Bytes, Http, Method, Response, StatusCode, Url, below,
    document::{self, Absence, Document},
    header::{
        CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MATCH,
        IF_NONE_MATCH,
    },
    pace::LeastPace,
};
use tokio::runtime::Runtime;

/// An entity tag that no file has.
const NO_TAG: &str = "\"surefoot-asks-whether-conditions-count\"";

/// The bucket, and what reaches it.
pub(crate) struct Bucket {
    url: Url,
    /// The same without a login, as people see it.
    shown: Url,
    http: Http,
    /// Connections last as long as the runtime that they were made in.
    runtime: Runtime,
}

/// What the bucket had as its newest file before anything was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Newest {
    pub(crate) bytes: Vec<u8>,
    /// What the store calls these bytes, if it says so in a way that can be held against it.
    tag: Option<String>,
}

/// When a store may write a file (RFC 9110, section 13.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Only<'a> {
    Always,
    /// If there is none.
    New,
    /// If it is still this one.
    Still(&'a str),
}

impl Bucket {
    /// Understands what was typed.
    ///
    /// # Errors
    /// A URL that nothing can be pushed to.
    pub(super) fn new(text: &str, net: &NetArgs) -> anyhow::Result<Self> {
        let url = Url::parse(&format!("{}/", text.trim_end_matches('/')))?;
        if !matches!(url.scheme(), "http" | "https") {
            bail!(
                "'{text}' is not a place to push to: give a directory, the URL of a bucket such as \
                 https://s3.eu-central-1.amazonaws.com/BUCKET/fleet, or rsync's user@host:/path"
            );
        }
        Ok(Self {
            shown: surefoot_http::shown(&url),
            url,
            http: Http::new(net.options()),
            runtime: web_servers::runtime()?,
        })
    }

    pub(super) const fn url(&self) -> &Url {
        &self.url
    }

    /// The bucket as people see it.
    pub(super) const fn shown(&self) -> &Url {
        &self.shown
    }

    /// Where a file is, and how people see that.
    fn at(&self, name: &str) -> anyhow::Result<(Url, Url)> {
        let at = |url| below(url, name).with_context(|| format!("'{name}' cannot stand in a URL"));
        Ok((at(&self.url)?, at(&self.shown)?))
    }

    /// A file, and its tag; `None` if it is not there.
    ///
    /// # Errors
    /// It cannot be read: also where the store does not say whether there is one.
    pub(super) fn read(&self, name: &str) -> anyhow::Result<Option<Newest>> {
        let (url, shown) = self.at(name)?;
        let pace = LeastPace::default();
        let found = document::get(&self.http, url.as_str(), MAX_FILE, None, pace);
        match self.runtime.block_on(found)? {
            Document::Bytes(bytes, validators) => {
                let tag = validators.etag.filter(|tag| !tag.starts_with("W/"));
                Ok(Some(Newest { bytes, tag }))
            }
            Document::Absent(Absence::NotFound) | Document::NotModified => Ok(None),
            Document::Absent(Absence::Forbidden) => Err(not_allowed(&shown, "read")),
            Document::Absent(Absence::Stranger(what)) => bail!("{shown}: {what}"),
        }
    }

    /// Whether the bucket has these very bytes, as far as can be told without reading what is named by its
    /// digest.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn has(&self, name: &str, bytes: &[u8]) -> anyhow::Result<Has> {
        if !(name.starts_with("targets/") || name.starts_with(DELTAS)) {
            return Ok(Has::of(self.read(name)?.map(|it| it.bytes), bytes));
        }
        let (url, shown) = self.at(name)?;
        let answer = self.http.head(url, shown.as_str());
        let answer = self.runtime.block_on(answer)?;
        match answer.status() {
            StatusCode::OK => {
                let length = answer.headers().get(CONTENT_LENGTH);
                let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
                let same = length == Some(bytes.len() as u64);
                Ok(if same { Has::Same } else { Has::Nothing })
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(Has::Nothing),
            StatusCode::FORBIDDEN => Err(not_allowed(&shown, "read")),
            status => bail!("{shown}: the server answered {status}"),
        }
    }

    /// Writes files of a repository in this order. What has a version in its name is only written where
    /// there is none yet, unless it may be replaced.
    ///
    /// # Errors
    /// One cannot be written.
    pub(super) fn write(
        &self,
        dir: &Path,
        names: &[&PathBuf],
        replace: bool,
    ) -> anyhow::Result<()> {
        for name in names {
            let body = Bytes::from(read(dir, name)?);
            let name = name.to_string_lossy();
            let only = if is_versioned(&name) && !replace {
                Only::New
            } else {
                Only::Always
            };
            // Not every store looks at conditions: somebody else may have written it a moment before.
            if only == Only::New {
                match self.has(&name, &body)? {
                    Has::Same => continue,
                    Has::Other => bail!(somebody(&self.shown)),
                    Has::Nothing => {}
                }
            }
            match self.put(&name, &body, only)? {
                Some(_) => {}
                // This very file, of a try whose answer was lost.
                None if self.has(&name, &body)? == Has::Same => {}
                None => bail!(somebody(&self.shown)),
            }
        }
        Ok(())
    }

    /// Writes the newest file, if it is still as it was seen. `files` are those of the repository that
    /// the bucket has by now. Gives whether the store itself looked that nobody came between.
    ///
    /// # Errors
    /// Somebody else has pushed; it cannot be written.
    pub(super) fn write_newest(
        &self,
        dir: &Path,
        seen: Option<&Newest>,
        files: &[PathBuf],
    ) -> anyhow::Result<bool> {
        let snapshot = |name: &&PathBuf| name.to_string_lossy().ends_with(".snapshot.json");
        let written = (files.iter().rfind(snapshot)).context("there is no snapshot")?;
        let read = |name: &Path| read(dir, name).map(Bytes::from);
        let body = read(Path::new(NEWEST))?;
        let only = match seen.map(|seen| seen.tag.as_deref()) {
            None => Only::New,
            Some(Some(tag)) => Only::Still(tag),
            Some(None) => Only::Always,
        };
        let conditional = match only {
            Only::Always => false,
            // A condition that does not hold, on a file that is there as it is: a store that writes it
            // nevertheless looks at no conditions.
            Only::New => self.refuses(written, &read(written)?, Only::New)?,
            Only::Still(_) => self.refuses(written, &read(written)?, Only::Still(NO_TAG))?,
        };
        if !conditional {
            if self.read(NEWEST)?.as_ref() != seen {
                bail!(somebody(&self.shown));
            }
            // What has a version in its name may be somebody else's by now.
            for name in versioned(files) {
                if self.has(&name.to_string_lossy(), &read(name)?)? != Has::Same {
                    bail!(somebody(&self.shown));
                }
            }
        }
        let only = if conditional { only } else { Only::Always };
        if self.put(NEWEST, &body, only)?.is_none() {
            bail!(somebody(&self.shown));
        }
        Ok(conditional)
    }

    fn refuses(&self, name: &Path, body: &Bytes, only: Only<'_>) -> anyhow::Result<bool> {
        let answer = self.put(&name.to_string_lossy(), body, only)?;
        Ok(answer.is_none())
    }

    /// Puts a file there: what never changes may be kept by caches for a year, the timestamp not at all.
    /// `None` if the store says that the condition does not hold. A store that knows no conditions is asked
    /// once more without.
    fn put(&self, name: &str, body: &Bytes, only: Only<'_>) -> anyhow::Result<Option<()>> {
        let (url, shown) = self.at(name)?;
        let answer = self.send((&url, &shown), name, body, only)?;
        match answer.status() {
            StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT if only != Only::Always => {
                Ok(None)
            }
            StatusCode::NOT_IMPLEMENTED if only != Only::Always => {
                self.put(name, body, Only::Always)
            }
            StatusCode::FORBIDDEN => Err(not_allowed(&shown, "write")),
            status if status.is_success() => Ok(Some(())),
            status => bail!("{shown}: the server answered {status}"),
        }
    }

    fn send(
        &self,
        (url, shown): (&Url, &Url),
        name: &str,
        body: &Bytes,
        only: Only<'_>,
    ) -> anyhow::Result<Response> {
        let kind = if Path::new(name).extension().is_some_and(|it| it == "json") {
            "application/json"
        } else {
            "application/octet-stream"
        };
        let caching = if name == NEWEST {
            "no-cache"
        } else {
            "public, max-age=31536000, immutable"
        };
        let text = HeaderValue::from_static;
        let mut headers: HeaderMap = [(CACHE_CONTROL, text(caching)), (CONTENT_TYPE, text(kind))]
            .into_iter()
            .collect();
        let condition: Option<(HeaderName, &str)> = match only {
            Only::Always => None,
            Only::New => Some((IF_NONE_MATCH, "*")),
            Only::Still(tag) => Some((IF_MATCH, tag)),
        };
        if let Some((name, value)) = condition {
            headers.insert(name, value.parse()?);
        }
        let sent = self
            .http
            .send(&Method::PUT, url.clone(), shown.as_str(), &headers, body);
        Ok(self.runtime.block_on(sent)?)
    }
}

/// A store that forbids says nothing of whether there is such a file.
fn not_allowed(url: &Url, what: &str) -> anyhow::Error {
    let list = if what == "read" {
        "; S3 says the same of what is not there, unless whoever asks may list the bucket as well (s3:ListBucket)"
    } else {
        ""
    };
    anyhow::anyhow!(
        "{url}: the server answered 403 Forbidden: these credentials, or none, may not {what} it{list}"
    )
}

/// What somebody is told who was overtaken.
pub(super) fn somebody(place: impl std::fmt::Display) -> String {
    format!(
        "somebody else has pushed to {place} meanwhile, and robots see that; bring this one up to date first"
    )
}
