//! Headers of HTTP answers: read if they are good, else as if they were not there; and those of
//! requests that are secret.

use reqwest::header::{
    CONTENT_RANGE, DATE, ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED, RETRY_AFTER,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;

/// Where the bytes that come begin, and how many the whole has, in a `Content-Range`:
/// `bytes START-END/TOTAL` or `bytes START-END/*` (RFC 9110, section 14.4).
#[must_use]
pub fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}

/// What says that a file is still the same: a strong `ETag`, else `Last-Modified`. Weak ones are
/// not allowed in `If-Range` (RFC 9110, section 13.1.5).
#[must_use]
pub fn validator(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    text(ETAG)
        .filter(|tag| !tag.starts_with("W/"))
        .or_else(|| text(LAST_MODIFIED))
        .filter(|text| text.len() <= 1000)
        .map(str::to_owned)
}

/// What a server said about a file, to ask whether it has changed (RFC 9110, section 13).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Validators {
    /// `ETag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// `Last-Modified`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// What another version kept of the same answer.
    #[serde(flatten)]
    pub foreign: Map<String, Value>,
}

impl Validators {
    /// Those of an answer: one of them, or none.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let text = |name| {
            let value = headers.get(name)?.to_str().ok()?;
            (value.len() <= 200).then(|| value.to_owned())
        };
        let etag = text(ETAG);
        // A time alone tells changes apart only if they are a second apart (RFC 9110, 8.8.2.2).
        let last_modified = text(LAST_MODIFIED)
            .filter(|_| etag.is_none())
            .filter(|time| text(DATE).is_some_and(|date| date != *time));
        Self {
            etag,
            last_modified,
            foreign: Map::new(),
        }
    }

    /// Whether the server can tell changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }

    /// Headers of a request for a file only if it has changed.
    #[must_use]
    pub fn condition(&self) -> HeaderMap {
        let known = match (&self.etag, &self.last_modified) {
            (Some(etag), _) => Some((IF_NONE_MATCH, etag)),
            (None, Some(time)) => Some((IF_MODIFIED_SINCE, time)),
            (None, None) => None,
        };
        // What came as a header can go back as one.
        let known = known.and_then(|(name, value)| Some((name, value.parse().ok()?)));
        known.into_iter().collect()
    }
}

/// How long to wait before asking again, in a `Retry-After`. Seconds only: the date form would need
/// a clock that is right.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// A header to send that no log shows.
pub(crate) fn secret(text: &str) -> Option<HeaderValue> {
    let mut value: HeaderValue = text.parse().ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_or_ignored() {
        let headers = |name: reqwest::header::HeaderName, text: &'static str| {
            HeaderMap::from_iter([(name, text.parse().unwrap())])
        };
        let range = |text| content_range(&headers(CONTENT_RANGE, text));
        assert_eq!(range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(range("bytes 5-9/*"), Some((5, None)));
        for bad in ["", "bytes", "bytes */10", "lines 1-2/3", "bytes x-y/z"] {
            assert_eq!(range(bad), None, "{bad}");
        }
        assert_eq!(validator(&headers(ETAG, "\"a\"")), Some("\"a\"".into()));
        assert_eq!(validator(&headers(ETAG, "W/\"a\"")), None);
        assert_eq!(
            retry_after(&headers(RETRY_AFTER, "7")),
            Some(Duration::from_secs(7))
        );
        assert_eq!(
            retry_after(&headers(RETRY_AFTER, "Fri, 31 Dec 1999 23:59:59 GMT")),
            None
        );
    }

    #[test]
    fn what_tells_changes_apart_is_asked_for_again() {
        let (early, late) = (
            "Fri, 31 Dec 1999 23:59:58 GMT",
            "Fri, 31 Dec 1999 23:59:59 GMT",
        );
        for (answer, asked) in [
            (vec![], None),
            (
                vec![(ETAG, "W/\"a\""), (LAST_MODIFIED, early), (DATE, late)],
                Some((IF_NONE_MATCH, "W/\"a\"")),
            ),
            (
                vec![(LAST_MODIFIED, early), (DATE, late)],
                Some((IF_MODIFIED_SINCE, early)),
            ),
            // It may change once more in this second.
            (vec![(LAST_MODIFIED, late), (DATE, late)], None),
            (vec![(LAST_MODIFIED, early)], None),
        ] {
            let headers = answer
                .iter()
                .map(|(name, text)| (name.clone(), text.parse().unwrap()));
            let validators = Validators::of(&headers.collect());
            assert_eq!(validators.is_empty(), asked.is_none(), "{answer:?}");
            let asked = asked.map(|(name, text)| (name, text.parse().unwrap()));
            assert_eq!(
                validators.condition(),
                asked.into_iter().collect(),
                "{answer:?}"
            );
        }
        let long = HeaderMap::from_iter([(ETAG, "x".repeat(201).parse().unwrap())]);
        assert!(Validators::of(&long).is_empty());
    }
}
