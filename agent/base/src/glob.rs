//! Patterns of the shell: `*` for any text, `?` for one character.
//!
//! The whole text must fit. Matching takes no stack and no longer than the product of the lengths,
//! because only the last `*` is ever tried again.

/// Whether a pattern of `*` (any bytes) and `?` (one byte) fits the whole of a text. Every other
/// byte stands for itself.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    matches_with(
        pattern.as_bytes(),
        text.as_bytes(),
        b'*',
        |pattern, byte| {
            let first = pattern[0];
            (first == b'?' || first == *byte).then_some(1)
        },
    )
}

/// Whether a pattern fits the whole of a text, in a language of one's own: `star` stands for any
/// text, and `one` says how much of a pattern's beginning one symbol of the text takes, `None` if
/// it does not fit. The pattern that `one` is given is never empty.
pub fn matches_with<T: PartialEq>(
    pattern: &[T],
    text: &[T],
    star: T,
    one: impl Fn(&[T], &T) -> Option<usize>,
) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when a later part does not fit: after the last star, one symbol on.
    let mut retry = None;
    while t < text.len() {
        let rest = &pattern[p..];
        if rest.first() == Some(&star) {
            p += 1;
            retry = Some((p, t + 1));
            continue;
        }
        let taken = if rest.is_empty() {
            None
        } else {
            one(rest, &text[t])
        };
        match (taken, retry) {
            (Some(taken), _) => {
                p += taken;
                t += 1;
            }
            (None, Some((after_star, next))) => {
                p = after_star;
                t = next;
                retry = Some((after_star, next + 1));
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|symbol| *symbol == star)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_are_those_of_the_shell() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
            ("*", "", true),
            ("*", "a/b", true),
            ("?", "", false),
            ("?", "a", true),
            ("a*", "a", true),
            ("*a", "ba", true),
            ("*a", "ab", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("a**c", "abc", true),
            ("*.service", "x.service", true),
            ("*.service", "x.servicf", false),
            ("[a]", "[a]", true),
            ("[a]", "a", false),
            (r"dev-a\x2db.device", r"dev-a\x2db.device", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = "*a".repeat(500) + "b";
        assert!(!matches(&pattern, &"a".repeat(10_000)));
    }

    /// What a pattern means, word for word, however long it takes.
    fn meaning(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, _) => text.is_empty(),
            (Some((b'*', rest)), None) => meaning(rest, text),
            (Some((b'*', rest)), Some((_, behind))) => {
                meaning(rest, text) || meaning(pattern, behind)
            }
            (Some((p, rest)), Some((t, behind))) => (*p == b'?' || p == t) && meaning(rest, behind),
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn it_means_what_it_says(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            prop_assert_eq!(
                matches(&pattern, &text),
                meaning(pattern.as_bytes(), text.as_bytes())
            );
        }
    }
}
