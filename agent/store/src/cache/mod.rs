//! Binary caches: a directory of `nix-cache-info`, `HASH.narinfo` and `nar/…`, on a web server or
//! a disk.
//!
//! Source: Nix `src/libstore/binary-cache-store.cc`, `http-binary-cache-store.cc`,
//! `local-binary-cache-store.cc`.

pub(crate) mod backoff;
mod body;

use crate::{
    error::{Error, Result},
    narinfo::{MAX_NARINFO_BYTES, NarInfo},
};
use body::{open_disk, open_web};
use std::{fmt, path::PathBuf};
use surefoot_base::relative;
use surefoot_core::{StorePath, store_path::STORE_DIR};
use surefoot_http::{
    Http, StatusCode, Url, below,
    header::{CONTENT_LENGTH, HeaderMap},
    shown,
};

pub use body::{Body, Resume};

/// Where a cache lies.
#[derive(Clone, PartialEq, Eq)]
pub struct Cache {
    base: Base,
    /// The URL without credentials.
    shown: String,
}

#[derive(Clone, PartialEq, Eq)]
enum Base {
    /// Ends with a slash.
    Web(Url),
    Disk(PathBuf),
}

impl Cache {
    /// Reads the URL of a cache. Nothing is asked of it. A query (`?priority=…`) is Nix' own affair
    /// and dropped.
    ///
    /// # Errors
    /// [`Error::Url`] if it is neither `http://`, `https://` nor `file://`.
    pub fn new(text: &str) -> Result<Self> {
        let bad = || Error::Url(text.chars().take(200).collect());
        let mut url = Url::parse(text).map_err(|_| bad())?;
        url.set_query(None);
        url.set_fragment(None);
        let base = match url.scheme() {
            "http" | "https" => {
                if !url.path().ends_with('/') {
                    url.set_path(&format!("{}/", url.path()));
                }
                Base::Web(url.clone())
            }
            "file" => Base::Disk(url.to_file_path().map_err(|()| bad())?),
            _ => return Err(bad()),
        };
        Ok(Self {
            base,
            shown: shown(&url).as_str().trim_end_matches('/').to_owned(),
        })
    }

    /// Checks that the cache is there and for `/nix/store`.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is no `nix-cache-info`, [`Error::StoreDir`] if it is for another
    /// store, or what the transfer says.
    pub async fn check(&self, http: &Http) -> Result<()> {
        let name = "nix-cache-info";
        let bytes = self.small_file(http, name, 64 << 10).await?;
        let bytes = bytes.ok_or_else(|| Error::Missing {
            what: name.into(),
            caches: self.to_string(),
        })?;
        let text = String::from_utf8_lossy(&bytes);
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix("StoreDir:"))
            .map(str::trim);
        match found {
            Some(dir) if dir != STORE_DIR => Err(Error::StoreDir {
                url: self.to_string(),
                found: dir.chars().take(200).collect(),
            }),
            _ => Ok(()),
        }
    }

    /// What the cache says of a path; `None` if it does not have it.
    ///
    /// # Errors
    /// [`Error::NarInfo`] if it says it badly or of another path, or what the transfer says.
    pub async fn narinfo(&self, http: &Http, path: &StorePath) -> Result<Option<NarInfo>> {
        let name = format!("{}.narinfo", path.hash_part());
        let Some(bytes) = self.small_file(http, &name, MAX_NARINFO_BYTES).await? else {
            return Ok(None);
        };
        let info = NarInfo::parse(&bytes).map_err(|why| Error::NarInfo {
            url: self.shown(&name),
            why,
        })?;
        if info.0.path != *path {
            return Err(Error::Disagree {
                path: path.clone(),
                field: "store path",
                expected: path.to_string(),
                source_name: "the request",
                found: info.0.path.to_string(),
            });
        }
        Ok(Some(info))
    }

    async fn small_file(&self, http: &Http, name: &str, max: usize) -> Result<Option<Vec<u8>>> {
        let Some(mut body) = self.open(http, name, &Resume::default()).await? else {
            return Ok(None);
        };
        let mut all = Vec::new();
        while let Some(piece) = body.piece().await? {
            if all.len() + piece.len() > max {
                return Err(Error::TooLong {
                    url: self.shown(name),
                    expected: max as u64,
                });
            }
            all.extend_from_slice(&piece);
        }
        Ok(Some(all))
    }

    /// Opens a file of the cache for reading, at an offset if the server can; `None` if the cache
    /// does not have it. [`Body::start`] says where it begins indeed.
    ///
    /// # Errors
    /// [`Error::Outside`] if the name leads out of the cache; what the transfer says.
    pub async fn open(&self, http: &Http, name: &str, resume: &Resume) -> Result<Option<Body>> {
        let shown = self.shown(name);
        let outside = |why| Error::Outside {
            url: shown.clone(),
            why,
        };
        relative::check(name).map_err(outside)?;
        match &self.base {
            Base::Web(base) => {
                let url = below(base, name)
                    .ok_or_else(|| outside("it has a character that does not belong in a URL"))?;
                open_web(http, url, shown, resume).await
            }
            Base::Disk(dir) => {
                let path = dir.join(name.split('?').next().unwrap_or(name));
                open_disk(path, shown, resume).await
            }
        }
    }

    /// Whether the cache has a file, of this size if it says how large it is; nothing of it is read.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn has(&self, http: &Http, name: &str, size: Option<u64>) -> Result<bool> {
        let shown = self.shown(name);
        let outside = |why| Error::Outside {
            url: shown.clone(),
            why,
        };
        relative::check(name).map_err(outside)?;
        let as_said = |found: Option<u64>| size.is_none() || found.is_none() || found == size;
        if let Base::Web(base) = &self.base {
            let url = below(base, name)
                .ok_or_else(|| outside("it has a character that does not belong in a URL"))?;
            let answer = http.head(url, &shown).await?;
            match answer.status() {
                StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(false),
                StatusCode::OK => return Ok(as_said(header_length(answer.headers()))),
                // Some servers know nothing but GET.
                _ => {}
            }
        }
        let body = self.open(http, name, &Resume::default()).await?;
        Ok(body.is_some_and(|body| as_said(body.total)))
    }

    /// Where a file of the cache lies, without credentials.
    #[must_use]
    pub fn shown(&self, name: &str) -> String {
        // What follows a question mark may be a token.
        format!("{}/{}", self.shown, name.split('?').next().unwrap_or(name))
    }
}

/// The size that an answer without a body speaks of, bytes.
fn header_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What people give as a place, as a URL: a directory becomes a `file://` URL, everything else is
/// left as it is.
#[must_use]
pub fn place(text: &str) -> String {
    if text.contains("://") {
        return text.to_owned();
    }
    std::path::absolute(text)
        .ok()
        .and_then(|path| Url::from_file_path(path).ok())
        .map_or_else(|| text.to_owned(), String::from)
}

impl fmt::Display for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown_without_secrets() {
        let cache =
            Cache::new("https://user:secret@cache.example:8443/robots?priority=10").unwrap();
        assert_eq!(cache.to_string(), "https://cache.example:8443/robots");
        assert_eq!(format!("{cache:?}"), "https://cache.example:8443/robots");
        assert_eq!(
            cache.shown("nar/x.nar?token=secret"),
            "https://cache.example:8443/robots/nar/x.nar"
        );
        assert_eq!(
            Cache::new("file:///mnt/usb").unwrap().to_string(),
            "file:///mnt/usb"
        );
        for bad in [
            "",
            "cache",
            "ftp://x/",
            "file://host/x",
            "/mnt/usb",
            "s3://bucket",
        ] {
            assert!(matches!(Cache::new(bad), Err(Error::Url(_))), "{bad}");
        }
    }

    #[test]
    fn a_directory_is_a_place() {
        assert_eq!(place("/mnt/usb stick"), "file:///mnt/usb%20stick");
        assert!(place("cache").starts_with("file:///"));
        assert_eq!(place("https://x/"), "https://x/");
    }
}
