//! Small files as wholes: bounded in bytes and in time, and brought only if they have changed.

use crate::{
    client::{Http, Response},
    error::{Error, Result},
    headers::{Validators, retry_after},
    pace::LeastPace,
    page, shown,
};
use bytes::Bytes;
use reqwest::{StatusCode, Url, header::HeaderMap};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// So much longer than [`LeastPace::window`] an answer may take, redirections included.
const CONNECTING: Duration = Duration::from_secs(15);

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// There is no such file, or it is not for everybody.
    Absent(Absence),
    /// It is as the validators say.
    NotModified,
    /// Its bytes, and what tells whether it changes.
    Bytes(Vec<u8>, Validators),
}

/// How a server says that there is no such file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absence {
    /// By saying so.
    NotFound,
    /// By `403 Forbidden`: object stores say it of what is not there and may not be listed.
    Forbidden,
    /// By something else in its place, in words: a web page, say.
    Stranger(String),
}

/// Brings a file of at most `limit` bytes, at this pace at least; only if it is not as `known` any
/// more.
///
/// # Errors
/// [`Error::TooLarge`], and as [`Http::get`]; the server answers anything but the file, that it is
/// not there, or that it is as known.
pub async fn get(
    http: &Http,
    url: &str,
    limit: u64,
    known: Option<&Validators>,
    pace: LeastPace,
) -> Result<Document> {
    let parsed = Url::parse(url).map_err(|error| Error::Transfer {
        url: url.to_owned(),
        why: error.to_string(),
    })?;
    let url = shown(&parsed).to_string();
    let fail = |why: String| Error::Transfer {
        url: url.clone(),
        why,
    };
    let headers = known.map_or_else(HeaderMap::new, Validators::condition);
    let request = http.get(parsed, &url, &headers);
    let seconds = pace.window.as_secs();
    let deadline = Instant::now() + CONNECTING + pace.window;
    let mut response = timeout_at(deadline, request)
        .await
        .map_err(|_| fail(format!("no answer within {seconds} s")))??;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED if known.is_some() => return Ok(Document::NotModified),
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            return Ok(Document::Absent(Absence::NotFound));
        }
        StatusCode::FORBIDDEN => return Ok(Document::Absent(Absence::Forbidden)),
        status => {
            return Err(Error::Status {
                url,
                status,
                retry_after: retry_after(response.headers()),
            });
        }
    }
    let headers = response.headers().clone();
    let body = if response.content_length().is_some_and(|n| n > limit) {
        Err(Body::TooLarge)
    } else {
        collect(&mut response, limit, pace).await
    };
    let stranger = |what| Ok(Document::Absent(Absence::Stranger(what)));
    match body {
        Ok(bytes) => match page::stranger(&headers, &bytes) {
            Some(what) => stranger(what),
            None => Ok(Document::Bytes(bytes, Validators::of(&headers))),
        },
        Err(Body::TooLarge) => match page::long_stranger(&headers) {
            Some(what) => stranger(what),
            None => Err(Error::TooLarge {
                url: url.clone(),
                limit,
            }),
        },
        Err(Body::Slow) => Err(fail(format!(
            "slower than {} bytes in {seconds} s",
            pace.min_bytes
        ))),
        Err(Body::Broken(why)) => Err(fail(why)),
    }
}

/// The error of a body with its last cause, which says it best.
fn broken(error: &reqwest::Error) -> String {
    use std::error::Error as _;
    let text = if error.is_timeout() {
        "it takes too long"
    } else {
        "the exchange failed"
    };
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    match causes.last() {
        Some(last) => format!("{text}: {last}"),
        None => text.to_owned(),
    }
}

#[derive(Debug)]
enum Body {
    TooLarge,
    Slow,
    Broken(String),
}

/// A body in pieces.
trait Chunks {
    async fn next(&mut self) -> Result<Option<Bytes>, String>;
}

impl Chunks for Response {
    async fn next(&mut self) -> Result<Option<Bytes>, String> {
        self.chunk().await.map_err(|e| broken(&e))
    }
}

/// Reads a body to its end: at most `limit` bytes, at least at this pace.
async fn collect(chunks: &mut impl Chunks, limit: u64, pace: LeastPace) -> Result<Vec<u8>, Body> {
    let mut bytes = Vec::new();
    let mut ends = Instant::now() + pace.window;
    let mut in_window = 0;
    loop {
        let chunk = match timeout_at(ends, chunks.next()).await {
            Ok(chunk) => chunk.map_err(Body::Broken)?,
            Err(_) if in_window >= pace.min_bytes => {
                in_window = 0;
                ends += pace.window;
                continue;
            }
            Err(_) => return Err(Body::Slow),
        };
        let Some(chunk) = chunk else {
            return Ok(bytes);
        };
        in_window += chunk.len() as u64;
        if bytes.len() as u64 + chunk.len() as u64 > limit {
            return Err(Body::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
        // A chunk that is always ready would never let the clock be looked at.
        if Instant::now() >= ends {
            if in_window < pace.min_bytes {
                return Err(Body::Slow);
            }
            in_window = 0;
            ends = Instant::now() + pace.window;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces of some size with pauses between them.
    struct Drip {
        size: usize,
        every: Duration,
        left: u64,
    }

    impl Chunks for Drip {
        async fn next(&mut self) -> Result<Option<Bytes>, String> {
            if self.left == 0 {
                return Ok(None);
            }
            self.left -= 1;
            tokio::time::sleep(self.every).await;
            Ok(Some(Bytes::from(vec![b'x'; self.size])))
        }
    }

    async fn drip(size: usize, every: u64, count: u64, limit: u64) -> Result<usize, Body> {
        let mut drip = Drip {
            size,
            every: Duration::from_secs(every),
            left: count,
        };
        collect(&mut drip, limit, LeastPace::default())
            .await
            .map(|bytes| bytes.len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_drip_is_cut_off_and_a_slow_line_is_not() {
        let begin = Instant::now();
        assert!(matches!(
            drip(1, 1, u64::MAX, 1 << 20).await,
            Err(Body::Slow)
        ));
        assert!(begin.elapsed() <= Duration::from_secs(31));
        assert!(matches!(drip(5000, 31, 3, 1 << 20).await, Err(Body::Slow)));
        assert_eq!(drip(1000, 5, 50, 1 << 20).await.unwrap(), 50_000);
        assert_eq!(drip(10, 1, 5, 50).await.unwrap(), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn endless_data_ends_at_the_limit() {
        assert!(matches!(
            drip(1000, 0, u64::MAX, 5_500).await,
            Err(Body::TooLarge)
        ));
        assert!(matches!(drip(1000, 0, 6, 5_999).await, Err(Body::TooLarge)));
        assert_eq!(drip(1000, 0, 6, 6_000).await.unwrap(), 6_000);
    }
}
