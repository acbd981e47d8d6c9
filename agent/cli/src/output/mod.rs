//! What commands print: one JSON object for programs, or text for people.

mod dialogue;
mod progress;
mod terminal;

pub(crate) use dialogue::Dialogue;
pub(crate) use progress::Bar;
/// Text from elsewhere, safe to show: a unit's journal may hold anything, escape sequences for the
/// terminal included.
pub(crate) use surefoot_base::text::escaped as sanitize;
pub(crate) use terminal::Style;

use serde::Serialize;
use std::{fmt::Write as _, io::Write as _};
use surefoot_base::text::is_hidden;

/// For whom a command prints: programs (`--json`) or people.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    style: Style,
}

impl Output {
    /// For what standard output is.
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            style: Style::detect(),
        }
    }

    /// Whether it is for programs.
    pub(crate) const fn is_json(self) -> bool {
        self.json
    }

    /// How text for people looks.
    pub(crate) const fn style(self) -> Style {
        self.style
    }

    /// Prints what a command comes to, as an object for programs or as text for people.
    ///
    /// # Errors
    /// As for [`print`].
    pub(crate) fn result(
        self,
        object: &impl Serialize,
        text: impl FnOnce(Style) -> String,
    ) -> anyhow::Result<()> {
        if self.json {
            self.object(object)
        } else {
            self.text(&text(self.style))
        }
    }

    /// Prints an object on a line of its own; for people, nothing.
    ///
    /// # Errors
    /// As for [`print`].
    pub(crate) fn object(self, object: &impl Serialize) -> anyhow::Result<()> {
        if self.json {
            print(&format!("{}\n", json(object)?))?;
        }
        Ok(())
    }

    /// Prints a text and ends its line; for programs, nothing.
    ///
    /// # Errors
    /// As for [`print`].
    pub(crate) fn text(self, text: &str) -> anyhow::Result<()> {
        if !self.json {
            print(&format!("{text}\n"))?;
        }
        Ok(())
    }
}

/// An object as JSON, the same for programs whatever its texts hold, and safe to show: what people
/// would not see stands as `\u202e` in it. JSON itself only asks that of the first 32 characters.
fn json(object: &impl Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string(object)?;
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    Ok(safe)
}

/// Prints to standard output as it is. A reader that went away is not a failure.
///
/// # Errors
/// Anything else that keeps it from being written: a full disk.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Says something beside the result, on standard error, whoever reads the result.
pub(crate) fn notice(text: &str) {
    let lines: Vec<String> = text.lines().map(sanitize).collect();
    eprintln!("surefoot: {}", lines.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_safe_to_show_and_says_the_same_of_every_character() {
        let text: String = ('\0'..=char::MAX).collect();
        let json = json(&text).unwrap();
        assert!(!json.chars().any(is_hidden));
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn what_turns_the_writing_is_written_out() {
        assert_eq!(
            json(&"a\u{202e}b\u{e0041}").unwrap(),
            r#""a\u202eb\udb40\udc41""#
        );
    }
}
