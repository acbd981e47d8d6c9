//! How files of a repository are named.

pub use surefoot_base::percent::quote;

use crate::{Error, keys::sha256_hex, metadata::TargetFile};

/// The file of a role's metadata, ready for a URL: the version before it where files carry it,
/// and everything unusual in the name percent-encoded.
#[must_use]
pub fn metadata(role: &str, version: Option<u64>) -> String {
    let role = quote(role);
    match version {
        Some(version) => format!("{version}.{role}.json"),
        None => format!("{role}.json"),
    }
}

/// The file of a target relative to the targets' directory, not yet encoded: `a/HASH.name` where
/// files carry hashes, else `a/name`.
///
/// # Errors
/// [`Error::TargetName`] if it would lead elsewhere.
pub fn target(name: &str, hash: Option<&str>) -> Result<String, Error> {
    check_target(name)?;
    Ok(match (hash, name.rsplit_once('/')) {
        (None, _) => name.to_owned(),
        (Some(hash), None) => format!("{hash}.{name}"),
        (Some(hash), Some((dir, base))) => format!("{dir}/{hash}.{base}"),
    })
}

/// Whether a target path stays where it belongs: relative, at most 1024 bytes, no empty, `.` or
/// `..` part, no control characters, no backslash.
///
/// # Errors
/// [`Error::TargetName`].
pub fn check_target(name: &str) -> Result<(), Error> {
    let good = name.len() <= 1024
        && !name.chars().any(|c| c.is_control() || c == '\\')
        && name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if good {
        Ok(())
    } else {
        Err(Error::TargetName {
            name: name
                .chars()
                .take(100)
                .flat_map(char::escape_debug)
                .collect(),
        })
    }
}

/// Targets below this name carry the SHA-256 of their content in it: `closures/DIGEST.json.zst`.
/// Whoever names one has named its content, so it does not matter whose keys list it.
pub const BY_DIGEST: &str = "closures/";

/// Whether a target below [`BY_DIGEST`] is what its name says. Signatures alone do not show that:
/// of several teams that may list such targets, one could list another's under its own content.
///
/// # Errors
/// [`Error::Mismatch`].
pub(crate) fn check_digest(name: &str, bytes: &[u8]) -> Result<(), Error> {
    let Some(base) = name.strip_prefix(BY_DIGEST) else {
        return Ok(());
    };
    let found = sha256_hex(bytes);
    if base.split('.').next() == Some(found.as_str()) {
        return Ok(());
    }
    Err(Error::Mismatch {
        file: name.to_owned(),
        why: format!("its sha256 is {found}, which is not what its name says"),
    })
}

/// The digest that names a target's file: the strongest that is known here.
pub(crate) fn naming_hash(target: &TargetFile) -> Option<&str> {
    ["sha256", "sha512"]
        .iter()
        .find_map(|name| target.hashes.get(*name))
        .map(String::as_str)
        .filter(|hash| !hash.is_empty() && hash.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// [`quote`], slashes kept.
#[must_use]
pub fn quote_path(path: &str) -> String {
    path.split('/').map(quote).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_as_the_specification_says() {
        assert_eq!(metadata("root", Some(7)), "7.root.json");
        assert_eq!(metadata("timestamp", None), "timestamp.json");
        assert_eq!(metadata("../a?", Some(1)), "1...%2Fa%3F.json");
        assert_eq!(target("a/b.txt", Some("00")).unwrap(), "a/00.b.txt");
        assert_eq!(target("b.txt", Some("00")).unwrap(), "00.b.txt");
        assert_eq!(target("a/b.txt", None).unwrap(), "a/b.txt");
        assert_eq!(quote_path("a b/c#"), "a%20b/c%23");
    }

    #[test]
    fn closures_are_what_their_names_say() {
        let hash = sha256_hex(b"x");
        assert!(check_digest(&format!("closures/{hash}.json.zst"), b"x").is_ok());
        assert!(check_digest(&format!("closures/{hash}.json.zst"), b"y").is_err());
        assert!(check_digest("closures/x", b"x").is_err());
        assert!(check_digest("channels/x", b"x").is_ok());
    }

    #[test]
    fn targets_stay_where_they_belong() {
        for name in [
            "",
            "/etc/passwd",
            "a//b",
            "../x",
            "a/..",
            "a/./b",
            "a\\b",
            "a\nb",
            "a/",
        ] {
            assert!(check_target(name).is_err(), "{name}");
        }
        for name in ["a", "a/b", "..a", "a..b/c", "ä ö"] {
            assert!(check_target(name).is_ok(), "{name}");
        }
    }
}
