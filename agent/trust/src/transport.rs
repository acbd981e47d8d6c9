//! Bytes from a web server or a directory: never more than asked for, never slower than allowed.

use crate::{Error, files, local::Validators, names};
use bytes::Bytes;
use reqwest::{
    StatusCode, Url,
    header::{self, HeaderMap},
    redirect::Policy,
};
use std::{fmt, path::PathBuf, pin::Pin, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};

/// Sends a GET request with these headers to a URL and follows redirections: gives the answer up to
/// its body, or why there is none.
pub type Send = Box<dyn Fn(Url, HeaderMap) -> Sending + std::marker::Send + Sync>;

/// See [`Send`].
pub type Sending =
    Pin<Box<dyn Future<Output = Result<reqwest::Response, String>> + std::marker::Send>>;

/// Makes what sends requests instead of the transport's own client: one that shows keys to servers
/// that do not serve everybody, say. It is made when it is first needed, and let go of with its
/// connections.
#[derive(Clone)]
pub struct Sender(pub Arc<dyn Fn() -> Send + std::marker::Send + Sync>);

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

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
    /// Who sends requests, if it is not to be a client with these certificates and this user agent.
    pub sender: Option<Sender>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(15),
            window: Duration::from_secs(30),
            min_bytes_per_window: 3_000,
            ca_files: Vec::new(),
            user_agent: concat!("surefoot/", env!("CARGO_PKG_VERSION")).to_owned(),
            sender: None,
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
pub(crate) struct Transport {
    options: HttpOptions,
    send: Option<Send>,
    /// Bytes of bodies received since the start.
    pub(crate) received: u64,
    /// Nothing is waited for any longer than this, however it trickles.
    until: Option<(Instant, Duration)>,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.options.fmt(f)
    }
}

impl Transport {
    pub(crate) fn new(options: HttpOptions) -> Self {
        Self {
            options,
            send: None,
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
        self.send = None;
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
        let parsed = Url::parse(url).map_err(|error| fail(error.to_string()))?;
        let known = match validators {
            Some(Validators {
                etag: Some(etag), ..
            }) => Some((header::IF_NONE_MATCH, etag)),
            Some(Validators {
                last_modified: Some(time),
                ..
            }) => Some((header::IF_MODIFIED_SINCE, time)),
            _ => None,
        };
        // What came as a header can go back as one.
        let known = known.and_then(|(name, value)| Some((name, value.parse().ok()?)));
        let request = self.send()?(parsed, known.into_iter().collect());
        let window = self.options.window;
        let deadline = Instant::now() + self.options.connect_timeout + window;
        let mut response = timeout_at(deadline, request)
            .await
            .map_err(|_| fail(format!("no answer within {} s", window.as_secs())))?
            .map_err(fail)?;
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

    fn send(&mut self) -> Result<&Send, Error> {
        let send = match (self.send.take(), &self.options.sender) {
            (Some(send), _) => send,
            (None, Some(sender)) => (sender.0)(),
            (None, None) => own_client(&self.options)?,
        };
        Ok(self.send.insert(send))
    }
}

fn own_client(options: &HttpOptions) -> Result<Send, Error> {
    let mut builder = reqwest::Client::builder()
        .user_agent(&options.user_agent)
        .connect_timeout(options.connect_timeout)
        .redirect(Policy::limited(5));
    for path in &options.ca_files {
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
    Ok(Box::new(move |url, headers| {
        let request = client.get(url).headers(headers).send();
        Box::pin(async move { request.await.map_err(|error| plain(&error)) })
    }))
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
