//! What is shown to servers that do not serve everybody: logins, tokens, signatures. All of it
//! lies in files, is read when a client is made, and never reaches a log or an error.

use crate::{
    error::{Error, Result},
    http::{Options, read_small},
    sigv4::{self, Credentials},
};
use data_encoding::BASE64;
use jiff::{SignedDuration, Timestamp};
use reqwest::{
    Url,
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

/// A login from a netrc file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    /// `None` for all other hosts.
    host: Option<String>,
    pub(crate) user: String,
    pub(crate) password: String,
}

/// All that was read.
#[derive(Default)]
pub(crate) struct Keyring {
    keys: Vec<(Url, Key)>,
    logins: Vec<Login>,
    /// Seconds by which servers that check signatures are ahead of this machine's clock.
    skew: AtomicI64,
}

enum Key {
    Headers(HeaderMap),
    S3(Credentials, String),
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring")
    }
}

impl Keyring {
    /// Reads all files.
    pub(crate) fn load(options: &Options) -> Result<Self> {
        let mut keyring = Self::default();
        if let Some(file) = &options.netrc_file {
            let bad = |_| Error::Client(format!("{}: it is no netrc file", file.display()));
            keyring.logins = logins(&text(file)?).map_err(bad)?;
        }
        for access in &options.access {
            let url = Url::parse(&access.url).map_err(|_| Error::Url(access.url.clone()))?;
            let key = match &access.by {
                By::Headers(file) => Key::Headers(headers(&text(file)?).ok_or_else(|| {
                    Error::Client(format!("{}: not lines of 'Name: value'", file.display()))
                })?),
                By::S3 {
                    credentials: file,
                    region,
                } => {
                    let credentials = Credentials::parse(&text(file)?).ok_or_else(|| {
                        Error::Client(format!(
                            "{}: no aws_access_key_id and aws_secret_access_key",
                            file.display()
                        ))
                    })?;
                    Key::S3(credentials, region.clone())
                }
            };
            keyring.keys.push((url, key));
        }
        Ok(keyring)
    }

    /// The login for a host.
    pub(crate) fn login(&self, host: &str) -> Option<&Login> {
        let fits = |login: &&Login| login.host.as_ref().is_none_or(|name| name == host);
        self.logins.iter().find(fits)
    }

    /// Adds to the headers of a GET request what its server wants to see.
    pub(crate) fn show(&self, url: &Url, headers: &mut HeaderMap) -> Result<()> {
        let unfit = || Error::Client(format!("what {} wants is no header", host(url)));
        match self.keys.iter().find(|(prefix, _)| covers(prefix, url)) {
            Some((_, Key::Headers(more))) => headers.extend(more.clone()),
            Some((_, Key::S3(credentials, region))) => {
                let (now, skew) = (Timestamp::now(), self.skew.load(Relaxed));
                // Years that no calendar here has are not worth an answer.
                let theirs = now.checked_add(SignedDuration::from_secs(skew));
                credentials
                    .sign(url, region, theirs.unwrap_or(now), headers)
                    .ok_or_else(unfit)?;
            }
            // A login in the URL itself goes first.
            None if url.username().is_empty() => {
                if let Some(login) = self.login(host(url)) {
                    let text =
                        BASE64.encode(format!("{}:{}", login.user, login.password).as_bytes());
                    let value = sigv4::secret(&format!("Basic {text}")).ok_or_else(unfit)?;
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

fn text(file: &Path) -> Result<String> {
    let bytes = read_small(file)?;
    String::from_utf8(bytes)
        .map_err(|_| Error::Client(format!("{}: it is not UTF-8", file.display())))
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
        headers.insert(name, sigv4::secret(value.trim())?);
    }
    (!headers.is_empty()).then_some(headers)
}

/// A netrc file's machines, as curl and Nix read it; macros are skipped.
fn logins(text: &str) -> Result<Vec<Login>, ()> {
    let mut logins: Vec<Login> = Vec::new();
    let mut in_macro = false;
    for line in text.lines().map(str::trim) {
        if in_macro {
            in_macro = !line.is_empty();
            continue;
        }
        let line = if line.starts_with('#') { "" } else { line };
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            let mut new = |host| {
                logins.push(Login {
                    host,
                    user: String::new(),
                    password: String::new(),
                });
            };
            match word {
                "default" => new(None),
                "macdef" => {
                    in_macro = true;
                    break;
                }
                "machine" => new(Some(words.next().ok_or(())?.to_owned())),
                "login" => logins.last_mut().ok_or(())?.user = words.next().ok_or(())?.into(),
                "password" => {
                    logins.last_mut().ok_or(())?.password = words.next().ok_or(())?.into();
                }
                "account" => drop(words.next()),
                _ => return Err(()),
            }
        }
    }
    Ok(logins)
}

/// Reads a text as each of the files, and as the path, the date and the signer of a request.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(text: &str) {
    if let Ok(logins) = logins(text) {
        assert!(logins.len() <= text.split_whitespace().count());
    }
    let _ = headers(text);
    let (line, rest) = text.split_once('\n').unwrap_or((text, text));
    let Some(credentials) = Credentials::parse(rest) else {
        return;
    };
    let Ok(url) = Url::parse("https://cache.example/a/").and_then(|base| base.join(line)) else {
        return;
    };
    let keyring = Keyring {
        keys: vec![(url.clone(), Key::S3(credentials, "eu".to_owned()))],
        ..Keyring::default()
    };
    keyring.learn_time(&url, line);
    let _ = keyring.show(&url, &mut HeaderMap::new());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_the_last_year_that_there_is_does_not_end_the_agent() {
        let url = Url::parse("https://bucket.example/x").unwrap();
        let text = "aws_access_key_id=a\naws_secret_access_key=b\n";
        let key = Key::S3(Credentials::parse(text).unwrap(), "eu".to_owned());
        let keyring = Keyring {
            keys: vec![(url.clone(), key)],
            ..Keyring::default()
        };
        for last in [
            "Thu, 30 Dec 9999 22:00:00 GMT",
            "Sat, 01 Jan 0000 00:00:00 GMT",
        ] {
            assert!(keyring.learn_time(&url, last), "{last}");
            // By the time of the next request this machine's clock may have gone on.
            keyring.skew.fetch_add(60, Relaxed);
            keyring.show(&url, &mut HeaderMap::new()).unwrap();
        }
    }

    #[test]
    fn netrc_files_are_read() {
        let found = logins(
            "# ours\nmachine a.example login u password p\nmacdef init\nmachine x\n\n\
             machine b.example\n  login v\n  password q\n  account z\ndefault login d password e\n",
        )
        .unwrap();
        let keyring = Keyring {
            logins: found,
            ..Keyring::default()
        };
        for (host, user, password) in [
            ("a.example", "u", "p"),
            ("b.example", "v", "q"),
            ("c.example", "d", "e"),
        ] {
            let login = keyring.login(host).unwrap();
            assert_eq!((&*login.user, &*login.password), (user, password));
        }
        for bad in ["login u", "machine", "machine a login", "password"] {
            assert!(logins(bad).is_err(), "{bad}");
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
