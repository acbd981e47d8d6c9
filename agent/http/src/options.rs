//! How to speak HTTP.

use crate::access::Access;
use jiff::Timestamp;
use std::{path::PathBuf, time::Duration};

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
    /// Whether this machine itself (`localhost`, `127.0.0.0/8`, `::1`) is reached without any proxy.
    pub direct_loopback: bool,
    /// PEM files of this client's certificate chain and of its private key; may be the same file.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// A time that is known to have passed, where this machine's clock cannot be trusted: certificates
    /// count if they are valid by either.
    pub known_time: Option<Timestamp>,
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
            direct_loopback: false,
            client_certificate: None,
            known_time: None,
            netrc_file: None,
            access: Vec::new(),
        }
    }
}
