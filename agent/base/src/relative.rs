//! Names of files below a directory or a URL, written by others: a binary cache, say.

/// Longer names are refused, bytes.
const MAX: usize = 4096;

/// Checks that a name, with or without a query (`nar/x.nar.xz?hash=y`), stays below whatever
/// directory or URL it is joined to, however that is read: by a server that decodes `%2e` or `%2F`,
/// by one that takes `\` for `/`, by a browser's rules for URLs, by this machine's file system.
///
/// # Errors
/// Why it may not, in words that follow the name.
pub fn check(name: &str) -> Result<(), &'static str> {
    let (path, _) = name.split_once('?').unwrap_or((name, ""));
    let first = path.split('/').next().unwrap_or(path);
    if name.len() > MAX {
        Err("it has more than 4096 bytes")
    } else if !name.bytes().all(|b| b.is_ascii_graphic()) {
        Err("it has a character that is not printable ASCII")
    } else if name.contains(['\\', '#']) {
        Err("it has a '\\' or a '#'")
    } else if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        Err("it is not relative, or a part of it is empty, '.' or '..'")
    } else if first.contains(':') {
        Err("it begins with a scheme")
    } else if !path.split('%').skip(1).all(is_harmless) {
        Err("it has a '%' that does not encode a harmless character")
    } else {
        Ok(())
    }
}

/// Whether what stands behind a percent sign is a character that parts nothing and controls nothing.
fn is_harmless(rest: &str) -> bool {
    let code = rest.get(..2).filter(|code| !code.starts_with('+'));
    code.and_then(|code| u8::from_str_radix(code, 16).ok())
        .is_some_and(|byte| !byte.is_ascii_control() && !b"./\\%".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_whatever_they_are_joined_to() {
        for good in [
            "nix-cache-info",
            "nar/1nhgq6wcggx0plpy4991h3ginj6hipsdslv4fd4zml1n707j26yq.nar.xz",
            "nar/x.nar?hash=../a%2F",
            "nar/sha256:abc.nar",
            "a/..b/c..",
            "a%20b",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "//evil/x",
            "a//b",
            "a/",
            "../x",
            "nar/../../x",
            "./x",
            "nar/..?x",
            "%2e%2e/x",
            "nar/.%2E/x",
            "nar/%2e",
            "nar%2f..%2fx",
            "nar%5c..",
            "a%252e",
            "a%00",
            "a%0a",
            "a%",
            "a%2",
            "a%+2",
            "a%zz",
            "nar\\..\\x",
            "http://evil/x",
            "http:x",
            "file:x",
            "javascript:x",
            "x#y",
            "a b",
            "a\nb",
            "ä",
            "a\u{202e}",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check(&"x".repeat(4097)).is_err());
    }
}
