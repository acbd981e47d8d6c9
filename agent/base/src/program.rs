//! Programs that end in time, leave nothing behind, and cost no more memory than was asked for.

use std::{
    io,
    process::{Command, ExitStatus},
    time::Duration,
};

/// How a program ended, and what it printed.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: Printed,
    /// What it complained of.
    pub stderr: Printed,
}

/// How many lines go into a message, and how many characters of each.
const LAST_WORDS: (usize, usize) = (5, 300);

/// One output of a program, as much of its end as was asked for.
#[derive(Debug, Default)]
pub struct Printed {
    bytes: Vec<u8>,
    limit: usize,
    cut: bool,
}

impl Printed {
    /// The end of it, for people.
    #[must_use]
    pub fn end(&self) -> &[u8] {
        &self.bytes
    }

    /// Its last words, for a message: one line of a bearable length.
    #[must_use]
    pub fn last_words(&self) -> String {
        let mut lines = last_lines(&self.bytes, LAST_WORDS.0, LAST_WORDS.1);
        lines.retain(|line| !line.trim().is_empty());
        lines.join("; ")
    }

    /// All of it as text, to be understood by a program: half of an output may say something else
    /// than all of it.
    ///
    /// # Errors
    /// [`ProgramError::TooMuch`].
    pub fn whole(&self) -> Result<String, ProgramError> {
        if self.cut {
            return Err(ProgramError::TooMuch(self.limit));
        }
        Ok(String::from_utf8_lossy(&self.bytes).into_owned())
    }
}

/// Why there is no end of a program to tell of.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It cannot be started, or not be listened to.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It did not end in time, and was killed.
    #[error("no answer within {} ms", .0.as_millis())]
    TooLate(Duration),
    /// It printed more than is read: what is left of it cannot be understood.
    #[error("it printed more than {0} bytes")]
    TooMuch(usize),
}

/// What a program may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long it may run; then it is killed.
    pub time: Duration,
    /// How much is kept of each of its outputs, bytes: the end is what tells. Never more than twice
    /// this, and a little, is held in memory.
    pub output: usize,
}

#[cfg(feature = "tokio")]
mod running;
#[cfg(feature = "tokio")]
pub use running::{Left, Unended, attempt, run, run_blocking};

/// A program with its arguments, for messages.
#[must_use]
pub fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The last lines of what a program printed, each cut after `width` characters. Control characters
/// are left out: not every reader of JSON takes them.
#[must_use]
pub fn last_lines(printed: &[u8], count: usize, width: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(printed);
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| {
            let shown = line.chars().filter(|c| !c.is_control());
            shown.take(width).collect()
        })
        .collect();
    lines.drain(..lines.len().saturating_sub(count));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_cut() {
        let lines = last_lines("a\nübel\n\nlonger\n".as_bytes(), 3, 2);
        assert_eq!(lines, ["üb", "", "lo"]);
        assert!(last_lines(b"", 3, 2).is_empty());
        assert_eq!(last_lines(b"a\0\x1bb\n\0\0", 3, 2), ["ab", ""]);
    }

    #[test]
    fn last_words_are_one_line_of_a_bearable_length() {
        let printed = |text: String| Printed {
            bytes: text.into_bytes(),
            limit: 1 << 20,
            cut: false,
        };
        let words = printed("one\n\nno room\u{7}\n".to_owned()).last_words();
        assert_eq!(words, "one; no room");
        assert_eq!(
            printed("a".repeat(1 << 20)).last_words().len(),
            LAST_WORDS.1
        );
        let flood = printed("no\n".repeat(1 << 18)).last_words();
        assert_eq!(flood, ["no"; LAST_WORDS.0].join("; "));
    }

    #[test]
    fn messages_name_a_program_with_its_arguments() {
        let mut command = Command::new("bootctl");
        command.args(["set-oneshot", "x.conf"]);
        assert_eq!(words(&command), "bootctl set-oneshot x.conf");
    }
}
