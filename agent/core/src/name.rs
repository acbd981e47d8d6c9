//! Names of channels, models and releases, and the labels of robots.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use surefoot_base::text::shown;

/// A name of a channel, a model or a release: 1 to 100 characters from `A-Za-z0-9._+-`, starting
/// with a letter or digit. So it can stand in a file name, a URL and a log line as it is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let good = (1..=100).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b));
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError(text.chars().take(120).collect()))
        }
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that cannot be a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{}' is not a name for a channel, model or release; use 1 to 100 characters from A-Z a-z 0-9 . _ + - and start with a letter or digit",
    shown(.0)
)]
pub struct NameError(String);

/// Something that tells robots of one model apart, as `KEY=VALUE`: `site=hall-3`. Both are
/// [`Name`]s.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label {
    /// What it is about.
    pub key: Name,
    /// What it says.
    pub value: Name,
}

impl Label {
    /// Whether a robot with these labels has, for each key in `wanted`, one of its values there.
    #[must_use]
    pub fn fit(wanted: &[Self], labels: &[Self]) -> bool {
        wanted.iter().all(|one| {
            let mut same = wanted.iter().filter(|other| other.key == one.key);
            same.any(|label| labels.contains(label))
        })
    }
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| LabelError::Shape(text.chars().take(120).collect()))?;
        Ok(Self {
            key: key.parse()?,
            value: value.parse()?,
        })
    }
}

impl TryFrom<String> for Label {
    type Error = LabelError;

    fn try_from(text: String) -> Result<Self, LabelError> {
        text.parse()
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.to_string()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// A text that cannot be a [`Label`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// There is no `=`.
    #[error("'{}' is not a label; write KEY=VALUE, such as site=hall-3", shown(.0))]
    Shape(String),
    /// One of its parts is not a name.
    #[error(transparent)]
    Name(#[from] NameError),
}
