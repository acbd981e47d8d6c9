//! The HTTP client, made when it is first needed: an idle agent does not carry TLS and its roots.

use crate::error::{Error, Result};
use std::{
    error::Error as _,
    fmt::Write as _,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

/// Files of certificate authorities above this size are refused, bytes.
const MAX_CA_FILE: u64 = 1 << 20;

/// How to speak HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How long a connection may take, TLS included.
    pub connect_timeout: Duration,
    /// How long a server may stay silent, before its answer or within it.
    pub stall_timeout: Duration,
    /// PEM files of certificate authorities to trust beside the system's.
    pub ca_files: Vec<PathBuf>,
}

impl Default for Options {
    /// 15 s to connect, 20 s of silence, the system's certificate authorities.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(20),
            ca_files: Vec::new(),
        }
    }
}

/// A client and its connections.
#[derive(Debug, Default)]
pub struct Http {
    options: Options,
    client: OnceLock<reqwest::Client>,
}

impl Http {
    /// Nothing is set up before the first request.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            client: OnceLock::new(),
        }
    }

    /// See [`Options::stall_timeout`].
    #[must_use]
    pub fn stall_timeout(&self) -> Duration {
        self.options.stall_timeout
    }

    /// The client itself.
    ///
    /// # Errors
    /// [`Error::Client`] if TLS cannot be set up, or a file of certificate authorities is no such.
    pub fn client(&self) -> Result<&reqwest::Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("surefoot/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.options.connect_timeout)
            .tcp_nodelay(true);
        for path in &self.options.ca_files {
            builder = builder.tls_certs_merge(certificates(path)?);
        }
        let client = builder
            .build()
            .map_err(|error| Error::Client(causes(&error)))?;
        Ok(self.client.get_or_init(|| client))
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

/// The certificates in a PEM file.
fn certificates(path: &Path) -> Result<Vec<reqwest::Certificate>> {
    let fail = |why: String| Error::Client(format!("{}: {why}", path.display()));
    let mut pem = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_CA_FILE + 1).read_to_end(&mut pem))
        .map_err(|error| fail(error.to_string()))?;
    if pem.len() as u64 > MAX_CA_FILE {
        return Err(fail(format!("it has more than {MAX_CA_FILE} bytes")));
    }
    reqwest::Certificate::from_pem_bundle(&pem)
        .map_err(|error| fail(format!("no certificates in PEM: {}", causes(&error))))
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
