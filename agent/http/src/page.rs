//! Answers that are something else than the file that was asked for, although their status says
//! nothing of it: pages of captive portals, the one page of a web application, and encodings that
//! nobody asked for.

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName};

/// What an answer is instead, in words, by its headers and by how its body begins; `None` if it may be
/// the file.
#[must_use]
pub fn stranger(headers: &HeaderMap, begins: &[u8]) -> Option<String> {
    let begins = begins.strip_prefix(b"\xef\xbb\xbf").unwrap_or(begins);
    let begins = begins.trim_ascii_start();
    let tag = |tag: &[u8]| {
        let start = begins.get(..tag.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(tag))
    };
    // Some servers say `text/html` of every file whose type they do not know.
    if tag(b"<!doctype html") || tag(b"<html") || (is_page(headers) && begins.starts_with(b"<")) {
        return Some(page(headers));
    }
    let encoding = text(headers, CONTENT_ENCODING);
    let compressed = matches!(&*encoding, "gzip" | "x-gzip" | "br" | "deflate");
    (compressed && !begins.starts_with(b"{")).then(|| {
        format!(
            "the server sends it compressed ({encoding}), which nobody asked for; switch that off there"
        )
    })
}

/// The same of a body that is longer than the file may be.
#[must_use]
pub fn long_stranger(headers: &HeaderMap) -> Option<String> {
    is_page(headers).then(|| page(headers))
}

fn is_page(headers: &HeaderMap) -> bool {
    let kind = text(headers, CONTENT_TYPE);
    let kind = kind.split(';').next().unwrap_or_default().trim_end();
    matches!(kind, "text/html" | "application/xhtml+xml")
}

fn text(headers: &HeaderMap, name: HeaderName) -> String {
    let text = headers.get(name).and_then(|value| value.to_str().ok());
    text.unwrap_or_default().trim().to_ascii_lowercase()
}

fn page(headers: &HeaderMap) -> String {
    let kind = text(headers, CONTENT_TYPE);
    let kind = if kind.is_empty() {
        "no content type"
    } else {
        &kind
    };
    format!(
        "this is a web page ({kind:.60}), not the file: a captive portal that wants a login, or a \
         server that shows a page for files that it does not have?"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_file_is_named() {
        for (kind, encoding, begins, said) in [
            (
                "text/html",
                "",
                "<!DOCTYPE html><title>Log in</title>",
                "(text/html)",
            ),
            (
                "Text/HTML; charset=utf-8",
                "",
                "\n <head>",
                "(text/html; charset=utf-8)",
            ),
            ("application/json", "", "<html>", "(application/json)"),
            ("", "", "\u{feff} <HTML lang=de>", "(no content type)"),
            ("application/json", "gzip", "\u{1f}x", "(gzip)"),
            ("", "br", "x", "(br)"),
            // The file, under a wrong name.
            ("text/html", "", "{\"signed\":{\"x\":\"<html>\"}}", ""),
            ("text/html", "", "\u{fd}7zXZ", ""),
            ("application/json", "gzip", "{", ""),
            ("", "xz", "\u{fd}7zXZ", ""),
            ("", "identity", "x", ""),
            ("", "", "<htm", ""),
            ("", "", "", ""),
        ] {
            let headers = [(CONTENT_TYPE, kind), (CONTENT_ENCODING, encoding)];
            let headers = headers.into_iter().filter(|(_, text)| !text.is_empty());
            let headers = headers.map(|(name, text)| (name, text.parse().unwrap()));
            let found = stranger(&headers.collect(), begins.as_bytes());
            assert_eq!(
                found.is_some(),
                !said.is_empty(),
                "{kind} {encoding} {begins}"
            );
            assert!(
                found.unwrap_or_default().contains(said),
                "{kind} {encoding} {begins}"
            );
        }
    }
}
