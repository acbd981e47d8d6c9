//! URLs that lead to this machine itself.

use reqwest::Url;
use std::net::IpAddr;

/// Whether a URL leads to this machine itself, as far as its text says: a name may lead here as well.
pub(crate) fn is_loopback(url: &Url) -> bool {
    is_this_machine(url.host_str().unwrap_or_default())
}

/// Whether a host, a name or an address, is this machine itself, as far as its text says.
#[must_use]
pub fn is_this_machine(host: &str) -> bool {
    match read(host) {
        Some(address) => address.is_loopback(),
        // RFC 6761, section 6.3: the names below it as well.
        None => {
            let name = host.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

/// The address that stands in a URL in place of a name.
pub(crate) fn address(url: &Url) -> Option<IpAddr> {
    read(url.host_str().unwrap_or_default())
}

fn read(host: &str) -> Option<IpAddr> {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    address
        .parse()
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known() {
        for (url, own) in [
            ("http://localhost:8080/x", true),
            ("http://web.localhost./", true),
            ("http://127.9.0.1/", true),
            ("https://[::1]:8443/", true),
            ("http://[::ffff:127.0.0.1]/", true),
            ("http://localhost.example/", false),
            ("http://notlocalhost/", false),
            ("http://10.0.0.1/", false),
            ("http://[fe80::1]/", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(url).unwrap()), own, "{url}");
        }
    }
}
