//! The HTTP clients, made when they are first needed: an idle agent does not carry TLS and its
//! roots, and one that only speaks plain HTTP does not read them.

use crate::{
    access::Credentials,
    error::{Error, Result},
    loopback::is_loopback,
    options::Options,
    redirect, tls,
};
use bytes::Bytes;
use reqwest::{
    ClientBuilder, Method, NoProxy, Proxy, StatusCode, Url,
    header::{DATE, HeaderMap, LOCATION},
    redirect::Policy,
};
use std::{
    error::Error as _,
    fmt::{self, Write as _},
    mem,
    sync::OnceLock,
    time::Duration,
};

/// So many redirections are followed.
const MAX_REDIRECTIONS: usize = 5;

/// Clients and their connections.
#[derive(Default)]
pub struct Http {
    options: Options,
    /// By [`Http::client`].
    clients: [OnceLock<reqwest::Client>; 4],
    credentials: OnceLock<Credentials>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

impl Http {
    /// Nothing is set up before the first request.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// Closes connections, and forgets certificates and what is shown to servers: the next request
    /// reads it anew.
    pub fn close(&mut self) {
        *self = Self::new(mem::take(&mut self.options));
    }

    /// From the next connection on, a time that is known to have passed: see
    /// [`Options::known_time`].
    pub fn know_time(&mut self, time: Option<jiff::Timestamp>) {
        if self.options.known_time != time {
            self.options.known_time = time;
            self.close();
        }
    }

    /// Sends a GET request with what its server wants to see, and follows redirections: gives the
    /// answer up to its body. `shown` is the URL for errors.
    ///
    /// # Errors
    /// [`Error::Transfer`], [`Error::Stalled`]; what is configured cannot be used.
    pub async fn get(&self, url: Url, shown: &str, headers: &HeaderMap) -> Result<Response> {
        self.send(&Method::GET, url, shown, headers, &Bytes::new())
            .await
    }

    /// The same for what is there, without its bytes: a HEAD request.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn head(&self, url: Url, shown: &str) -> Result<Response> {
        let headers = HeaderMap::new();
        self.send(&Method::HEAD, url, shown, &headers, &Bytes::new())
            .await
    }

    /// The same with another method and a body: PUT and DELETE, for stores of objects.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn send(
        &self,
        method: &Method,
        url: Url,
        shown: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Response> {
        let credentials = self.credentials()?;
        let (mut url, mut redirections, mut again) = (url, 0, true);
        loop {
            let answer = (self.once(method, url.clone(), shown, headers, body)).await?;
            let response = &answer.response;
            let text = |name| response.headers().get(name)?.to_str().ok();
            let fail = |why: &str| Error::Transfer {
                url: shown.to_owned(),
                why: why.to_owned(),
            };
            match response.status() {
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::SEE_OTHER
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => {
                    redirections += 1;
                    if redirections > MAX_REDIRECTIONS {
                        return Err(fail("it redirects for ever"));
                    }
                    let to = text(LOCATION).and_then(|to| url.join(to).ok());
                    let to = to.ok_or_else(|| fail("it redirects to nowhere"))?;
                    redirect::check(&url, &to).map_err(fail)?;
                    url = to;
                }
                // A signature from another time.
                StatusCode::FORBIDDEN
                    if again
                        && text(DATE).is_some_and(|date| credentials.learn_time(&url, date)) =>
                {
                    again = false;
                }
                _ => return Ok(answer),
            }
        }
    }

    /// Sends one GET request with what its server wants to see, and follows no redirection: gives
    /// the answer up to its body. `shown` is the URL for errors.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn ask(&self, url: Url, shown: &str, headers: &HeaderMap) -> Result<Response> {
        self.once(&Method::GET, url, shown, headers, &Bytes::new())
            .await
    }

    async fn once(
        &self,
        method: &Method,
        url: Url,
        shown: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Response> {
        let mut all = headers.clone();
        self.credentials()?.show(method, &url, body, &mut all)?;
        let client = self.client(&url)?;
        let mut request = client.request(method.clone(), url).headers(all);
        if !body.is_empty() {
            request = request.body(body.clone());
        }
        let response = patiently(self.options.stall_timeout, shown, request.send()).await?;
        Ok(Response {
            response,
            url: shown.to_owned(),
            stall_timeout: self.options.stall_timeout,
        })
    }

    fn credentials(&self) -> Result<&Credentials> {
        if let Some(credentials) = self.credentials.get() {
            return Ok(credentials);
        }
        let credentials =
            Credentials::load(self.options.netrc_file.as_deref(), &self.options.access)?;
        Ok(self.credentials.get_or_init(|| credentials))
    }

    fn client(&self, url: &Url) -> Result<&reqwest::Client> {
        let direct = self.options.direct_loopback && is_loopback(url);
        // A proxy may itself be reached by https.
        let secure = url.scheme() == "https" || (self.options.proxy.is_some() && !direct);
        let place = &self.clients[usize::from(secure) + 2 * usize::from(direct)];
        if let Some(client) = place.get() {
            return Ok(client);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("surefoot/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.options.connect_timeout)
            .redirect(Policy::none())
            .tcp_nodelay(true);
        builder = if secure {
            builder.tls_backend_preconfigured(tls::config(&self.options)?)
        } else {
            builder.tls_certs_only([])
        };
        builder = if direct {
            builder.no_proxy()
        } else {
            self.proxied(builder)?
        };
        let client = builder.build().map_err(unusable)?;
        Ok(place.get_or_init(|| client))
    }

    fn proxied(&self, builder: ClientBuilder) -> Result<ClientBuilder> {
        let Some(text) = &self.options.proxy else {
            return Ok(builder);
        };
        // The text may hold a password.
        let bad = || {
            Error::Client(
                "the address of the proxy begins neither with http:// nor with https://".into(),
            )
        };
        let url = Url::parse(text).map_err(|_| bad())?;
        let mut proxy = Proxy::all(text).map_err(|_| bad())?;
        let login = self
            .credentials()?
            .login(url.host_str().unwrap_or_default());
        if let (Some(login), "") = (login, url.username()) {
            proxy = proxy.basic_auth(&login.user, &login.password);
        }
        Ok(builder.proxy(proxy.no_proxy(NoProxy::from_string(&self.options.no_proxy.join(",")))))
    }
}

/// The answer to a request, whose body is yet to come.
#[derive(Debug)]
pub struct Response {
    response: reqwest::Response,
    url: String,
    stall_timeout: Duration,
}

impl Response {
    /// What the server says of it.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Bytes of the body, if the server says it.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next piece of the body; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Transfer`], [`Error::Stalled`].
    pub async fn piece(&mut self) -> Result<Option<Bytes>> {
        patiently(self.stall_timeout, &self.url, self.response.chunk()).await
    }

    /// The next piece of the body, however long it takes.
    pub(crate) async fn chunk(&mut self) -> reqwest::Result<Option<Bytes>> {
        self.response.chunk().await
    }
}

/// Waits for a step of a transfer, at most as long as a server may stay silent.
async fn patiently<T>(
    stall_timeout: Duration,
    url: &str,
    step: impl Future<Output = reqwest::Result<T>>,
) -> Result<T> {
    match tokio::time::timeout(stall_timeout, step).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Error::Transfer {
            url: url.to_owned(),
            why: {
                let why = causes(&error.without_url());
                let advice = tls::advice(&why).unwrap_or_default();
                advice + &why
            },
        }),
        Err(_) => Err(Error::Stalled {
            url: url.to_owned(),
            after: stall_timeout,
        }),
    }
}

fn unusable(error: reqwest::Error) -> Error {
    Error::Client(causes(&error))
}

/// The error and what caused it, in one line: reqwest's own text leaves the causes out.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    /// Answers one request with a redirection, and gives its first line.
    async fn serve(listener: TcpListener) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 1000];
        let len = stream.read(&mut request).await.unwrap();
        let answer = b"HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        let request = String::from_utf8_lossy(&request[..len]).into_owned();
        request.lines().next().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn this_machine_is_reached_without_a_proxy_where_that_is_wished() {
        let page = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/health", page.local_addr().unwrap());
        let ask = async |direct_loopback| {
            let http = Http::new(Options {
                proxy: Some(format!("http://{}", proxy.local_addr().unwrap())),
                direct_loopback,
                ..Options::default()
            });
            let (parsed, none) = (Url::parse(&url).unwrap(), HeaderMap::new());
            http.ask(parsed, &url, &none).await.unwrap().status()
        };
        // A redirection is an answer as well.
        let (status, asked) = tokio::join!(ask(true), serve(page));
        assert_eq!(
            (status, &*asked),
            (StatusCode::FOUND, "GET /health HTTP/1.1")
        );
    }
}
