//! Questions to whoever sits at the terminal, one line each: a serial console has no more.

use std::io::{self, BufRead, IsTerminal as _, Read as _, Write};

/// Characters of an answer that are read, at most.
const MAX_ANSWER: u64 = 4096;

/// Somebody who can be asked.
pub(crate) struct Dialogue<'a> {
    answers: Box<dyn BufRead + 'a>,
    questions: Box<dyn Write + 'a>,
}

impl Dialogue<'static> {
    /// Whoever sits at the terminal; nobody where standard input or output is something else.
    pub(crate) fn at_terminal() -> Option<Self> {
        (io::stdin().is_terminal() && io::stdout().is_terminal())
            .then(|| Self::new(io::stdin().lock(), io::stdout()))
    }
}

impl<'a> Dialogue<'a> {
    /// Questions go one way, answers come the other.
    pub(crate) fn new(answers: impl BufRead + 'a, questions: impl Write + 'a) -> Self {
        Self {
            answers: Box::new(answers),
            questions: Box::new(questions),
        }
    }

    /// Shows some lines.
    ///
    /// # Errors
    /// The terminal takes nothing.
    pub(crate) fn say(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.questions, "{text}")
    }

    /// Asks, and gives the line that was typed, without the space around it. `None`: the input has ended.
    ///
    /// # Errors
    /// The terminal takes or gives nothing, or what was typed is not text.
    pub(crate) fn ask(&mut self, question: &str) -> io::Result<Option<String>> {
        write!(self.questions, "{question} ")?;
        self.questions.flush()?;
        let mut answer = String::new();
        let read = (&mut self.answers)
            .take(MAX_ANSWER)
            .read_line(&mut answer)?;
        if read == 0 {
            // The shell's prompt shall not stand behind the question.
            writeln!(self.questions)?;
            return Ok(None);
        }
        Ok(Some(answer.trim().to_owned()))
    }

    /// Asks for yes or no until one of them comes; the end of the input is a no.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub(crate) fn agrees(&mut self, question: &str) -> io::Result<bool> {
        loop {
            match self.ask(&format!("{question} [y/N]"))?.as_deref() {
                Some("y" | "Y" | "yes" | "Yes" | "YES") => return Ok(true),
                None | Some("" | "n" | "N" | "no" | "No" | "NO") => return Ok(false),
                Some(_) => self.say("Type y for yes, or n for no.")?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_a_yes() {
        for (typed, agrees) in [
            ("y\n", true),
            ("  yes \n", true),
            ("\n", false),
            ("n\n", false),
            ("perhaps\ny\n", true),
            ("perhaps\n", false),
            ("", false),
        ] {
            let mut asked = Vec::new();
            let mut dialogue = Dialogue::new(typed.as_bytes(), &mut asked);
            assert_eq!(dialogue.agrees("Go?").unwrap(), agrees, "{typed:?}");
            drop(dialogue);
            assert!(String::from_utf8(asked).unwrap().starts_with("Go? [y/N] "));
        }
    }

    #[test]
    fn an_answer_without_an_end_is_cut() {
        let endless = io::BufReader::new(io::repeat(b'y'));
        let mut dialogue = Dialogue::new(endless, io::sink());
        let answer = dialogue.ask("Which?").unwrap().unwrap();
        assert_eq!(answer.len(), 4096);
    }
}
