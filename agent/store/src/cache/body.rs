//! Files of a cache on their way, from a web server or a disk, from any offset on.

use crate::error::{Error, Result};
use bytes::{Bytes, BytesMut};
use std::{fmt, io, path::PathBuf};
use surefoot_http::{
    Http, Response, StatusCode, Url,
    header::{HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, RANGE},
    headers::{content_range, retry_after, validator},
    page::stranger,
};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// Pieces in which files are read from a disk, bytes.
const PIECE: usize = 128 << 10;

/// Where to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resume {
    /// Bytes that are there already.
    pub offset: u64,
    /// The validator (`ETag` or `Last-Modified`) under which they came from this very URL: if the
    /// file has changed since, the server sends all of it (`If-Range`, RFC 9110 § 13.1.5).
    pub validator: Option<String>,
    /// The version of the file that is not worth asking for: it came wrong before.
    pub unless: Option<String>,
}

/// A file on its way.
#[derive(Debug)]
pub struct Body {
    /// Offset of the first byte that comes: what was asked for, or zero.
    pub start: u64,
    /// Size of the whole file, if the server says it.
    pub total: Option<u64>,
    /// The validator of what comes, fit for [`Resume::validator`].
    pub validator: Option<String>,
    /// Where it comes from, without credentials.
    pub url: String,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// With its first piece, if that was looked at.
    Web(Box<Response>, Option<Bytes>),
    Disk(tokio::fs::File),
}

impl Body {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// The transfer broke off or stalled.
    pub async fn piece(&mut self) -> Result<Option<Bytes>> {
        match &mut self.source {
            Source::Web(response, first) => match first.take() {
                None => Ok(response.piece().await?),
                first => Ok(first),
            },
            Source::Disk(file) => {
                let mut piece = BytesMut::with_capacity(PIECE);
                file.read_buf(&mut piece)
                    .await
                    .map_err(|why| unreadable(&self.url, &why))?;
                Ok((!piece.is_empty()).then(|| piece.freeze()))
            }
        }
    }
}

/// Opens what lies at a URL; `None` if it is not there.
pub(super) async fn open_web(
    http: &Http,
    url: Url,
    shown: String,
    resume: &Resume,
) -> Result<Option<Body>> {
    let wanted = range(resume);
    let mut response = http.get(url.clone(), &shown, &wanted).await?;
    let headers = response.headers();
    let same = response.status() == StatusCode::NOT_MODIFIED || resume.unless == validator(headers);
    if resume.unless.is_some() && same {
        return Err(Error::StillWrong { url: shown });
    }
    let length = response.content_length();
    let (start, total) = match response.status() {
        StatusCode::OK => (0, length),
        StatusCode::PARTIAL_CONTENT => match content_range(headers) {
            Some((start, total)) if start == resume.offset => (start, total),
            _ => {
                return Err(unreadable(
                    &shown,
                    &"it sends another range than it was asked for",
                ));
            }
        },
        // What is there is not shorter than the file: the caller's check decides what it is worth.
        StatusCode::RANGE_NOT_SATISFIABLE if resume.offset > 0 => {
            return Box::pin(open_web(http, url, shown, &Resume::default())).await;
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
        status => {
            return Err(Error::Status {
                url: shown,
                status: status.as_u16(),
                retry_after: retry_after(headers),
            });
        }
    };
    let headers = headers.clone();
    let first = match start {
        0 => response.piece().await?,
        _ => None,
    };
    if let Some(what) = stranger(&headers, first.as_deref().unwrap_or_default()) {
        return Err(Error::Stranger { url: shown, what });
    }
    Ok(Some(Body {
        start,
        total,
        validator: validator(&headers),
        url: shown,
        source: Source::Web(Box::new(response), first),
    }))
}

/// Asks for the rest of a file; for all of it where the condition cannot be said.
fn range(resume: &Resume) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if resume.offset == 0 {
        if let Some(Ok(version)) = resume.unless.as_ref().map(|version| version.parse()) {
            let version: HeaderValue = version;
            let is_tag = version.as_bytes().starts_with(b"\"");
            let name = if is_tag {
                IF_NONE_MATCH
            } else {
                IF_MODIFIED_SINCE
            };
            headers.insert(name, version);
        }
        return headers;
    }
    if let Some(validator) = &resume.validator {
        let Ok(validator) = validator.parse() else {
            return headers;
        };
        headers.insert(IF_RANGE, validator);
    }
    if let Ok(range) = HeaderValue::try_from(format!("bytes={}-", resume.offset)) {
        headers.insert(RANGE, range);
    }
    headers
}

/// Opens a file; `None` if it is not there.
pub(super) async fn open_disk(
    path: PathBuf,
    shown: String,
    resume: &Resume,
) -> Result<Option<Body>> {
    let open = async {
        // Opening a pipe waits for ever, and opening a device may set it off.
        if !tokio::fs::metadata(&path).await?.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut file = tokio::fs::File::open(path).await?;
        let total = file.metadata().await?.len();
        let start = if resume.offset <= total {
            resume.offset
        } else {
            0
        };
        file.seek(io::SeekFrom::Start(start)).await?;
        Ok::<_, io::Error>((file, start, total))
    };
    match open.await {
        Ok((file, start, total)) => Ok(Some(Body {
            start,
            total: Some(total),
            validator: None,
            url: shown,
            source: Source::Disk(file),
        })),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(unreadable(&shown, &why)),
    }
}

fn unreadable(url: &str, why: &dyn fmt::Display) -> Error {
    surefoot_http::Error::Transfer {
        url: url.to_owned(),
        why: why.to_string(),
    }
    .into()
}
