//! Drawing on a terminal: only what changed is sent, since a serial console takes a second for a page.

use super::view::Size;
use std::fmt::Write as _;

/// What stands on the terminal.
#[derive(Debug, Default)]
pub(super) struct Canvas {
    shown: Vec<String>,
    size: Option<Size>,
}

impl Canvas {
    /// What has to be sent to have these lines there, in the control sequences that a VT100 knows. Every
    /// line fits the terminal. The cursor ends below them.
    pub(super) fn show(&mut self, lines: Vec<String>, size: Size) -> String {
        let mut send = String::new();
        if self.size != Some(size) {
            // What a terminal makes of its lines when its size changes is not known: begin anew.
            self.shown.clear();
            self.size = Some(size);
            send.push_str("\x1b[H\x1b[2J");
        }
        // Writing to a String cannot fail.
        for (n, line) in lines.iter().enumerate() {
            if self.shown.get(n) != Some(line) {
                let _ = write!(send, "\x1b[{};1H{line}\x1b[K", n + 1);
            }
        }
        for n in lines.len()..self.shown.len() {
            let _ = write!(send, "\x1b[{};1H\x1b[K", n + 1);
        }
        if !send.is_empty() {
            let below = (lines.len() + 1).min(size.lines);
            let _ = write!(send, "\x1b[{below};1H");
        }
        self.shown = lines;
        send
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size {
        columns: 80,
        lines: 24,
    };

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(Into::into).collect()
    }

    #[test]
    fn the_terminal_shows_what_was_drawn_last() {
        let mut terminal = vt100::Parser::new(24, 80, 0);
        let mut canvas = Canvas::default();
        for text in ["one\ntwo\nthree", "one\n2\nthree", "one", "a\nb\nc\nd", ""] {
            terminal.process(canvas.show(lines(text), SIZE).as_bytes());
            assert_eq!(terminal.screen().contents().trim_end(), text);
        }
    }

    #[test]
    fn only_what_changed_is_sent() {
        let mut canvas = Canvas::default();
        canvas.show(lines("one\ntwo\nthree"), SIZE);
        assert_eq!(canvas.show(lines("one\ntwo\nthree"), SIZE), "");
        let sent = canvas.show(lines("one\n2\nthree"), SIZE);
        assert_eq!(sent, "\x1b[2;1H2\x1b[K\x1b[4;1H");
        let narrow = Size {
            columns: 40,
            ..SIZE
        };
        let sent = canvas.show(lines("one\n2\nthree"), narrow);
        assert!(sent.contains("\x1b[2J") && sent.contains("one"), "{sent:?}");
    }
}
