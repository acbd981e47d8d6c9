//! Percent-encoding (RFC 3986 § 2.1).

use std::fmt::Write as _;

/// Percent-encodes everything but the unreserved characters of RFC 3986, the slash too.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
