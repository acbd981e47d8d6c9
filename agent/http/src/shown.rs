//! URLs as people may see them.

use reqwest::Url;

/// A URL without user, password, query and fragment: in each of them there may be a secret, and messages end
/// in logs.
#[must_use]
pub fn shown(url: &Url) -> Url {
    let mut url = url.clone();
    // Both fail only for URLs that have no login.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_of_a_url_is_shown() {
        for (url, seen) in [
            (
                "https://ci:secret@host/fleet?token=secret#x",
                "https://host/fleet",
            ),
            ("https://host:8443/a%2Fb", "https://host:8443/a%2Fb"),
            ("file:///nix/cache", "file:///nix/cache"),
        ] {
            assert_eq!(shown(&Url::parse(url).unwrap()).as_str(), seen);
        }
    }
}
