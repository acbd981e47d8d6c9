//! The HTTP clients, made when they are first needed: an idle agent does not carry TLS and its
//! roots, and one that only speaks plain HTTP does not read them.

use crate::{
    access::{Access, Keyring},
    error::{Error, Result},
};
use reqwest::{
    ClientBuilder, Identity, NoProxy, Proxy, Response, StatusCode, Url,
    header::{DATE, HeaderMap, LOCATION},
    redirect::Policy,
};
use std::{
    error::Error as _,
    fmt::Write as _,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// Files of certificates, keys and tokens above this size are refused, bytes.
const MAX_FILE: u64 = 1 << 20;
/// So many redirections are followed.
const MAX_REDIRECTIONS: usize = 5;

/// How to speak HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How long a connection may take, TLS included.
    pub connect_timeout: Duration,
    /// How long a server may stay silent, before its answer or within it.
    pub stall_timeout: Duration,
    /// PEM files of certificate authorities to trust beside the system's.
    pub ca_files: Vec<PathBuf>,
    /// URL of a proxy for all requests; `None`: what `http_proxy`, `https_proxy`, `all_proxy` and
    /// `no_proxy` of the environment say. Its login is taken from the URL or the netrc file.
    pub proxy: Option<String>,
    /// Hosts, domains and networks (`10.0.0.0/8`) that are reached without [`Self::proxy`].
    pub no_proxy: Vec<String>,
    /// PEM files of this client's certificate chain and of its private key; may be the same file.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// A netrc file with logins by host.
    pub netrc_file: Option<PathBuf>,
    /// What to show to servers that do not serve everybody. The first that fits counts, and goes
    /// before logins.
    pub access: Vec<Access>,
}

impl Default for Options {
    /// 15 s to connect, 20 s of silence, the system's certificate authorities and the
    /// environment's proxies, and nothing to show.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(20),
            ca_files: Vec::new(),
            proxy: None,
            no_proxy: Vec::new(),
            client_certificate: None,
            netrc_file: None,
            access: Vec::new(),
        }
    }
}

/// Clients and their connections.
#[derive(Debug, Default)]
pub struct Http {
    options: Options,
    plain: OnceLock<reqwest::Client>,
    secure: OnceLock<reqwest::Client>,
    keyring: OnceLock<Keyring>,
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

    /// See [`Options::stall_timeout`].
    #[must_use]
    pub fn stall_timeout(&self) -> Duration {
        self.options.stall_timeout
    }

    /// Sends a GET request with what its server wants to see, and follows redirections. `shown` is
    /// the URL for errors.
    pub(crate) async fn get(&self, url: Url, shown: &str, headers: &HeaderMap) -> Result<Response> {
        let keyring = self.keyring()?;
        let (mut url, mut redirections, mut again) = (url, 0, true);
        loop {
            let mut all = headers.clone();
            keyring.show(&url, &mut all)?;
            let request = self.client(&url)?.get(url.clone()).headers(all);
            let response = self.patiently(shown, request.send()).await?;
            let text = |name| response.headers().get(name)?.to_str().ok();
            let fail = |why: &str| Error::Http {
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
                    url = to
                        .filter(|to| matches!(to.scheme(), "http" | "https"))
                        .ok_or_else(|| fail("it redirects to nowhere"))?;
                }
                // A signature from another time.
                StatusCode::FORBIDDEN
                    if again && text(DATE).is_some_and(|date| keyring.learn_time(&url, date)) =>
                {
                    again = false;
                }
                _ => return Ok(response),
            }
        }
    }

    fn keyring(&self) -> Result<&Keyring> {
        if let Some(keyring) = self.keyring.get() {
            return Ok(keyring);
        }
        let keyring = Keyring::load(&self.options)?;
        Ok(self.keyring.get_or_init(|| keyring))
    }

    fn client(&self, url: &Url) -> Result<&reqwest::Client> {
        // A proxy may itself be reached by https.
        let secure = url.scheme() == "https" || self.options.proxy.is_some();
        let place = if secure { &self.secure } else { &self.plain };
        if let Some(client) = place.get() {
            return Ok(client);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("surefoot/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.options.connect_timeout)
            .redirect(Policy::none())
            .tcp_nodelay(true);
        builder = if secure {
            self.secure(builder)?
        } else {
            builder.tls_certs_only([])
        };
        let client = self.proxied(builder)?.build().map_err(unusable)?;
        Ok(place.get_or_init(|| client))
    }

    fn secure(&self, mut builder: ClientBuilder) -> Result<ClientBuilder> {
        for path in &self.options.ca_files {
            let certificates = reqwest::Certificate::from_pem_bundle(&read_small(path)?);
            builder = builder.tls_certs_merge(certificates.map_err(|error| {
                let (path, why) = (path.display(), causes(&error));
                Error::Client(format!("{path}: no certificates in PEM: {why}"))
            })?);
        }
        if let Some((certificate, key)) = &self.options.client_certificate {
            let mut pem = read_small(key)?;
            if certificate != key {
                pem.push(b'\n');
                pem.extend(read_small(certificate)?);
            }
            // The error might show what is in the file.
            builder = builder.identity(Identity::from_pem(&pem).map_err(|_| {
                let (certificate, key) = (certificate.display(), key.display());
                Error::Client(format!(
                    "{certificate} and {key}: no certificate with its private key in PEM"
                ))
            })?);
        }
        Ok(builder)
    }

    fn proxied(&self, builder: ClientBuilder) -> Result<ClientBuilder> {
        let Some(text) = &self.options.proxy else {
            return Ok(builder);
        };
        // The text may hold a password.
        let bad = || Error::Client("the proxy is no http:// or https:// URL".into());
        let url = Url::parse(text).map_err(|_| bad())?;
        let mut proxy = Proxy::all(text).map_err(|_| bad())?;
        let login = self.keyring()?.login(url.host_str().unwrap_or_default());
        if let (Some(login), "") = (login, url.username()) {
            proxy = proxy.basic_auth(&login.user, &login.password);
        }
        Ok(builder.proxy(proxy.no_proxy(NoProxy::from_string(&self.options.no_proxy.join(",")))))
    }

    /// Waits for a step of a transfer, at most as long as a server may stay silent.
    pub(crate) async fn patiently<T>(
        &self,
        url: &str,
        step: impl Future<Output = reqwest::Result<T>>,
    ) -> Result<T> {
        match tokio::time::timeout(self.options.stall_timeout, step).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Error::Http {
                url: url.to_owned(),
                why: causes(&error.without_url()),
            }),
            Err(_) => Err(Error::Stalled {
                url: url.to_owned(),
                after: self.options.stall_timeout,
            }),
        }
    }
}

/// The answer to a request up to its body, or why there is none.
pub type Sending = Pin<Box<dyn Future<Output = std::result::Result<Response, String>> + Send>>;

/// Makes what sends GET requests as those for caches, for whoever reads other files from such servers.
/// It is made of closures alone, so that they need not know this crate.
pub fn sender(
    options: Options,
) -> impl Fn() -> Box<dyn Fn(Url, HeaderMap) -> Sending + Send + Sync> + Send + Sync {
    move || {
        let http = Arc::new(Http::new(options.clone()));
        Box::new(move |url, headers| {
            let http = Arc::clone(&http);
            Box::pin(async move {
                let shown = url.to_string();
                let answer = http.get(url, &shown, &headers).await;
                answer.map_err(|error| match error {
                    Error::Http { why, .. } => why,
                    error => error.to_string(),
                })
            })
        })
    }
}

/// A small file.
pub(crate) fn read_small(path: &Path) -> Result<Vec<u8>> {
    let fail = |why: String| Error::Client(format!("{}: {why}", path.display()));
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| fail(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(fail(format!("it has more than {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

fn unusable(error: reqwest::Error) -> Error {
    Error::Client(causes(&error))
}

/// The error and what caused it, in one line: reqwest's own text leaves the causes out.
pub(crate) fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
