//! What is shown to servers that do not serve everybody: logins, tokens, signatures. All of it
//! lies in files, is read when a client is made, and never reaches a log or an error.

use crate::{
    error::{Error, Result},
    file,
    headers::secret,
    netrc::{self, Login},
    sigv4::AccessKey,
};
use data_encoding::BASE64;
use jiff::{SignedDuration, Timestamp};
use reqwest::{
    Method, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName},
};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicI64, Ordering::Relaxed},
};

/// What to show to the servers below a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Scheme, host and port must be those of a request, and its path must begin with this one's.
    pub url: String,
    /// What to show.
    pub by: By,
}

/// What to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// Headers from a file, `Name: value` in each line: a token in `Authorization`, say.
    Headers(PathBuf),
    /// AWS Signature Version 4, for S3-compatible buckets.
    S3 {
        /// A file like `~/.aws/credentials`; its first profile counts.
        credentials: PathBuf,
        /// The region to sign for.
        region: String,
    },
}

/// All that was read.
#[derive(Default)]
pub(crate) struct Credentials {
    keys: Vec<(Url, Key)>,
    logins: Vec<Login>,
    /// Seconds by which servers that check signatures are ahead of this machine's clock.
    skew: AtomicI64,
}

enum Key {
    Headers(HeaderMap),
    S3(AccessKey, String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// Reads all files.
    pub(crate) fn load(netrc_file: Option<&Path>, access: &[Access]) -> Result<Self> {
        let mut credentials = Self::default();
        if let Some(file) = netrc_file {
            let bad = |()| Error::Client(format!("{}: it is not a netrc file", file.display()));
            credentials.logins = netrc::parse(&file::text(file)?).map_err(bad)?;
        }
        for access in access {
            let url = Url::parse(&access.url).map_err(|_| Error::Url(access.url.clone()))?;
            let key = match &access.by {
                By::Headers(file) => {
                    Key::Headers(headers(&file::text(file)?).ok_or_else(|| {
                        Error::Client(format!("{}: not lines of 'Name: value'", file.display()))
                    })?)
                }
                By::S3 {
                    credentials: file,
                    region,
                } => {
                    let key = AccessKey::parse(&file::text(file)?).ok_or_else(|| {
                        Error::Client(format!(
                            "{}: no aws_access_key_id and aws_secret_access_key",
                            file.display()
                        ))
                    })?;
                    Key::S3(key, region.clone())
                }
            };
            credentials.keys.push((url, key));
        }
        Ok(credentials)
    }

    /// The login for a host.
    pub(crate) fn login(&self, host: &str) -> Option<&Login> {
        netrc::login(&self.logins, host)
    }

    /// Adds to the headers of a request with this body what its server wants to see.
    pub(crate) fn show(
        &self,
        method: &Method,
        url: &Url,
        body: &[u8],
        headers: &mut HeaderMap,
    ) -> Result<()> {
        let unfit = || Error::Client(format!("what {} wants is not a header", host(url)));
        match self.keys.iter().find(|(prefix, _)| covers(prefix, url)) {
            Some((_, Key::Headers(more))) => headers.extend(more.clone()),
            Some((_, Key::S3(key, region))) => {
                let (now, skew) = (Timestamp::now(), self.skew.load(Relaxed));
                // Years that no calendar here has are not worth an answer.
                let theirs = now.checked_add(SignedDuration::from_secs(skew));
                key.sign(method, url, body, region, theirs.unwrap_or(now), headers)
                    .ok_or_else(unfit)?;
            }
            // A login in the URL itself goes first.
            None if url.username().is_empty() => {
                if let Some(login) = self.login(host(url)) {
                    let text =
                        BASE64.encode(format!("{}:{}", login.user, login.password).as_bytes());
                    let value = secret(&format!("Basic {text}")).ok_or_else(unfit)?;
                    headers.insert(AUTHORIZATION, value);
                }
            }
            None => {}
        }
        Ok(())
    }

    /// A request was refused at a time that the server says. Whether it was signed, and this
    /// machine's clock is so wrong that signing it again by the server's clock can help.
    pub(crate) fn learn_time(&self, url: &Url, date: &str) -> bool {
        let key = self.keys.iter().find(|(prefix, _)| covers(prefix, url));
        let (Some((_, Key::S3(..))), Ok(theirs)) = (key, jiff::fmt::rfc2822::parse(date)) else {
            return false;
        };
        let ahead = theirs.timestamp().as_second() - Timestamp::now().as_second();
        let before = self.skew.swap(ahead, Relaxed);
        (ahead - before).abs() > 60
    }
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

/// Whether a URL lies below another one.
fn covers(prefix: &Url, url: &Url) -> bool {
    prefix.scheme() == url.scheme()
        && prefix.host_str() == url.host_str()
        && prefix.port_or_known_default() == url.port_or_known_default()
        && url
            .path()
            .strip_prefix(prefix.path().trim_end_matches('/'))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `Name: value` in each line; empty lines and lines after `#` do not count.
fn headers(text: &str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    let lines = text.lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.split_once(':')?;
        let name: HeaderName = name.trim().parse().ok()?;
        headers.insert(name, secret(value.trim())?);
    }
    (!headers.is_empty()).then_some(headers)
}

/// Reads a text as each of the files, and as the path, the date and the signer of a request.
#[cfg(feature = "fuzz")]
pub fn fuzz(text: &str) {
    if let Ok(logins) = netrc::parse(text) {
        assert!(logins.len() <= text.split_whitespace().count());
    }
    let _ = headers(text);
    let (line, rest) = text.split_once('\n').unwrap_or((text, text));
    let Some(key) = AccessKey::parse(rest) else {
        return;
    };
    let Ok(url) = Url::parse("https://cache.example/a/").and_then(|base| base.join(line)) else {
        return;
    };
    let credentials = Credentials {
        keys: vec![(url.clone(), Key::S3(key, "eu".to_owned()))],
        ..Credentials::default()
    };
    credentials.learn_time(&url, line);
    let _ = credentials.show(&Method::GET, &url, b"", &mut HeaderMap::new());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_the_last_year_that_there_is_does_not_end_the_agent() {
        let url = Url::parse("https://bucket.example/x").unwrap();
        let text = "aws_access_key_id=a\naws_secret_access_key=b\n";
        let key = Key::S3(AccessKey::parse(text).unwrap(), "eu".to_owned());
        let credentials = Credentials {
            keys: vec![(url.clone(), key)],
            ..Credentials::default()
        };
        for last in [
            "Thu, 30 Dec 9999 22:00:00 GMT",
            "Sat, 01 Jan 0000 00:00:00 GMT",
        ] {
            assert!(credentials.learn_time(&url, last), "{last}");
            // By the time of the next request this machine's clock may have gone on.
            credentials.skew.fetch_add(60, Relaxed);
            credentials
                .show(&Method::GET, &url, b"", &mut HeaderMap::new())
                .unwrap();
        }
    }

    #[test]
    fn headers_are_read_and_not_shown() {
        let found = headers("# token\nAuthorization: Bearer s3cret\n\nX-Robot: 7\n").unwrap();
        assert_eq!(found[AUTHORIZATION], "Bearer s3cret");
        assert!(!format!("{found:?}").contains("s3cret"));
        for bad in ["", "# nothing", "no colon", "bad name: x", "A: b\u{7}"] {
            assert!(headers(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn what_is_shown_is_shown_below_its_url_only() {
        let url = |text| Url::parse(text).unwrap();
        let prefix = url("https://c.example/robots/");
        for (text, covered) in [
            ("https://c.example/robots/nar/x", true),
            ("https://c.example:443/robots", true),
            ("https://c.example/robotsx", false),
            ("https://c.example/", false),
            ("http://c.example/robots/x", false),
            ("https://c.example:8443/robots/x", false),
            ("https://d.example/robots/x", false),
        ] {
            assert_eq!(covers(&prefix, &url(text)), covered, "{text}");
        }
    }
}
