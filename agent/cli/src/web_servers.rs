//! Options of commands that read from web servers.

use std::{io, path::PathBuf};
use surefoot_http::{
    Options,
    access::{Access, By},
};
use tokio::runtime::{Builder, Runtime};

/// How to reach caches.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Web servers")]
pub(crate) struct NetArgs {
    /// PEM file of certificate authorities to trust beside the system's; may be given several times.
    #[arg(long, value_name = "FILE")]
    ca_file: Vec<PathBuf>,
    /// A proxy for all requests to caches, instead of what http_proxy, https_proxy and no_proxy of
    /// the environment say. Its login may stand in the netrc file.
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
    /// Hosts, domains and networks to reach without that proxy.
    #[arg(long, value_name = "HOST,…", value_delimiter = ',', requires = "proxy")]
    no_proxy: Vec<String>,
    /// PEM file of the certificate to show to servers.
    #[arg(long, value_name = "FILE")]
    client_certificate: Option<PathBuf>,
    /// PEM file of its private key, if it is another one.
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    client_key: Option<PathBuf>,
    /// File with logins in the form of ~/.netrc.
    #[arg(long, value_name = "FILE")]
    netrc_file: Option<PathBuf>,
    /// File with headers, one in each line, to send to what lies below a URL; may be given several
    /// times.
    #[arg(long, value_name = "URL=FILE", value_parser = url_and_file)]
    header_file: Vec<(String, PathBuf)>,
    /// File in the form of ~/.aws/credentials to sign requests with (SigV4) to what lies below a URL;
    /// may be given several times.
    #[arg(long, value_name = "URL=FILE", value_parser = url_and_file)]
    s3_credentials: Vec<(String, PathBuf)>,
    /// Region to sign for.
    #[arg(long, value_name = "NAME", default_value = "us-east-1")]
    s3_region: String,
}

/// Runs what waits for web servers, on this thread.
///
/// # Errors
/// Its own; no runtime can be made.
pub(crate) fn wait<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    runtime()?.block_on(work)
}

/// Where work waits for web servers: this thread.
///
/// # Errors
/// It cannot be made.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

impl NetArgs {
    /// As the fetcher takes them.
    pub(crate) fn options(&self) -> Options {
        let headers = self.header_file.iter().map(|(url, file)| Access {
            url: url.clone(),
            by: By::Headers(file.clone()),
        });
        let s3 = self.s3_credentials.iter().map(|(url, file)| Access {
            url: url.clone(),
            by: By::S3 {
                credentials: file.clone(),
                region: self.s3_region.clone(),
            },
        });
        Options {
            ca_files: self.ca_file.clone(),
            proxy: self.proxy.clone(),
            no_proxy: self.no_proxy.clone(),
            client_certificate: self.client_certificate.as_ref().map(|certificate| {
                let key = self.client_key.as_ref().unwrap_or(certificate);
                (certificate.clone(), key.clone())
            }),
            netrc_file: self.netrc_file.clone(),
            access: headers.chain(s3).collect(),
            ..Options::default()
        }
    }
}

fn url_and_file(text: &str) -> Result<(String, PathBuf), String> {
    let (url, file) = text.split_once('=').ok_or("write URL=FILE")?;
    Ok((url.to_owned(), file.into()))
}
