//! AWS Signature Version 4 for S3-compatible buckets.
//!
//! Source: Amazon S3 API reference, "Authenticating Requests: Using the Authorization Header
//! (AWS Signature Version 4)".

use crate::headers::secret;
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use data_encoding::HEXLOWER;
use jiff::{Timestamp, tz::TimeZone};
use reqwest::{
    Method, Url,
    header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue},
};
use sha2::{Digest as _, Sha256};
use std::{fmt, fmt::Write as _};
use surefoot_base::percent::quote;

/// Who signs.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct AccessKey {
    key_id: String,
    secret: String,
    /// Of temporary credentials.
    session_token: Option<String>,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey")
    }
}

impl AccessKey {
    /// Reads a file in the form of `~/.aws/credentials`: `key = value` lines, of which the first
    /// profile counts. `None` if the key or its secret is missing.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut found = [const { None }; 3];
        let mut profiles = 0;
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                profiles += 1;
            }
            let Some((name, value)) = line.split_once('=') else {
                continue;
            };
            let place = match name.trim() {
                "aws_access_key_id" => 0,
                "aws_secret_access_key" => 1,
                "aws_session_token" => 2,
                _ => continue,
            };
            if profiles <= 1 {
                found[place] = Some(value.trim().to_owned());
            }
        }
        let [key_id, secret, session_token] = found;
        Some(Self {
            key_id: key_id?,
            secret: secret?,
            session_token,
        })
    }

    /// Adds what signs a request with this body, its `headers` included. `None` if one of them is not
    /// text.
    pub(crate) fn sign(
        &self,
        method: &Method,
        url: &Url,
        body: &[u8],
        region: &str,
        now: Timestamp,
        headers: &mut HeaderMap,
    ) -> Option<()> {
        let host = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str()?),
            None => url.host_str()?.to_owned(),
        };
        let now = now.to_zoned(TimeZone::UTC);
        let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let date = &time[..8];
        let body = HEXLOWER.encode(&Sha256::digest(body));
        headers.insert(HOST, host.parse().ok()?);
        headers.insert("x-amz-date", time.parse().ok()?);
        headers.insert("x-amz-content-sha256", body.parse().ok()?);
        if let Some(token) = &self.session_token {
            headers.insert("x-amz-security-token", secret(token)?);
        }
        let mut sorted: Vec<(&HeaderName, &HeaderValue)> = headers.iter().collect();
        sorted.sort_by_key(|(name, _)| name.as_str());
        let mut canonical = format!("{method}\n{}\n{}\n", path(url), query(url));
        for (name, value) in &sorted {
            let _ = writeln!(canonical, "{name}:{}", value.to_str().ok()?.trim());
        }
        let names: Vec<&str> = sorted.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let _ = write!(canonical, "\n{names}\n{body}");

        let scope = format!("{date}/{region}/s3/aws4_request");
        let canonical = HEXLOWER.encode(&Sha256::digest(&canonical));
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{canonical}");
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in [date, region, "s3", "aws4_request", &text] {
            let by = hmac::Key::new(HMAC_SHA256, &key);
            key = hmac::sign(&by, part.as_bytes()).as_ref().to_vec();
        }
        let signature = HEXLOWER.encode(&key);
        let value = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}",
            self.key_id
        );
        headers.insert(AUTHORIZATION, secret(&value)?);
        Some(())
    }
}

/// The query in order, each name with its value (AWS: "canonical query string").
fn query(url: &Url) -> String {
    let mut pairs: Vec<String> = (url.query_pairs())
        .map(|(name, value)| format!("{}={}", quote(&name), quote(&value)))
        .collect();
    pairs.sort_unstable();
    pairs.join("&")
}

/// The path, with every byte percent-encoded but letters, digits and `-._~/`.
fn path(url: &Url) -> String {
    let bytes = url.path().as_bytes();
    let mut path = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            // What is encoded already stays so.
            b'%' | b'/' | b'-' | b'.' | b'_' | b'~' => path.push(byte.into()),
            byte if byte.is_ascii_alphanumeric() => path.push(byte.into()),
            byte => {
                let _ = write!(path, "%{byte:02X}");
            }
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> AccessKey {
        AccessKey::parse(
            "[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\n\
             aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n\
             [other]\naws_access_key_id = OTHER\n",
        )
        .unwrap()
    }

    /// The "GET Object" example of the S3 API reference.
    #[test]
    fn it_signs_as_the_reference_does() {
        let url = Url::parse("https://examplebucket.s3.amazonaws.com/test.txt").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("range", "bytes=0-9".parse().unwrap());
        let now = "2013-05-24T00:00:00Z".parse().unwrap();
        example()
            .sign(&Method::GET, &url, b"", "us-east-1", now, &mut headers)
            .unwrap();
        assert_eq!(
            headers[AUTHORIZATION],
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        assert!(headers[AUTHORIZATION].is_sensitive());
    }

    /// The "GET Bucket (List Objects)" and "PUT Object" examples of the same page.
    #[test]
    fn queries_and_bodies_are_signed_as_the_reference_does() {
        let sign = |method: Method, url: &str, body: &[u8], more: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in more {
                headers.insert(*name, value.parse().unwrap());
            }
            let (url, now) = (
                Url::parse(url).unwrap(),
                "2013-05-24T00:00:00Z".parse().unwrap(),
            );
            let signed = example().sign(&method, &url, body, "us-east-1", now, &mut headers);
            signed.unwrap();
            headers[AUTHORIZATION].to_str().unwrap().to_owned()
        };
        let list = "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J";
        assert!(
            sign(Method::GET, list, b"", &[])
                .ends_with("34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")
        );
        let put = "https://examplebucket.s3.amazonaws.com/test$file.text";
        let more = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ];
        assert!(
            sign(Method::PUT, put, b"Welcome to Amazon S3.", &more)
                .ends_with("98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd")
        );
    }

    #[test]
    fn files_are_read_and_shown_without_secrets() {
        assert_eq!(example().key_id, "AKIAIOSFODNN7EXAMPLE");
        assert_eq!(format!("{:?}", example()), "AccessKey");
        for bad in ["", "[default]", "aws_access_key_id = a", "secret"] {
            assert_eq!(AccessKey::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn paths_are_encoded_once() {
        let url = Url::parse("https://x/a b/c%20d+e@f").unwrap();
        assert_eq!(path(&url), "/a%20b/c%20d%2Be%40f");
    }
}
