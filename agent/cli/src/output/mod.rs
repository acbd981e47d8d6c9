//! Text for terminals.

use std::io::{IsTerminal, Write};

/// Whether standard output takes colours: it is a terminal, and nobody said otherwise
/// (<https://no-color.org>).
pub(crate) fn colours() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal()
        && !set("NO_COLOR")
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// Whether there are colours.
    pub(crate) on: bool,
}

impl Style {
    /// For what standard output is.
    pub(crate) fn detect() -> Self {
        Self { on: colours() }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.on {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    /// What is good.
    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// What is on its way, or wants to be looked at.
    pub(crate) fn busy(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// What is bad.
    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// What stands behind.
    pub(crate) fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// What stands out.
    pub(crate) fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }
}

/// Text from elsewhere, safe to show: a unit's journal may hold anything, escape sequences for the
/// terminal included.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Prints to standard output. A reader that went away is no failure.
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

/// Prints one JSON object.
///
/// # Errors
/// As for [`print`].
pub(crate) fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string(value)?))
}
