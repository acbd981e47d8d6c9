//! What can be wrong with a configuration, and where.

use super::limits::{MAX_DROP_INS, MAX_FILE_BYTES};
use std::{fmt, path::PathBuf, sync::Arc};

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The file.
    pub(crate) file: Arc<PathBuf>,
    /// Line from 1, and column in characters from 1; none if it is about the file as a whole.
    pub(crate) at: Option<(usize, usize)>,
}

impl Place {
    /// A whole file.
    pub(crate) fn file(path: impl Into<PathBuf>) -> Self {
        Self {
            file: Arc::new(path.into()),
            at: None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        match self.at {
            Some((line, column)) => write!(f, ":{line}:{column}"),
            None => Ok(()),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {what}")]
pub(crate) struct Problem {
    /// Where.
    pub(crate) place: Place,
    /// What, and what to do.
    pub(crate) what: What,
}

/// What is wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum What {
    /// The file or directory cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(std::io::Error),
    /// Neither a file nor a link to one.
    #[error("it is not a regular file")]
    NotAFile,
    /// More than [`MAX_FILE_BYTES`].
    #[error("it has more than {} KiB; a configuration never needs that", MAX_FILE_BYTES >> 10)]
    TooLarge,
    /// More than [`MAX_DROP_INS`].
    #[error("it holds more than {} files", MAX_DROP_INS)]
    TooMany,
    /// Not UTF-8.
    #[error("it is not UTF-8")]
    Encoding,
    /// Not TOML.
    #[error("{0}")]
    Syntax(String),
    /// No such key or table.
    #[error("there is no key '{key}'{}", meant(.nearest.as_deref()))]
    UnknownKey {
        /// The key, with its tables.
        key: String,
        /// The nearest key that exists.
        nearest: Option<String>,
    },
    /// A table stands where a value must, or the other way round.
    #[error("'{key}' must be {expected}, found {found}")]
    Shape {
        /// The key.
        key: String,
        /// `a table: [poll]`, …
        expected: String,
        /// What stands there.
        found: String,
    },
    /// A value of a wrong type, unit or form.
    #[error("{key}: expected {expected}, found {found}{}", because(.why.as_deref()))]
    Value {
        /// The key.
        key: String,
        /// What to write.
        expected: String,
        /// What stands there.
        found: String,
        /// Why that does not do.
        why: Option<String>,
    },
    /// A value of the right type but outside its range.
    #[error("{key}: {found} is out of range; allowed is {low} to {high}")]
    Range {
        /// The key.
        key: String,
        /// What stands there.
        found: String,
        /// The lowest allowed value.
        low: &'static str,
        /// The highest allowed value.
        high: &'static str,
    },
    /// A key without a default is not set anywhere.
    #[error("'{key}' must be set: expected {expected}")]
    Missing {
        /// The key.
        key: String,
        /// What to write.
        expected: &'static str,
    },
    /// Two entries of a list have the same name.
    #[error("{list}: there already is an entry with the name '{name}'")]
    Twice {
        /// The list.
        list: String,
        /// The name.
        name: String,
    },
    /// Settings that exclude each other.
    #[error("{0}")]
    Impossible(String),
}

fn meant(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |key| format!("; did you mean '{key}'?"))
}

fn because(why: Option<&str>) -> String {
    why.map_or_else(String::new, |why| format!(": {why}"))
}

/// Everything that is wrong with a configuration, at least one thing, by file and line.
#[derive(Debug, thiserror::Error)]
#[error("{}", lines(.0))]
pub(crate) struct ConfigError(pub(crate) Vec<Problem>);

impl ConfigError {
    /// The first few, in one line.
    pub(crate) fn brief(&self) -> String {
        const SHOWN: usize = 3;
        let shown = self.0.iter().take(SHOWN).map(ToString::to_string);
        let mut text = shown.collect::<Vec<_>>().join("; ").replace('\n', " ");
        let more = self.0.len().saturating_sub(SHOWN);
        if more > 0 {
            text.push_str(&format!("; and {more} more"));
        }
        text
    }
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
