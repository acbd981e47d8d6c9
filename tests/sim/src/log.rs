//! What happened to a robot, for people who read failures.

use std::fmt;
use surefoot_core::machine::Effect;

/// Everything that happened, oldest first. It is put into words only where somebody reads it.
#[derive(Debug, Clone, Default)]
pub struct Log(Vec<Line>);

#[derive(Debug, Clone)]
enum Line {
    /// Something befell the robot.
    Note(String),
    /// The agent took this event, and was in this state then.
    Step(&'static str, &'static str),
    /// It had this done.
    Effect(Effect),
}

impl Log {
    /// Something befell the robot.
    pub(crate) fn note(&mut self, what: impl Into<String>) {
        self.0.push(Line::Note(what.into()));
    }

    pub(crate) fn step(&mut self, event: &'static str, state: &'static str) {
        self.0.push(Line::Step(event, state));
    }

    pub(crate) fn effect(&mut self, effect: &Effect) {
        self.0.push(Line::Effect(effect.clone()));
    }

    /// Whether a line contains these words.
    #[must_use]
    pub fn contains(&self, words: &str) -> bool {
        self.0.iter().any(|line| line.to_string().contains(words))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note(what) => f.write_str(what),
            Self::Step(event, state) => write!(f, "{event} -> {state}"),
            Self::Effect(effect) => write!(f, "  {effect:?}"),
        }
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.0 {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}
