//! A real nginx, with the configuration of the test.

use crate::{Network, rig};
use anyhow::{Context, Result};
use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// One nginx with one server. It ends with this value.
///
/// ```no_run
/// # fn main() -> anyhow::Result<()> {
/// let server = surefoot_tests::Nginx::start("location / { root /srv/cache; autoindex off; }")?;
/// let url = server.url(); // http://127.0.0.1:PORT
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Nginx {
    process: Option<Child>,
    directory: tempfile::TempDir,
    address: SocketAddr,
    launch: Launch,
}

/// What is needed to start it again.
#[derive(Debug)]
struct Launch {
    /// Options of the `listen` directive.
    listen: &'static str,
    /// Held open so that the port stays ours while nginx is down.
    socket: Option<std::os::fd::OwnedFd>,
    prefix: Vec<String>,
    configuration: PathBuf,
}

/// One line of the access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, say.
    pub method: String,
    /// The path with its query, as the client sent it.
    pub uri: String,
    /// The status of the answer.
    pub status: u16,
    /// Bytes of the answer's body that were sent.
    pub bytes: u64,
    /// The `Range` header, if there was one.
    pub range: Option<String>,
    /// `HTTP/1.1`, say.
    pub protocol: String,
}

impl Nginx {
    /// Starts nginx on a port of this machine's loopback that nobody else has. `server` is the
    /// content of the `server` block: locations, limits, faults.
    ///
    /// # Errors
    /// When nginx does not start, with what it says about its configuration.
    pub fn start(server: &str) -> Result<Self> {
        Self::start_on_loopback(server, "")
    }

    /// The same for HTTPS; `server` names the certificate.
    ///
    /// # Errors
    /// When nginx does not start, with what it says about its configuration.
    pub fn start_secure(server: &str) -> Result<Self> {
        Self::start_on_loopback(server, "ssl")
    }

    fn start_on_loopback(server: &str, listen: &'static str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        // A duplicate is inherited by nginx, which is told its number, as in its own upgrades.
        let socket = nix::unistd::dup(&listener)?;
        Self::launch(server, address, listen, Some(socket), Vec::new())
    }

    /// Starts nginx on a port in a network of its own.
    ///
    /// # Errors
    /// When nginx does not start.
    pub fn start_in(network: &Network, port: u16, server: &str) -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Self::launch(server, address, "", None, network.prefix().to_vec())
    }

    fn launch(
        server: &str,
        address: SocketAddr,
        listen: &'static str,
        socket: Option<std::os::fd::OwnedFd>,
        prefix: Vec<String>,
    ) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let configuration = directory.path().join("nginx.conf");
        let mut nginx = Self {
            process: None,
            directory,
            address,
            launch: Launch {
                listen,
                socket,
                prefix,
                configuration,
            },
        };
        nginx.configure(server)?;
        nginx.resume()?;
        Ok(nginx)
    }

    fn configure(&self, server: &str) -> Result<()> {
        let at = self.directory.path().display();
        let configuration = format!(
            "daemon off; master_process off; worker_processes 1; pid {at}/pid; user root;
             error_log {at}/error.log info;
             events {{ worker_connections 512; }}
             http {{
               log_format rig '$request_method\\t$request_uri\\t$status\\t$body_bytes_sent\\t$http_range\\t$server_protocol';
               access_log {at}/access.log rig;
               client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;
               fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
               default_type application/octet-stream;
               server {{ listen {} {}; {server} }}
             }}",
            self.address, self.launch.listen
        );
        std::fs::write(&self.launch.configuration, configuration)?;
        Ok(())
    }

    /// Starts a stopped nginx again, on the same port.
    ///
    /// # Errors
    /// When it does not start.
    pub fn resume(&mut self) -> Result<()> {
        self.stop();
        let errors = self.directory.path().join("stderr");
        let mut process = self
            .launch
            .command()?
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&errors)?)
            .spawn()
            .context("cannot run nginx")?;
        let pid = self.directory.path().join("pid");
        rig::wait_for("nginx to start", || {
            if let Some(status) = process.try_wait()? {
                let said = std::fs::read_to_string(&errors).unwrap_or_default();
                anyhow::bail!("nginx ended with {status}: {said}");
            }
            // nginx writes it once it has opened its sockets.
            Ok(std::fs::read_to_string(&pid)
                .ok()
                .filter(|text| text.ends_with('\n')))
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Stops it, in the middle of whatever it sends. Connections to the port of an nginx started
    /// by [`Nginx::start`] then wait without an answer; in a network of its own they are refused.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = std::fs::remove_file(self.directory.path().join("pid"));
    }

    /// Starts it again with another `server` block.
    ///
    /// # Errors
    /// When it does not start.
    pub fn reconfigure(&mut self, server: &str) -> Result<()> {
        self.stop();
        self.configure(server)?;
        self.resume()
    }

    /// `http://127.0.0.1:PORT`, or `https://…`.
    pub fn url(&self) -> String {
        let secure = if self.launch.listen == "ssl" { "s" } else { "" };
        format!("http{secure}://{}", self.address)
    }

    /// What was asked of it since it was made. A request is logged once its answer has been sent,
    /// which may be a moment after the client has it.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn requests(&self) -> Result<Vec<Request>> {
        let path = self.directory.path().join("access.log");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(Request::parse).collect()
    }

    /// Waits until so many requests have been answered, and gives all.
    ///
    /// # Errors
    /// When they are not within a minute.
    pub fn requests_after(&self, count: usize) -> Result<Vec<Request>> {
        rig::wait_for(&format!("{count} requests"), || {
            Ok(Some(self.requests()?).filter(|requests| requests.len() >= count))
        })
    }

    /// nginx' own error log, for the message of a failed test.
    pub fn error_log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("error.log")).unwrap_or_default()
    }

    /// A directory of this nginx, for files of the test that shall go with it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Launch {
    fn command(&self) -> Result<Command> {
        let nginx = rig::foreign("usr/sbin/nginx")?;
        let mut command = match self.prefix.split_first() {
            None => nginx,
            Some((first, rest)) => {
                let mut command = rig::leashed(first);
                command
                    .args(rest)
                    .arg(nginx.get_program())
                    .args(nginx.get_args());
                command
            }
        };
        if let Some(socket) = &self.socket {
            command.env("NGINX", format!("{};", socket.as_raw_fd()));
        }
        command.arg("-c").arg(&self.configuration);
        Ok(command)
    }
}

impl Request {
    fn parse(line: &str) -> Result<Self> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [method, uri, status, bytes, range, protocol] = fields[..] else {
            anyhow::bail!("strange line in the access log: {line}");
        };
        Ok(Self {
            method: method.into(),
            uri: uri.into(),
            status: status.parse()?,
            bytes: bytes.parse()?,
            range: Some(range.to_owned()).filter(|range| range != "-"),
            protocol: protocol.into(),
        })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.stop();
    }
}
