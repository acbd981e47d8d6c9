//! Patterns of target paths in delegations (§4.5, PATHPATTERN).
//!
//! Shell wildcards, part by part: `*` is any text, `?` any character, `[abc]` and `[a-c]` one of
//! some, `[!abc]` none of them; none of these matches a slash.

use crate::{keys::sha256_hex, metadata::DelegatedRole};
use surefoot_base::glob;

/// Whether a delegated role is trusted with a target path.
#[must_use]
pub fn covers(role: &DelegatedRole, path: &str) -> bool {
    if let Some(patterns) = &role.paths {
        return patterns.iter().any(|pattern| matches(pattern, path));
    }
    let digest = sha256_hex(path.as_bytes());
    role.path_hash_prefixes
        .iter()
        .flatten()
        .any(|prefix| digest.starts_with(&prefix.to_ascii_lowercase()))
}

/// Whether a pattern covers a path.
#[must_use]
pub fn matches(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if part_matches(pattern, part) => {}
            _ => return false,
        }
    }
}

/// One part.
fn part_matches(pattern: &str, part: &str) -> bool {
    let symbols = |text: &str| text.chars().collect::<Vec<char>>();
    glob::matches_with(&symbols(pattern), &symbols(part), '*', |pattern, c| {
        step(pattern, *c)
    })
}

/// Matches one character; gives the length of what matched it.
fn step(pattern: &[char], c: char) -> Option<usize> {
    match *pattern.first()? {
        '?' => Some(1),
        '[' => match set(pattern, c) {
            Some((matched, length)) => matched.then_some(length),
            // Never closed: an ordinary character.
            None => (c == '[').then_some(1),
        },
        plain => (plain == c).then_some(1),
    }
}

/// A set in brackets: whether it has the character, and its length.
fn set(pattern: &[char], c: char) -> Option<(bool, usize)> {
    let negated = pattern.get(1) == Some(&'!');
    let first = 1 + usize::from(negated);
    // A bracket right at the start is a member.
    let end = first + 1 + pattern.get(first + 1..)?.iter().position(|c| *c == ']')?;
    let members = &pattern[first..end];
    let mut found = false;
    let mut i = 0;
    while i < members.len() {
        if i + 2 < members.len() && members[i + 1] == '-' {
            found |= (members[i]..=members[i + 2]).contains(&c);
            i += 3;
        } else {
            found |= members[i] == c;
            i += 1;
        }
    }
    Some((found != negated, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_are_those_of_the_shell() {
        for (pattern, path, expected) in [
            ("*", "a", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("channels/*.json", "channels/stable.json", true),
            ("channels/*.json", "channels/x/stable.json", false),
            ("foo-?.tgz", "foo-1.tgz", true),
            ("foo-?.tgz", "foo-alpha.tgz", false),
            ("*.md", "README.MD", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[x", "[x", true),
            ("", "", true),
            ("a", "", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn prefixes_of_hashes_cover() {
        let mut role = DelegatedRole {
            name: "x".into(),
            keys: crate::metadata::RoleKeys {
                keyids: vec![],
                threshold: 1,
                extra: Default::default(),
            },
            terminating: false,
            paths: None,
            path_hash_prefixes: Some(vec![sha256_hex(b"a/b")[..3].to_owned()]),
        };
        assert!(covers(&role, "a/b"));
        assert!(!covers(&role, "a/c"));
        role.path_hash_prefixes = Some(vec![]);
        assert!(!covers(&role, "a/b"));
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = "*a".repeat(500) + "b";
        assert!(!matches(&pattern, &"a".repeat(10_000)));
    }

    proptest! {
        #[test]
        fn no_pattern_makes_it_panic(pattern in "[a\\[\\]!*?/-]{0,30}", path in "[a\\[\\]!/-]{0,30}") {
            let _ = matches(&pattern, &path);
        }

        #[test]
        fn a_text_without_wildcards_matches_itself(text in "[a-z/.]{0,30}") {
            prop_assert!(matches(&text, &text));
        }
    }
}
