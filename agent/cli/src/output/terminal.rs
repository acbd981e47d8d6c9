//! Text for terminals.

use anstyle::AnsiColor;
use std::io::IsTerminal as _;

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    coloured: bool,
}

impl Style {
    /// No colours.
    pub(crate) const PLAIN: Self = Self { coloured: false };

    /// With colours.
    #[cfg(test)]
    pub(crate) const COLOURED: Self = Self { coloured: true };

    /// Colours, if standard output is a terminal that takes them, and nobody said otherwise
    /// (<https://no-color.org>).
    pub(crate) fn detect() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let coloured = std::io::stdout().is_terminal()
            && !set("NO_COLOR")
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { coloured }
    }

    fn paint(self, style: anstyle::Style, text: &str) -> String {
        if self.coloured {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    /// What is good.
    pub(crate) fn good(self, text: &str) -> String {
        self.paint(AnsiColor::Green.on_default(), text)
    }

    /// What is on its way, or wants to be looked at.
    pub(crate) fn busy(self, text: &str) -> String {
        self.paint(AnsiColor::Yellow.on_default(), text)
    }

    /// What is bad.
    pub(crate) fn bad(self, text: &str) -> String {
        self.paint(AnsiColor::Red.on_default(), text)
    }

    /// What stands behind.
    pub(crate) fn faint(self, text: &str) -> String {
        self.paint(anstyle::Style::new().dimmed(), text)
    }

    /// What stands out.
    pub(crate) fn strong(self, text: &str) -> String {
        self.paint(anstyle::Style::new().bold(), text)
    }
}
