//! Caches that do not serve everybody, that lie behind a proxy or elsewhere.

use crate::lab::{self, Lab, run};
use anyhow::{Context, Result};
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use surefoot_http::access::{Access, By};
use surefoot_tests::{Fault, Faulty, rig};

const SECRET: &str = "s3cr3t-of-the-fleet";

fn write(lab: &Lab, name: &str, text: &str) -> Result<PathBuf> {
    let file = lab.daemon.directory().join(name);
    std::fs::write(&file, text)?;
    Ok(file)
}

#[test]
fn logins_and_tokens_are_shown_to_their_servers_only() -> Result<()> {
    let lab = Lab::new("zstd")?;
    let (first, second) = (Faulty::start(&lab.cache)?, Faulty::start(&lab.cache)?);
    // A token for the first, which sends elsewhere for the big path.
    first.always(lab.big_url(), Fault::Redirect(second.url()));
    let mut request = lab.request(&first.url());
    let headers = write(&lab, "token", &format!("Authorization: Bearer {SECRET}"))?;
    request.http.access = vec![Access {
        url: first.url(),
        by: By::Headers(headers),
    }];
    run(&request)?;
    lab.check_fetched(&request)?;
    let token = Some(format!("Bearer {SECRET}"));
    assert!(first.seen().iter().all(|seen| seen.authorization == token));
    let elsewhere = second.seen();
    assert_eq!(elsewhere.len(), 1);
    assert_eq!(elsewhere[0].authorization, None);

    // A login by host.
    std::fs::remove_file(&request.gc_root)?;
    lab.daemon.collect_garbage()?;
    let third = Faulty::start(&lab.cache)?;
    let mut request = lab.request(&third.url());
    let netrc = format!("machine 127.0.0.1 login robot password {SECRET}");
    request.http.netrc_file = Some(write(&lab, "netrc", &netrc)?);
    run(&request)?;
    let seen = third.seen();
    let basic = |text: &Option<String>| text.as_ref().is_some_and(|t| t.starts_with("Basic "));
    assert!(seen.iter().all(|seen| basic(&seen.authorization)));
    lab.check_fetched(&request)
}

#[test]
fn no_error_shows_a_secret() -> Result<()> {
    let lab = Lab::new("zstd")?;
    let server = Faulty::start(&lab.cache)?;
    server.always("nar/", Fault::Status(401, vec![]));
    let url = server.url().replace("://", &format!("://robot:{SECRET}@"));
    let mut request = lab.request(&format!("{url}?token={SECRET}"));
    let broken = write(&lab, "broken", SECRET)?;
    let headers = write(&lab, "token", &format!("X-Token: {SECRET}"))?;
    request.http.access = vec![Access {
        url: server.url(),
        by: By::Headers(headers),
    }];
    let mut errors = vec![run(&request).unwrap_err()];
    let access = |by| {
        let url = server.url();
        vec![Access { url, by }]
    };
    let (credentials, region) = (broken.clone(), "r".into());
    for by in [
        By::Headers(broken.clone()),
        By::S3 {
            credentials,
            region,
        },
    ] {
        request.http.access = access(by);
        errors.push(run(&request).unwrap_err());
    }
    request.http.access.clear();
    request.http.netrc_file = Some(broken.clone());
    errors.push(run(&request).unwrap_err());
    request.http.netrc_file = None;
    request.http.proxy = Some(format!("socks9://robot:{SECRET}@proxy"));
    errors.push(run(&request).unwrap_err());
    for error in errors {
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error}");
    }
    assert!(!format!("{:?}", surefoot_http::Http::new(request.http.clone())).is_empty());
    Ok(())
}

#[test]
fn a_server_that_is_slow_to_begin_is_waited_for() -> Result<()> {
    let lab = Lab::new("xz")?;
    let server = Faulty::start(&lab.cache)?;
    server.fail(lab.big_url(), [Fault::Hold(0)]);
    let mut request = lab.request(&server.url());
    request.http.stall_timeout = std::time::Duration::from_secs(60);
    let report = std::thread::scope(|scope| {
        let fetching = scope.spawn(|| run(&request));
        server.wait_held(1)?;
        server.release();
        anyhow::Ok(fetching.join().expect("no panic")?)
    })?;
    assert_eq!(report.wasted_bytes, 0);
    lab.check_fetched(&request)
}

#[test]
fn redirections_end() -> Result<()> {
    let lab = Lab::new("zstd")?;
    let server = Faulty::start(&lab.cache)?;
    for (to, words) in [
        (server.url(), "redirects for ever"),
        ("ftp://elsewhere".into(), "redirects to nowhere"),
    ] {
        server.heal();
        server.always("nar/", Fault::Redirect(to));
        let request = lab.request(&server.url());
        let error = run(&request).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        lab.check_clean(&request)?;
    }
    Ok(())
}

#[test]
fn a_proxy_is_used_with_its_login() -> Result<()> {
    let lab = Lab::new("zstd")?;
    let proxy = Faulty::start(&lab.cache)?;
    let direct = Faulty::start(&lab.cache)?;
    let mut request = lab.request("http://cache.invalid");
    request.http.proxy = Some(proxy.url());
    request.http.no_proxy = vec!["127.0.0.1".into()];
    let netrc = format!("machine 127.0.0.1 login robot password {SECRET}");
    request.http.netrc_file = Some(write(&lab, "netrc", &netrc)?);
    run(&request)?;
    lab.check_fetched(&request)?;
    let seen = proxy.seen();
    assert!(!seen.is_empty());
    for seen in seen {
        assert!(seen.path.starts_with("http://cache.invalid/"), "{seen:?}");
        assert!(
            seen.proxy_authorization
                .is_some_and(|t| t.starts_with("Basic "))
        );
        assert_eq!(seen.authorization, None);
    }
    // And not where it must not be.
    std::fs::remove_file(&request.gc_root)?;
    lab.daemon.collect_garbage()?;
    let before = proxy.seen().len();
    request.caches = vec![direct.url()];
    run(&request)?;
    assert_eq!(proxy.seen().len(), before);
    lab.check_fetched(&request)
}

/// moto's S3 with its check of signatures, and a bucket with the cache in it.
pub(crate) struct S3 {
    server: Child,
    pub(crate) url: String,
    pub(crate) credentials: String,
}

impl S3 {
    pub(crate) fn start(python: &Path, cache: &Path, home: &Path) -> Result<Self> {
        let said = home.join("s3");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/store/s3.py");
        let mut server = Command::new(python);
        server
            .arg(script)
            .arg(cache)
            .stdin(Stdio::piped())
            .stderr(Stdio::null());
        let server = server.stdout(std::fs::File::create(&said)?).spawn()?;
        // From here on it ends with this value.
        let mut s3 = Self {
            server,
            url: String::new(),
            credentials: String::new(),
        };
        let lines = rig::wait_for("the bucket", || {
            let text = std::fs::read_to_string(&said)?;
            Ok(text.ends_with("ready\n").then_some(text))
        })?;
        let (url, rest) = lines.split_once('\n').context("no URL")?;
        s3.url = url.to_owned();
        s3.credentials = rest.trim_end_matches("ready\n").to_owned();
        Ok(s3)
    }

    /// The credentials of somebody who knows the name of the key, and not the secret.
    pub(crate) fn wrong_secret(&self) -> String {
        self.credentials
            .replace("aws_secret_access_key=", "aws_secret_access_key=x")
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn a_private_bucket_is_read_with_signed_requests() -> Result<()> {
    let Some(python) = lab::python() else {
        return Ok(());
    };
    let lab = Lab::new("zstd")?;
    let s3 = S3::start(&python, &lab.cache, lab.daemon.directory())?;
    let mut request = lab.request(&s3.url);
    request.http.stall_timeout = std::time::Duration::from_secs(60);
    // Not for everybody, and not with another secret.
    let error = run(&request).unwrap_err();
    assert!(error.to_string().contains("answers 403"), "{error}");
    let region = "eu-central-1".to_owned();
    let signed = |credentials| {
        let by = By::S3 {
            credentials,
            region: region.clone(),
        };
        vec![Access {
            url: s3.url.clone(),
            by,
        }]
    };
    request.http.access = signed(write(&lab, "wrong", &s3.wrong_secret())?);
    let error = run(&request).unwrap_err();
    assert!(error.to_string().contains("answers 403"), "{error}");
    lab.check_clean(&request)?;

    request.http.access = signed(write(&lab, "aws", &s3.credentials)?);
    run(&request)?;
    lab.check_fetched(&request)
}
