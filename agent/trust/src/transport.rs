//! Bytes from a web server or a directory: never more than asked for, never slower than allowed.

use crate::{Error, files, local::Validators, names};
use bytes::Bytes;
use reqwest::{StatusCode, Url, header, redirect::Policy};
use std::{path::PathBuf, time::Duration};
use tokio::time::{Instant, timeout_at};

/// How to speak HTTP.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Until a connection stands.
    pub connect_timeout: Duration,
    /// Each span of this length must bring [`Self::min_bytes_per_window`] or the end; also the
    /// longest wait for an answer.
    pub window: Duration,
    /// The slowest pace that is borne.
    pub min_bytes_per_window: u64,
    /// CA certificates in PEM, beside those of the system.
    pub ca_files: Vec<PathBuf>,
    /// `User-Agent`.
    pub user_agent: String,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(15),
            window: Duration::from_secs(30),
            min_bytes_per_window: 3_000,
            ca_files: Vec::new(),
            user_agent: concat!("surefoot/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Where files come from.
#[derive(Debug)]
pub(crate) enum Base {
    Http(String),
    Dir(PathBuf),
}

/// What came.
#[derive(Debug)]
pub(crate) enum Answer {
    /// There is no such file.
    NotFound,
    /// It is as the validators say.
    NotModified,
    /// Its bytes.
    Bytes(Vec<u8>, Validators),
}

/// How a file is named.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Name<'a> {
    /// As it is on the disk and in the URL.
    Encoded(&'a str),
    /// To be percent-encoded for a URL; slashes part directories.
    Plain(&'a str),
}

impl Base {
    /// Understands an address.
    pub(crate) fn new(address: &str) -> Result<Self, Error> {
        let wrong = || Error::Url {
            url: address.chars().take(300).collect(),
        };
        let url = Url::parse(address).map_err(|_| wrong())?;
        match url.scheme() {
            "file" => url.to_file_path().map(Self::Dir).map_err(|()| wrong()),
            "http" | "https" if url.query().is_none() && url.fragment().is_none() => {
                Ok(Self::Http(address.trim_end_matches('/').to_owned()))
            }
            _ => Err(wrong()),
        }
    }

    /// The address of a file, for requests and errors.
    pub(crate) fn locate(&self, name: Name<'_>) -> String {
        match (self, name) {
            (Self::Http(base), Name::Encoded(file)) => format!("{base}/{file}"),
            (Self::Http(base), Name::Plain(file)) => {
                format!("{base}/{}", names::quote_path(file))
            }
            (Self::Dir(dir), Name::Encoded(file) | Name::Plain(file)) => {
                dir.join(file).display().to_string()
            }
        }
    }
}

/// A client that is made when it is first needed, and can be let go of to save memory.
#[derive(Debug)]
pub(crate) struct Transport {
    options: HttpOptions,
    http: Option<reqwest::Client>,
    /// Bytes of bodies received since the start.
    pub(crate) received: u64,
    /// Nothing is waited for any longer than this, however it trickles.
    until: Option<(Instant, Duration)>,
}

impl Transport {
    pub(crate) fn new(options: HttpOptions) -> Self {
        Self {
            options,
            http: None,
            received: 0,
            until: None,
        }
    }

    /// All that is asked for from now on, together, may take so long.
    pub(crate) fn limit(&mut self, all: Duration) {
        self.until = Some((Instant::now() + all, all));
    }

    /// Closes connections and forgets certificates, and the limit.
    pub(crate) fn close(&mut self) {
        self.http = None;
        self.until = None;
    }

    /// Fetches one file of at most `limit` bytes.
    pub(crate) async fn get(
        &mut self,
        base: &Base,
        name: Name<'_>,
        limit: u64,
        validators: Option<&Validators>,
    ) -> Result<Answer, Error> {
        let url = base.locate(name);
        let base = match (base, name) {
            (Base::Http(_), _) => {
                let Some((until, all)) = self.until else {
                    return self.http(&url, limit, validators).await;
                };
                let answer = timeout_at(until, self.http(&url, limit, validators)).await;
                return answer.unwrap_or_else(|_| {
                    let why = format!("all of it took longer than {} s", all.as_secs());
                    Err(Error::Transport { url, why })
                });
            }
            (Base::Dir(dir), Name::Encoded(file) | Name::Plain(file)) => dir.join(file),
        };
        // A stick may hang; but reading a few small files is not worth a thread.
        Ok(match files::read(&base, limit)? {
            None => Answer::NotFound,
            Some(bytes) => {
                self.received += bytes.len() as u64;
                Answer::Bytes(bytes, Validators::default())
            }
        })
    }

    async fn http(
        &mut self,
        url: &str,
        limit: u64,
        validators: Option<&Validators>,
    ) -> Result<Answer, Error> {
        let fail = |why: String| Error::Transport {
            url: url.to_owned(),
            why,
        };
        let mut request = self.client()?.get(url);
        match validators {
            Some(Validators {
                etag: Some(etag), ..
            }) => request = request.header(header::IF_NONE_MATCH, etag),
            Some(Validators {
                last_modified: Some(time),
                ..
            }) => request = request.header(header::IF_MODIFIED_SINCE, time),
            _ => {}
        }
        let window = self.options.window;
        let deadline = Instant::now() + self.options.connect_timeout + window;
        let mut response = timeout_at(deadline, request.send())
            .await
            .map_err(|_| fail(format!("no answer within {} s", window.as_secs())))?
            .map_err(|e| fail(plain(&e)))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if validators.is_some() => return Ok(Answer::NotModified),
            // Object stores answer 403 for what is not there and may not be listed.
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::GONE => {
                return Ok(Answer::NotFound);
            }
            status => return Err(fail(format!("the server answered {status}"))),
        }
        let too_large = || Error::TooLarge {
            file: url.to_owned(),
            limit,
        };
        if response.content_length().is_some_and(|n| n > limit) {
            return Err(too_large());
        }
        let text = |name| {
            let value = response.headers().get(name)?.to_str().ok()?;
            (value.len() <= 200).then(|| value.to_owned())
        };
        let etag = text(header::ETAG);
        // A time alone tells changes apart only if they are a second apart (RFC 9110, 8.8.2.2).
        let last_modified = text(header::LAST_MODIFIED)
            .filter(|_| etag.is_none())
            .filter(|time| text(header::DATE).is_some_and(|date| date != *time));
        let pace = Pace {
            window,
            min: self.options.min_bytes_per_window,
        };
        let received = &mut self.received;
        let bytes = collect(&mut response, limit, pace, received)
            .await
            .map_err(|e| match e {
                Body::TooLarge => too_large(),
                Body::Slow => fail(format!(
                    "slower than {} bytes in {} s",
                    pace.min,
                    window.as_secs()
                )),
                Body::Broken(why) => fail(why),
            })?;
        let validators = Validators {
            etag,
            last_modified,
        };
        Ok(Answer::Bytes(bytes, validators))
    }

    fn client(&mut self) -> Result<&reqwest::Client, Error> {
        if self.http.is_none() {
            let mut builder = reqwest::Client::builder()
                .user_agent(&self.options.user_agent)
                .connect_timeout(self.options.connect_timeout)
                .redirect(Policy::limited(5));
            for path in &self.options.ca_files {
                let pem = files::read(path, 1 << 20)?.ok_or_else(|| Error::NotFound {
                    url: path.display().to_string(),
                })?;
                let certificates =
                    reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| Error::Transport {
                        url: path.display().to_string(),
                        why: format!("no certificates in PEM: {}", plain(&e)),
                    })?;
                builder = builder.tls_certs_merge(certificates);
            }
            let client = builder.build().map_err(|e| Error::Transport {
                url: "HTTP".to_owned(),
                why: plain(&e),
            })?;
            self.http = Some(client);
        }
        self.http.as_ref().ok_or_else(|| Error::Transport {
            url: "HTTP".to_owned(),
            why: "no client".to_owned(),
        })
    }
}

/// The error with its causes, without the URL, which is said anyway.
fn plain(error: &reqwest::Error) -> String {
    use std::error::Error as _;
    let mut text = if error.is_timeout() {
        "it takes too long".to_owned()
    } else if error.is_redirect() {
        "too many redirects".to_owned()
    } else if error.is_connect() {
        "cannot connect".to_owned()
    } else {
        "the exchange failed".to_owned()
    };
    let mut cause = error.source();
    // The last cause says it best.
    let mut last = None;
    while let Some(c) = cause {
        last = Some(c.to_string());
        cause = c.source();
    }
    if let Some(last) = last {
        text.push_str(": ");
        text.push_str(&last);
    }
    text
}

#[derive(Debug, Clone, Copy)]
struct Pace {
    window: Duration,
    min: u64,
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

impl Chunks for reqwest::Response {
    async fn next(&mut self) -> Result<Option<Bytes>, String> {
        self.chunk().await.map_err(|e| plain(&e))
    }
}

/// Reads a body to its end: at most `limit` bytes, at least at this pace.
async fn collect(
    chunks: &mut impl Chunks,
    limit: u64,
    pace: Pace,
    received: &mut u64,
) -> Result<Vec<u8>, Body> {
    let mut bytes = Vec::new();
    let mut ends = Instant::now() + pace.window;
    let mut in_window = 0;
    loop {
        let chunk = match timeout_at(ends, chunks.next()).await {
            Ok(chunk) => chunk.map_err(Body::Broken)?,
            Err(_) if in_window >= pace.min => {
                in_window = 0;
                ends += pace.window;
                continue;
            }
            Err(_) => return Err(Body::Slow),
        };
        let Some(chunk) = chunk else {
            return Ok(bytes);
        };
        *received += chunk.len() as u64;
        in_window += chunk.len() as u64;
        if bytes.len() as u64 + chunk.len() as u64 > limit {
            return Err(Body::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
        // A chunk that is always ready would never let the clock be looked at.
        if Instant::now() >= ends {
            if in_window < pace.min {
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

    const PACE: Pace = Pace {
        window: Duration::from_secs(30),
        min: 3_000,
    };

    async fn drip(size: usize, every: u64, count: u64, limit: u64) -> Result<usize, Body> {
        let mut drip = Drip {
            size,
            every: Duration::from_secs(every),
            left: count,
        };
        collect(&mut drip, limit, PACE, &mut 0)
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

    #[test]
    fn addresses_are_understood_or_refused() {
        for bad in [
            "",
            "x",
            "ftp://x/",
            "https://x/?a=b",
            "/srv/repo",
            "file://host/x",
        ] {
            let error = Base::new(bad).unwrap_err().to_string();
            assert!(error.contains("no address of a repository"), "{error}");
        }
        let base = Base::new("https://x/repo/").unwrap();
        assert_eq!(base.locate(Name::Plain("a b/c")), "https://x/repo/a%20b/c");
        assert_eq!(
            base.locate(Name::Encoded("1.a%2Fb.json")),
            "https://x/repo/1.a%2Fb.json"
        );
        let base = Base::new("file:///srv/my%20repo").unwrap();
        assert_eq!(base.locate(Name::Plain("a b")), "/srv/my repo/a b");
    }
}
