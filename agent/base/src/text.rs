//! Text that others wrote and people read: what is not seen, or changes how the rest is seen, is
//! refused where it comes in ([`hidden`]) and written out where it is shown ([`escaped`],
//! [`shown`]).

use std::fmt::{self, Write as _};

/// So many characters of a text from outside stand in a message, where nothing else is said.
pub const SHOWN: usize = 200;

/// Whether a character is not seen, or changes how others are seen: control characters, line and
/// paragraph separators, marks and overrides of the writing direction, characters of no width,
/// variation selectors and tags. Two texts that differ in these alone look the same, and one with
/// them may look like another.
///
/// The ranges are Unicode's `Cc`, `Zl`, `Zp`, `Bidi_Control` and `Default_Ignorable_Code_Point`, the
/// interlinear annotations, the blank of braille, and what is for private use (`Co`), which each font shows as it
/// likes or not at all.
#[must_use]
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{e000}'..='\u{f8ff}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
                | '\u{f0000}'..='\u{10ffff}'
        )
}

/// The first character of a text that [is hidden](is_hidden), in words for whoever wrote it.
#[must_use]
pub fn hidden(text: &str) -> Option<String> {
    let c = text.chars().find(|c| is_hidden(*c))?;
    let kind = if c.is_control() {
        "control"
    } else {
        "invisible"
    };
    Some(format!("the {kind} character U+{:04X}", u32::from(c)))
}

/// The text with every [hidden](is_hidden) character written out as `\u{202e}`; tabs become
/// blanks.
#[must_use]
pub fn escaped(text: &str) -> String {
    shown_within(text, usize::MAX).to_string()
}

/// A text from outside for a message: [escaped](escaped), and cut after [`SHOWN`] characters.
#[must_use]
pub const fn shown<T: fmt::Display>(text: T) -> Shown<T> {
    shown_within(text, SHOWN)
}

/// A text from outside for a message: [escaped](escaped), and cut after `most` characters. What is
/// cut ends in `…`.
#[must_use]
pub const fn shown_within<T: fmt::Display>(text: T, most: usize) -> Shown<T> {
    Shown { text, most }
}

/// See [`shown`].
#[derive(Debug, Clone, Copy)]
pub struct Shown<T> {
    text: T,
    most: usize,
}

impl<T: fmt::Display> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut escape = Escape {
            to: f,
            left: Some(self.most),
        };
        write!(escape, "{}", self.text)
    }
}

/// Escapes what is written to it.
struct Escape<'a, 'b> {
    to: &'a mut fmt::Formatter<'b>,
    /// So many characters may follow; `None` once it was cut.
    left: Option<usize>,
}

impl fmt::Write for Escape<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Most texts are good as they are.
        if self.left.is_some_and(|left| text.len() <= left) && hidden_free(text) {
            self.left = self.left.map(|left| left - text.chars().count());
            return self.to.write_str(text);
        }
        for c in text.chars() {
            let Some(left) = self.left else {
                return Ok(());
            };
            let long = c.escape_unicode();
            let (plain, length) = match c {
                '\t' => (Some(' '), 1),
                c if is_hidden(c) => (None, long.len()),
                c => (Some(c), 1),
            };
            self.left = left.checked_sub(length);
            match (self.left, plain) {
                (None, _) => self.to.write_char('…')?,
                (_, Some(c)) => self.to.write_char(c)?,
                (_, None) => write!(self.to, "{long}")?,
            }
        }
        Ok(())
    }
}

fn hidden_free(text: &str) -> bool {
    !text.chars().any(is_hidden)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_seen_is_found_and_named() {
        for text in [
            "drops things",
            "fällt um, 3 × täglich – «ja»",
            "把手 مقبض рука 🤖",
            "a\u{301}",
        ] {
            assert_eq!(hidden(text), None, "{text}");
        }
        for (c, kind) in [
            ('\n', "control"),
            ('\u{1b}', "control"),
            ('\u{9b}', "control"),
            ('\u{ad}', "invisible"),
            ('\u{61c}', "invisible"),
            ('\u{200b}', "invisible"),
            ('\u{200d}', "invisible"),
            ('\u{200e}', "invisible"),
            ('\u{2028}', "invisible"),
            ('\u{2029}', "invisible"),
            ('\u{202a}', "invisible"),
            ('\u{202e}', "invisible"),
            ('\u{2060}', "invisible"),
            ('\u{2066}', "invisible"),
            ('\u{2069}', "invisible"),
            ('\u{fe0f}', "invisible"),
            ('\u{feff}', "invisible"),
            ('\u{e0041}', "invisible"),
            ('\u{e01ef}', "invisible"),
        ] {
            let said = hidden(&format!("a{c}b")).unwrap();
            assert!(said.contains(kind), "{said}");
            assert!(said.ends_with(&format!("U+{:04X}", u32::from(c))), "{said}");
        }
    }

    #[test]
    fn what_is_shown_is_escaped_and_cut() {
        assert_eq!(escaped("a\tb\u{202e}c\n"), "a b\\u{202e}c\\u{a}");
        assert_eq!(shown_within("abc", 3).to_string(), "abc");
        assert_eq!(shown_within("abcd", 3).to_string(), "abc…");
        assert_eq!(shown_within("ab\n", 3).to_string(), "ab…");
        assert_eq!(shown_within("äöü", 3).to_string(), "äöü");
        assert_eq!(shown("x".repeat(480_000)).to_string().chars().count(), 201);
        // Written in pieces.
        let pieces = format_args!("{}{}{}", "ab", 12, "cd").to_string();
        assert_eq!(shown_within(pieces, 5).to_string(), "ab12c…");
        assert_eq!(
            shown_within(format_args!("{}{}", "a\u{200b}", 1), 8).to_string(),
            "a…"
        );
    }

    proptest! {
        #[test]
        fn nothing_that_is_shown_is_hidden_or_long(text: String, most in 0usize..40) {
            let short = shown_within(&text, most).to_string();
            prop_assert!(short.chars().count() <= most + 1);
            let all = escaped(&text);
            prop_assert!(!all.chars().any(is_hidden), "{all:?}");
            prop_assert_eq!(&escaped(&all), &all);
            prop_assert!(short == all || all.starts_with(short.trim_end_matches('…')));
        }
    }
}
