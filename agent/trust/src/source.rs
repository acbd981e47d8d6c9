//! Where the files of a repository come from: a web server or a directory.

use crate::{Error, file_names, files};
use jiff::Timestamp;
use std::{borrow::Cow, path::PathBuf, time::Duration};
use surefoot_http::{
    Http, Options, Url, below,
    document::{self, Absence, Document},
    headers::Validators,
    pace::LeastPace,
};
use tokio::time::{Instant, timeout_at};

/// Where files come from.
#[derive(Debug)]
pub(crate) enum Base {
    Http(Url),
    Dir(PathBuf),
}

/// How a file is named.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Name<'a> {
    /// As it is on the disk and in the URL.
    Encoded(&'a str),
    /// To be percent-encoded for a URL; slashes part directories.
    Plain(&'a str),
}

impl Name<'_> {
    /// As it stands in a URL.
    fn encoded(&self) -> Cow<'_, str> {
        match self {
            Self::Encoded(file) => Cow::Borrowed(file),
            Self::Plain(file) => Cow::Owned(file_names::quote_path(file)),
        }
    }
}

impl Base {
    /// Understands an address.
    pub(crate) fn new(address: &str) -> Result<Self, Error> {
        let wrong = || Error::Url {
            url: address.chars().take(300).collect(),
        };
        let url = Url::parse(address).map_err(|_| wrong())?;
        match url.scheme() {
            "file" => url.to_file_path().map(Self::Dir).map_err(|()| wrong()),
            "http" | "https" if url.query().is_none() && url.fragment().is_none() => {
                let address = address.trim_end_matches('/');
                Url::parse(&format!("{address}/"))
                    .map(Self::Http)
                    .map_err(|_| wrong())
            }
            _ => Err(wrong()),
        }
    }

    /// The address of a file, for requests and errors.
    pub(crate) fn locate(&self, name: Name<'_>) -> String {
        match (self, name) {
            (Self::Http(base), name) => format!("{base}{}", name.encoded()),
            (Self::Dir(dir), Name::Encoded(file) | Name::Plain(file)) => {
                dir.join(file).display().to_string()
            }
        }
    }
}

/// Reads files: never more than asked for, never for longer than allowed.
#[derive(Debug)]
pub(crate) struct Reader {
    http: Http,
    pace: LeastPace,
    /// Bytes of files since the start.
    pub(crate) received: u64,
    /// Nothing is waited for any longer than this, however it trickles.
    until: Option<(Instant, Duration)>,
}

impl Reader {
    pub(crate) fn new(options: Options, pace: LeastPace) -> Self {
        Self {
            http: Http::new(options),
            pace,
            received: 0,
            until: None,
        }
    }

    /// A time that is known to have passed, where the clock cannot be trusted.
    pub(crate) fn know_time(&mut self, time: Option<Timestamp>) {
        self.http.know_time(time);
    }

    /// All that is asked for from now on, together, may take so long.
    pub(crate) fn limit(&mut self, all: Duration) {
        self.until = Some((Instant::now() + all, all));
    }

    /// Closes connections and forgets certificates, and the limit.
    pub(crate) fn close(&mut self) {
        self.http.close();
        self.until = None;
    }

    /// Reads one file of at most `limit` bytes; `None` if there is none. A page in its place is none
    /// where there need not be one.
    pub(crate) async fn find(
        &mut self,
        base: &Base,
        name: Name<'_>,
        limit: u64,
        optional: bool,
    ) -> Result<Option<(Vec<u8>, Validators)>, Error> {
        let why = match self.get(base, name, limit, None).await? {
            Document::Bytes(bytes, validators) => return Ok(Some((bytes, validators))),
            Document::Absent(Absence::NotFound) | Document::NotModified => return Ok(None),
            Document::Absent(_) if optional => return Ok(None),
            Document::Absent(Absence::Stranger(what)) => what,
            Document::Absent(Absence::Forbidden) => {
                "the server answered 403 Forbidden: the file is not there, or not for this client"
                    .to_owned()
            }
        };
        Err(Error::transport(base.locate(name), why))
    }

    /// Reads one file of at most `limit` bytes, unless it is as its validators say.
    pub(crate) async fn get(
        &mut self,
        base: &Base,
        name: Name<'_>,
        limit: u64,
        validators: Option<&Validators>,
    ) -> Result<Document, Error> {
        let document = match (base, name) {
            (Base::Http(at), _) => match below(at, &name.encoded()) {
                Some(url) => self.web(url.into(), limit, validators).await?,
                None => {
                    let url = base.locate(name);
                    return Err(Error::Url { url });
                }
            },
            // A stick may hang; but reading a few small files is not worth a thread.
            (Base::Dir(dir), Name::Encoded(file) | Name::Plain(file)) => {
                match files::read(&dir.join(file), limit)? {
                    None => Document::Absent(Absence::NotFound),
                    Some(bytes) => Document::Bytes(bytes, Validators::default()),
                }
            }
        };
        if let Document::Bytes(bytes, _) = &document {
            self.received += bytes.len() as u64;
        }
        Ok(document)
    }

    async fn web(
        &self,
        url: String,
        limit: u64,
        validators: Option<&Validators>,
    ) -> Result<Document, Error> {
        let request = document::get(&self.http, &url, limit, validators, self.pace);
        let answer = match self.until {
            None => request.await,
            Some((until, all)) => match timeout_at(until, request).await {
                Ok(answer) => answer,
                Err(_) => {
                    let why = format!("all of it took longer than {} s", all.as_secs());
                    return Err(Error::transport(url, why));
                }
            },
        };
        answer.map_err(|error| match error {
            surefoot_http::Error::TooLarge { limit, .. } => Error::TooLarge { file: url, limit },
            surefoot_http::Error::Transfer { why, .. } => Error::transport(url, why),
            surefoot_http::Error::Status {
                status,
                retry_after,
                ..
            } => Error::Transport {
                url,
                why: format!("the server answered {status}"),
                retry_after,
            },
            error => Error::transport(url, error.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_understood_or_refused() {
        for bad in [
            "",
            "x",
            "ftp://x/",
            "https://x/?a=b",
            "/srv/repo",
            "file://host/x",
        ] {
            let error = Base::new(bad).unwrap_err().to_string();
            assert!(error.contains("not an address of a repository"), "{error}");
        }
        let base = Base::new("https://x/repo/").unwrap();
        assert_eq!(base.locate(Name::Plain("a b/c")), "https://x/repo/a%20b/c");
        assert_eq!(
            base.locate(Name::Encoded("1.a%2Fb.json")),
            "https://x/repo/1.a%2Fb.json"
        );
        let Base::Http(base) = base else {
            panic!("a web server");
        };
        assert_eq!(
            below(&base, "1.a%2Fb.json").unwrap().as_str(),
            "https://x/repo/1.a%2Fb.json"
        );
        let base = Base::new("file:///srv/my%20repo").unwrap();
        assert_eq!(base.locate(Name::Plain("a b")), "/srv/my repo/a b");
    }

    proptest! {
        #[test]
        fn every_role_and_every_target_lies_below_the_repository(
            name in prop_oneof![any::<String>(), "[./%\\\\a2e:?#]{0,12}"],
            version: Option<u64>,
        ) {
            let base = Url::parse("https://x/repo/").unwrap();
            let metadata = file_names::metadata(&name, version);
            prop_assert!(below(&base, &metadata).is_some(), "{}", metadata);
            if let Ok(target) = file_names::target(&name, version.map(|_| "00")) {
                let encoded = Name::Plain(&target).encoded().into_owned();
                prop_assert!(below(&base, &encoded).is_some(), "{}", encoded);
            }
        }
    }
}
