//! What commands print: one JSON object for programs, or text for people.

mod progress;
mod terminal;

pub(crate) use progress::Bar;
pub(crate) use terminal::{Style, sanitize};

use serde::Serialize;
use std::io::Write as _;

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
            print(&format!("{}\n", serde_json::to_string(object)?))?;
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

/// Prints to standard output as it is. A reader that went away is no failure.
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
    eprintln!("surefoot: {text}");
}
