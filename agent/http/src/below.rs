//! Files below a URL.

use reqwest::Url;

/// The URL of a file below another, which stands for a directory; `None` where the rules for URLs
/// (<https://url.spec.whatwg.org/>) would read anything else into the name than one more piece of the path
/// and perhaps a query: a scheme, a host, `..`, `%2e%2e`, `\`, a fragment.
///
/// Encoded slashes pass (`%2F`): the files of a signed repository have such names.
#[must_use]
pub fn below(base: &Url, name: &str) -> Option<Url> {
    let mut base = base.clone();
    base.set_query(None);
    base.set_fragment(None);
    if !base.path().ends_with('/') {
        base.set_path(&format!("{}/", base.path()));
    }
    let url = base.join(name).ok()?;
    // What the rules changed they understood.
    let same = url.as_str().strip_prefix(base.as_str()) == Some(name);
    (same && !name.is_empty() && !name.contains('#')).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use surefoot_base::relative;

    const BASES: [&str; 4] = [
        "https://cache.example",
        "https://user:secret@cache.example:8443/a/b",
        "http://[::1]:80/",
        "file:///mnt/usb%20stick",
    ];

    #[test]
    fn files_lie_below_their_base() {
        for base in BASES {
            let base = Url::parse(base).unwrap();
            let url = below(&base, "nar/x.nar.xz?a=b").unwrap();
            assert!(url.as_str().ends_with("/nar/x.nar.xz?a=b"), "{url}");
            for bad in [
                "",
                "/x",
                "//evil/x",
                "../x",
                "a/../../x",
                "%2e%2e/x",
                "a/%2E./x",
                "a/.",
                "..\\x",
                "\\\\evil\\x",
                "https://evil/x",
                "https:x",
                "http:x",
                "mailto:x",
                "x#y",
                "#",
                " x",
                "a\tb",
                "ht\ntp://evil/",
                "a b",
            ] {
                assert_eq!(below(&base, bad), None, "{bad}");
            }
        }
    }

    /// Pieces that URLs are made of, and anything else.
    fn name() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("/"),
            Just("//"),
            Just("."),
            Just(".."),
            Just("%2e"),
            Just("%2E"),
            Just("%2f"),
            Just("%5C"),
            Just("%25"),
            Just("\\"),
            Just("?"),
            Just("#"),
            Just("@"),
            Just(":"),
            Just("http:"),
            Just("file:"),
            Just("evil"),
            Just("nar"),
            Just("\t"),
            Just("\n"),
            Just(" "),
            Just("\u{202e}"),
            Just("C|"),
            Just("%"),
            Just("x.nar.xz"),
        ];
        let pieces = proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat());
        prop_oneof![4 => pieces, 1 => any::<String>()]
    }

    proptest! {
        #[test]
        fn nothing_leaves_its_base(name in name(), at in 0..BASES.len()) {
            let base = Url::parse(BASES[at]).unwrap();
            let directory = format!("{}/", base.as_str().trim_end_matches('/'));
            if let Some(url) = below(&base, &name) {
                prop_assert_eq!(&Url::parse(url.as_str()).unwrap(), &url);
                prop_assert!(url.as_str().starts_with(&directory), "{}", url);
                prop_assert_eq!(url.origin().ascii_serialization(), base.origin().ascii_serialization());
                prop_assert!(url.fragment().is_none());
                let parts = || url.path().split('/').map(str::to_ascii_lowercase);
                prop_assert!(!parts().any(|part| {
                    matches!(part.replace("%2e", ".").as_str(), "." | "..")
                }), "{}", url);
            }
            // What caches may name can be asked for, apart from characters that URLs encode.
            if relative::check(&name).is_ok() && !name.contains(['"', '<', '>', '^', '`', '{', '}', '|', '\'']) {
                prop_assert!(below(&base, &name).is_some(), "{}", name);
            }
        }
    }
}
