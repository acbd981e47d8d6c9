//! Servers that want to see a certificate, HTTP/2, and proxies of the environment: real ones.

use crate::lab::{self, Lab, run};
use anyhow::{Context, Result};
use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use surefoot_tests::{Nginx, rig};

/// A certificate authority, a server's certificate and a robot's, in a directory.
struct Pki(PathBuf);

impl Pki {
    fn new(at: &Path) -> Result<Self> {
        let pki = Self(at.to_owned());
        pki.issue(
            "authority",
            "/CN=fleet",
            &["-addext", "basicConstraints=critical,CA:TRUE"],
            None,
        )?;
        let server = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:cache.test"];
        pki.issue("server", "/CN=cache", &server, Some("authority"))?;
        let robot = ["-addext", "extendedKeyUsage=clientAuth"];
        pki.issue("robot", "/CN=robot-7", &robot, Some("authority"))?;
        pki.issue("stranger", "/CN=robot-7", &robot, None)?;
        Ok(pki)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn issue(&self, name: &str, subject: &str, more: &[&str], by: Option<&str>) -> Result<()> {
        let mut request = rig::foreign("usr/bin/openssl")?;
        request.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ]);
        request
            .args(["-nodes", "-days", "2", "-subj", subject])
            .args(more);
        request
            .arg("-keyout")
            .arg(self.file(&format!("{name}.key")));
        request.arg("-out").arg(self.file(&format!("{name}.pem")));
        if let Some(by) = by {
            request.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
            request.arg("-CA").arg(self.file(&format!("{by}.pem")));
            request.arg("-CAkey").arg(self.file(&format!("{by}.key")));
        }
        // The settings of this machine are of no interest.
        let settings = self.file("openssl.cnf");
        std::fs::write(&settings, "[req]\ndistinguished_name = name\n[name]\n")?;
        request.env("OPENSSL_CONF", settings);
        rig::run(&mut request).map(drop)
    }

    /// nginx over HTTP/2 that serves a cache to robots with a certificate of the authority.
    fn server(&self, cache: &Path) -> Result<Nginx> {
        let at = self.0.display();
        Nginx::start_secure(&format!(
            "ssl_certificate {at}/server.pem; ssl_certificate_key {at}/server.key; http2 on;
             ssl_client_certificate {at}/authority.pem; ssl_verify_client on;
             location / {{ root {}; }}",
            cache.display()
        ))
    }
}

#[test]
fn a_server_that_wants_a_certificate_sees_the_robots() -> Result<()> {
    let lab = Lab::new("zstd")?;
    let pki = Pki::new(lab.daemon.directory())?;
    let server = pki.server(&lab.cache)?;
    let mut request = lab.request(&server.url());
    request.http.stall_timeout = std::time::Duration::from_secs(60);
    // Not whom the robot knows.
    let error = run(&request).unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    // Not whom the server knows: nobody, and somebody who calls himself so.
    request.http.ca_files = vec![pki.file("authority.pem")];
    let refused = |request: &_| {
        let error = run(request).unwrap_err().to_string();
        assert!(error.contains("answers 400"), "{error}");
    };
    refused(&request);
    let identity = |name: &str| {
        let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
        Some((pki.file(&certificate), pki.file(&key)))
    };
    request.http.client_certificate = identity("stranger");
    refused(&request);
    lab.check_clean(&request)?;
    let before = server.requests()?.len();

    request.http.client_certificate = identity("robot");
    run(&request)?;
    lab.check_fetched(&request)?;
    let all = server.requests_after(before + lab.index.paths.len())?;
    let served: Vec<_> = all.iter().filter(|request| request.status == 200).collect();
    assert_eq!(served.len(), lab.index.paths.len());
    assert!(served.iter().all(|request| request.protocol == "HTTP/2.0"));
    Ok(())
}

/// proxy.py, which wants a login. It ends with this value.
struct Proxy {
    process: Child,
    address: String,
    log: PathBuf,
}

const LOGIN: &str = "robot:s3cr3t-of-the-site";

impl Proxy {
    fn start(python: &Path, home: &Path) -> Result<Self> {
        let log = home.join("proxy.log");
        let port = home.join("proxy.port");
        let mut command = Command::new(python);
        command.args(["-m", "proxy", "--hostname", "127.0.0.1", "--port", "0"]);
        command.args([
            "--num-workers",
            "1",
            "--num-acceptors",
            "1",
            "--basic-auth",
            LOGIN,
        ]);
        command
            .arg("--port-file")
            .arg(&port)
            .arg("--log-file")
            .arg(&log);
        // It has processes of its own.
        command.process_group(0);
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // From here on it ends with this value.
        let mut proxy = Self {
            process: process.spawn()?,
            address: String::new(),
            log,
        };
        let port = rig::wait_for("the proxy", || {
            let text = std::fs::read_to_string(&port).unwrap_or_default();
            Ok(text.trim().parse::<u16>().ok())
        })?;
        proxy.address = format!("127.0.0.1:{port}");
        Ok(proxy)
    }

    fn lines(&self, word: &str) -> Result<usize> {
        let log = BufReader::new(std::fs::File::open(&self.log)?);
        let lines = log.lines().map_while(|line| line.ok());
        Ok(lines.filter(|line| line.contains(word)).count())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let group = nix::unistd::Pid::from_raw(self.process.id().cast_signed());
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        let _ = self.process.wait();
    }
}

/// Robots without a clock battery wake up in 1970, and know from signed files that it is later.
#[test]
fn a_certificate_counts_by_a_time_that_is_known_where_the_clock_does_not_fit() -> Result<()> {
    let lab = Lab::new("zstd")?;
    let pki = Pki::new(lab.daemon.directory())?;
    let server = [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-not_before",
        "20600101000000Z",
        "-not_after",
        "20620101000000Z",
    ];
    pki.issue("server", "/CN=cache", &server, Some("authority"))?;
    let server = pki.server(&lab.cache)?;
    let mut request = lab.request(&server.url());
    request.http.stall_timeout = std::time::Duration::from_secs(60);
    request.http.ca_files = vec![pki.file("authority.pem")];
    request.http.client_certificate = Some((pki.file("robot.pem"), pki.file("robot.key")));
    let times = [
        None,
        Some("2059-12-31T00:00:00Z"),
        Some("2062-01-02T00:00:00Z"),
    ];
    for unfit in times {
        request.http.known_time = unfit.map(str::parse).transpose()?;
        let error = run(&request).unwrap_err().to_string();
        assert!(error.contains("invalid peer certificate"), "{error}");
        assert!(error.contains("the clock here reads 20"), "{error}");
    }
    lab.check_clean(&request)?;

    // Whom the robot does not know it does not know at any time.
    request.http.known_time = Some("2061-01-01T00:00:00Z".parse()?);
    request.http.ca_files.clear();
    let error = run(&request).unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");

    request.http.ca_files = vec![pki.file("authority.pem")];
    run(&request)?;
    lab.check_fetched(&request)
}

/// A fetch by hand, in an environment that names a proxy.
fn fetch(lab: &Lab, cache: &str, environment: &[(&str, &str)]) -> Result<Command> {
    let at = lab.daemon.directory();
    let mut command = lab.fetch_by_hand([cache])?;
    command.arg("--ca-file").arg(at.join("authority.pem"));
    command
        .arg("--client-certificate")
        .arg(at.join("robot.pem"));
    command.arg("--client-key").arg(at.join("robot.key"));
    command.envs(environment.iter().copied());
    Ok(command)
}

#[test]
fn proxies_of_the_environment_are_used_as_it_says() -> Result<()> {
    let Some(python) = lab::python() else {
        return Ok(());
    };
    let lab = Lab::new("zstd")?;
    let at = lab.daemon.directory();
    let (pki, proxy) = (Pki::new(at)?, Proxy::start(&python, at)?);
    let plain = Nginx::start(&format!("location / {{ root {}; }}", lab.cache.display()))?;
    let secure = pki.server(&lab.cache)?;
    let url = format!("http://{LOGIN}@{}", proxy.address);
    let again = |fetch: &mut Command| -> Result<()> {
        rig::run(fetch)?;
        lab.check_fetched(&lab.request(&plain.url()))?;
        std::fs::remove_file(at.join("result"))?;
        lab.daemon.collect_garbage()
    };

    again(&mut fetch(&lab, &plain.url(), &[("http_proxy", &url)])?)?;
    let count = lab.index.paths.len();
    assert_eq!(proxy.lines("GET 127.0.0.1")?, count, "every request");
    again(&mut fetch(&lab, &secure.url(), &[("https_proxy", &url)])?)?;
    assert!(proxy.lines("CONNECT 127.0.0.1")? > 0, "a tunnel");
    let before = proxy.lines("127.0.0.1")?;
    let without = [("all_proxy", url.as_str()), ("no_proxy", "127.0.0.0/8")];
    again(&mut fetch(&lab, &plain.url(), &without)?)?;
    assert_eq!(proxy.lines("127.0.0.1")?, before, "it was not to be asked");

    // With another login it says no, and the word does not show it.
    let wrong = format!("http://robot:wr0ng@{}", proxy.address);
    let error = rig::run(&mut fetch(&lab, &plain.url(), &[("http_proxy", &wrong)])?);
    let error = error.err().context("it was let through")?.to_string();
    assert!(error.contains("answers 407"), "{error}");
    Ok(())
}
