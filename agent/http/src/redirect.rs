//! Where a server may send its clients.

use crate::loopback::{address, is_loopback};
use reqwest::Url;

/// Whether a redirection may be followed: to another web server, from `https` not to plain `http`,
/// and never to this machine itself unless it came from there. What answers on a robot's own ports is
/// meant for its own programs, and a GET request may move it.
///
/// A name that leads to this machine is not seen here; the agent only ever asks for files.
///
/// # Errors
/// Why not.
pub(crate) fn check(from: &Url, to: &Url) -> Result<(), &'static str> {
    if !matches!(to.scheme(), "http" | "https") {
        Err("it redirects to nowhere")
    } else if from.scheme() == "https" && to.scheme() == "http" {
        Err("it redirects from https to http")
    } else if is_here(to) && !is_here(from) {
        Err("it redirects to this machine itself")
    } else {
        Ok(())
    }
}

/// Whether a URL names this machine: `0.0.0.0` leads here, too.
fn is_here(url: &Url) -> bool {
    is_loopback(url) || address(url).is_some_and(|address| address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_keep_to_web_servers_and_out_of_the_robot() {
        let check =
            |from: &str, to: &str| check(&Url::parse(from).unwrap(), &Url::parse(to).unwrap());
        for (from, to) in [
            ("https://a/x", "https://b/y"),
            ("http://a/x", "http://192.168.1.2/y"),
            ("http://a/x", "https://a/x"),
            ("http://127.0.0.1:1/x", "http://127.0.0.1:2/x"),
            ("http://localhost/x", "http://[::1]/x"),
        ] {
            assert_eq!(check(from, to), Ok(()), "{from} {to}");
        }
        for to in [
            "http://a/x",
            "file:///etc/passwd",
            "ftp://a/x",
            "data:,x",
            "https://127.0.0.1/arm/open",
            "https://127.1/",
            "https://2130706433/",
            "https://0.0.0.0/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://LOCALHOST:8080/",
            "https://localhost./",
            "https://x.localhost/",
        ] {
            assert!(check("https://a/x", to).is_err(), "{to}");
        }
    }
}
