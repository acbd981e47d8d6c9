//! The types that a setting can have, and how each is read from TOML.

use jiff::civil::Weekday;
use reqwest::Url;
use std::{ffi::OsString, fmt, path::PathBuf, time::Duration};
use surefoot_base::{glob, text::hidden, units};
use surefoot_core::{
    closure::SignaturePolicy,
    gate, lease,
    release::{self, Name},
};
use toml::de::DeValue;

/// A type of settings.
pub(crate) trait Setting: Sized {
    /// Its name in the reference: `duration`.
    const KIND: &'static str;
    /// What to write, with an example; follows "expected".
    const EXPECTS: &'static str;
    /// Whether leaving the key out means something although there is no default.
    const OPTIONAL: bool = false;
    /// Whether it is a list of values, each of this type.
    const LIST: bool = false;
    /// The only values there are, for settings that choose one of a few words.
    const CHOICES: &'static [&'static str] = &[];

    /// What leaving the key out means, where that is allowed without a default.
    fn absent() -> Option<Self> {
        None
    }

    /// Reads a value.
    ///
    /// # Errors
    /// Why it is not one, in words that follow the value; `None` if its TOML type already is wrong.
    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>>;
}

fn text<'a>(value: &'a DeValue<'_>) -> Result<&'a str, Option<String>> {
    value.as_str().ok_or(None)
}

fn why(error: impl fmt::Display) -> Option<String> {
    Some(error.to_string())
}

impl Setting for Duration {
    const KIND: &'static str = "duration";
    const EXPECTS: &'static str = "a duration such as \"30s\", \"10min\" or \"1h 30min\"";

    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        units::parse_duration(text(value)?).map_err(why)
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bytes(pub(crate) u64);

impl Setting for Bytes {
    const KIND: &'static str = "size";
    const EXPECTS: &'static str = "a size such as \"512MiB\" or \"2GiB\"";

    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        units::parse_bytes(text(value)?).map(Self).map_err(why)
    }
}

/// A time of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) struct TimeOfDay(pub(crate) jiff::civil::Time);

impl Setting for TimeOfDay {
    const KIND: &'static str = "time of day";
    const EXPECTS: &'static str = "a time of day such as \"22:30\"";

    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        let time = jiff::civil::Time::strptime("%H:%M", text(value)?);
        time.map(Self)
            .map_err(|_| why("it is not of the form HH:MM"))
    }
}

impl Setting for bool {
    const KIND: &'static str = "boolean";
    const EXPECTS: &'static str = "true or false";

    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        value.as_bool().ok_or(None)
    }
}

impl Setting for u32 {
    const KIND: &'static str = "integer";
    const EXPECTS: &'static str = "a whole number";

    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        let integer = value.as_integer().ok_or(None)?;
        Self::from_str_radix(integer.as_str(), integer.radix())
            .map_err(|_| why("it is negative or too large"))
    }
}

impl Setting for f64 {
    const KIND: &'static str = "number";
    const EXPECTS: &'static str = "a number such as 0.2";

    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        let text = match value {
            DeValue::Float(float) => float.as_str().to_owned(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().to_owned(),
            _ => return Err(None),
        };
        text.parse()
            .ok()
            .filter(|number: &Self| number.is_finite())
            .ok_or_else(|| why("it is not finite"))
    }
}

impl Setting for Name {
    const KIND: &'static str = "name";
    const EXPECTS: &'static str = "a name such as \"stable\"";

    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        text(value)?.parse().map_err(why)
    }
}

/// See [`release::Label`].
#[derive(Debug, Clone)]
pub(crate) struct Label(pub(crate) release::Label);

impl Setting for Label {
    const KIND: &'static str = "label";
    const EXPECTS: &'static str = "a label such as \"site=hall-3\"";

    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        text(value)?.parse().map(Self).map_err(why)
    }
}

impl Setting for String {
    const KIND: &'static str = "text";
    const EXPECTS: &'static str = "a text of 1 to 200 printable characters";

    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        let text = text(value)?;
        if text.is_empty() || text.chars().count() > 200 {
            Err(why("it must have 1 to 200 characters"))
        } else if let Some(hidden) = hidden(text) {
            Err(why(format!("it must not have {hidden}")))
        } else {
            Ok(text.to_owned())
        }
    }
}

impl Setting for PathBuf {
    const KIND: &'static str = "path";
    const EXPECTS: &'static str = "an absolute path";

    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        let text = text(value)?;
        let path = Self::from(text);
        if let Some(hidden) = hidden(text) {
            Err(why(format!("it must not have {hidden}")))
        } else if !path.is_absolute() {
            Err(why("it must start with '/'"))
        } else if path.components().any(|part| part.as_os_str() == "..") {
            Err(why("it must not have '..'"))
        } else {
            Ok(path)
        }
    }
}

/// A file with a secret in it: an absolute path, or the name of one of the unit's systemd credentials
/// (`systemd.exec(5)`, `LoadCredential=`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Secret(PathBuf);

impl Secret {
    /// The file.
    pub(crate) fn file(&self) -> PathBuf {
        self.within(std::env::var_os("CREDENTIALS_DIRECTORY"))
    }

    fn within(&self, credentials: Option<OsString>) -> PathBuf {
        // Where they lie if the unit has some; an error then names the file that is missing.
        let usual = || "/run/credentials/surefootd.service".into();
        PathBuf::from(credentials.unwrap_or_else(usual)).join(&self.0)
    }
}

impl Setting for Secret {
    const KIND: &'static str = "secret file";
    const EXPECTS: &'static str = "an absolute path, or the name of a systemd credential";

    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        let name = text(value)?;
        let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !matches!(name, "" | "." | "..") && name.len() <= 255 && name.chars().all(good) {
            return Ok(Self(name.into()));
        }
        match PathBuf::read(value) {
            Ok(path) => Ok(Self(path)),
            Err(_) if !name.starts_with('/') => Err(why(
                "it neither starts with '/' nor is made of A-Z a-z 0-9 . _ -",
            )),
            Err(why) => Err(why),
        }
    }
}

/// Where a repository or a cache lies: `http`, `https` or `file`, without user, query or fragment.
impl Setting for Url {
    const KIND: &'static str = "URL";
    const EXPECTS: &'static str = "a URL such as \"https://updates.example.org/fleet\"";

    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        let url = Self::parse(text(value)?).map_err(why)?;
        if !url.username().is_empty() || url.password().is_some() {
            // The configuration lies world-readable in the Nix store and is shown in the status.
            Err(why("it must not carry a user or a password"))
        } else if url.query().is_some() || url.fragment().is_some() {
            Err(why("it must not have a query or a fragment"))
        } else {
            match url.scheme() {
                "http" | "https" => Ok(url),
                "file" if url.to_file_path().is_ok() => Ok(url),
                "file" => Err(why("it must name an absolute path: file:///srv/fleet")),
                scheme => Err(why(format!(
                    "'{scheme}' is not supported; use https, http or file"
                ))),
            }
        }
    }
}

/// A page to ask for: `http` or `https`, without a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpUrl(pub(crate) Url);

impl Setting for HttpUrl {
    const KIND: &'static str = "http URL";
    const EXPECTS: &'static str = "a URL such as \"http://localhost:8080/healthz\"";

    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        let url = Url::parse(text(value)?).map_err(why)?;
        if !url.username().is_empty() || url.password().is_some() {
            Err(why("it must not carry a user or a password"))
        } else if matches!(url.scheme(), "http" | "https") {
            Ok(Self(url))
        } else {
            Err(why(format!(
                "'{}' is not supported; use http or https",
                url.scheme()
            )))
        }
    }
}

/// A TCP address, as `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// A host name or an IP address, IPv6 without its brackets.
    pub(crate) host: String,
    /// The port, 1 to 65535.
    pub(crate) port: u16,
}

impl Setting for Address {
    const KIND: &'static str = "address";
    const EXPECTS: &'static str = "an address such as \"localhost:8080\" or \"[::1]:8080\"";

    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        let (host, port) = text(value)?
            .rsplit_once(':')
            .ok_or_else(|| why("it has no port"))?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| why("its port must be a number from 1 to 65535"))?;
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(host) => host
                .parse::<std::net::Ipv6Addr>()
                .map_err(|_| why("what stands in brackets is not an IPv6 address"))?
                .to_string(),
            None if host.contains(':') => {
                return Err(why("an IPv6 address must stand in brackets"));
            }
            None => host.to_owned(),
        };
        let good = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        if host.is_empty() || host.len() > 253 || !host.chars().all(good) {
            return Err(why("its host is neither a name nor an address"));
        }
        Ok(Self { host, port })
    }
}

/// A program and its arguments. Nothing is expanded: no shell is involved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exec(pub(crate) Vec<String>);

impl Setting for Exec {
    const KIND: &'static str = "command";
    const EXPECTS: &'static str =
        "a program and its arguments such as [\"/run/current-system/sw/bin/true\", \"--x\"]";

    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        let words = value.as_array().ok_or(None)?;
        let words: Vec<String> = words
            .iter()
            .map(|word| text(word.get_ref()).map(str::to_owned))
            .collect::<Result<_, _>>()?;
        match words.first() {
            None => Err(why("it is empty")),
            Some(program) if !program.starts_with('/') => {
                // A service has no useful PATH, and a relative path depends on where it starts.
                Err(why(format!("'{program}' must be an absolute path")))
            }
            Some(_) if words.iter().any(|word| word.contains('\0')) => {
                Err(why("it has a NUL character"))
            }
            Some(_) => Ok(Self(words)),
        }
    }
}

/// Whether a character may stand in the name of a unit: `systemd.unit(5)`.
fn in_unit_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || ":-_.\\@".contains(c)
}

/// The types of units: `systemd.unit(5)`.
const UNIT_TYPES: [&str; 11] = [
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
    "timer",
    "slice",
    "scope",
];

/// The full name of a systemd unit: `nginx.service`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitName(pub(crate) String);

impl Setting for UnitName {
    const KIND: &'static str = "unit";
    const EXPECTS: &'static str = "the full name of a unit such as \"nginx.service\"";

    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        let text = text(value)?;
        let known = text
            .rsplit_once('.')
            .is_some_and(|(stem, suffix)| !stem.is_empty() && UNIT_TYPES.contains(&suffix));
        if !known {
            Err(why(format!(
                "it must end with the type of the unit: '{text}.service'?"
            )))
        } else if text.len() > 255 || !text.chars().all(in_unit_name) {
            Err(why(
                "it may have 255 characters from A-Z a-z 0-9 : - _ . \\ @",
            ))
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

/// A pattern for names of units, as in a shell: `*` for any characters, `?` for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitGlob(String);

impl UnitGlob {
    /// Whether the whole name fits.
    pub(crate) fn matches(&self, unit: &str) -> bool {
        glob::matches(&self.0, unit)
    }
}

impl fmt::Display for UnitGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Setting for UnitGlob {
    const KIND: &'static str = "unit pattern";
    const EXPECTS: &'static str = "a pattern for names of units such as \"getty@*.service\"";

    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        let text = text(value)?;
        if text.is_empty() || text.len() > 255 {
            Err(why("it must have 1 to 255 characters"))
        } else if !text.chars().all(|c| in_unit_name(c) || "*?".contains(c)) {
            Err(why(
                "it may have A-Z a-z 0-9 : - _ . \\ @ and the wildcards * ?",
            ))
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

/// The name of a group of the robot: `group(5)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupName(pub(crate) String);

impl Setting for GroupName {
    const KIND: &'static str = "group";
    const EXPECTS: &'static str = "the name of a group such as \"technicians\"";

    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        let text = text(value)?;
        let good = (1..=31).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(why(
                "it must have 1 to 31 characters from A-Z a-z 0-9 _ - . and start with a letter or _",
            ))
        }
    }
}

impl<T: Setting> Setting for Option<T> {
    const KIND: &'static str = T::KIND;
    const EXPECTS: &'static str = T::EXPECTS;
    const OPTIONAL: bool = true;
    const LIST: bool = T::LIST;
    const CHOICES: &'static [&'static str] = T::CHOICES;

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        T::read(value).map(Some)
    }
}

/// See [`lease::Required`].
#[derive(Debug, Clone)]
pub(crate) struct Lease(pub(crate) lease::Required);

impl Setting for Lease {
    const KIND: &'static str = "lease";
    const EXPECTS: &'static str =
        "a lease such as \"gripper\" or { name = \"gripper\", user = \"ros\" }";

    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        let required = |name, user| Ok(Self(lease::Required { name, user }));
        let DeValue::Table(table) = value else {
            return required(Name::read(value)?, None);
        };
        let unknown = table.keys().map(|key| key.get_ref());
        if let Some(key) = unknown
            .into_iter()
            .find(|k| !["name", "user"].contains(&&***k))
        {
            return Err(why(format!(
                "a lease has a name and a user, and no '{key}'"
            )));
        }
        let name = table.get("name").map(|name| Name::read(name.get_ref()));
        let name = name.unwrap_or_else(|| Err(why("its name is missing")))?;
        let user = table.get("user").map(|user| user_name(user.get_ref()));
        required(name, user.transpose()?)
    }
}

/// A user by name or number. Whether there is one is only known when it speaks.
fn user_name(value: &DeValue<'_>) -> Result<String, Option<String>> {
    let name = text(value)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if (1..=32).contains(&name.len()) && name.chars().all(plain) {
        Ok(name.to_owned())
    } else {
        Err(why(format!("{name:?} is not a name or number of a user")))
    }
}

impl<T: Setting> Setting for Vec<T> {
    const KIND: &'static str = T::KIND;
    const CHOICES: &'static [&'static str] = T::CHOICES;
    const EXPECTS: &'static str = T::EXPECTS;
    const LIST: bool = true;

    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        let values = value.as_array().ok_or(None)?;
        values
            .iter()
            .enumerate()
            .map(|(index, value)| {
                T::read(value.get_ref()).map_err(|error| {
                    let error =
                        error.unwrap_or_else(|| format!("it is {}", describe(value.get_ref())));
                    Some(format!("entry {}: {error}", index + 1))
                })
            })
            .collect()
    }
}

/// Says what a value is, for an error: `the text "30"`.
pub(super) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => {
            let cut: String = text.chars().take(80).collect();
            format!("the text {cut:?}")
        }
        DeValue::Integer(number) => format!("the number {}", number.as_str()),
        DeValue::Float(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(boolean) => format!("{boolean}"),
        DeValue::Datetime(_) => "a date or time".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// Declares a setting that chooses one of a few words, each with what it means.
macro_rules! choice {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident = $word:literal,)* }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub(crate) enum $name {
            $($(#[doc = $vdoc])* #[serde(rename = $word)] $variant,)*
        }

        impl $crate::config::values::Setting for $name {
            const KIND: &'static str = "choice";
            const EXPECTS: &'static str = concat!("one of" $(, " \"", $word, "\"")*);
            const CHOICES: &'static [&'static str] = &[$($word),*];

            fn read(value: &::toml::de::DeValue<'_>) -> Result<Self, Option<String>> {
                match value.as_str().ok_or(None)? {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(None),
                }
            }
        }
    };
}

pub(crate) use choice;

impl Setting for SignaturePolicy {
    const KIND: &'static str = "choice";
    const EXPECTS: &'static str = "one of \"nix\", \"manifest\"";
    const CHOICES: &'static [&'static str] = &Self::NAMES;

    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        Self::named(text(value)?).ok_or(None)
    }
}

choice! {
    /// What to do when somebody switched the robot by hand.
    Drift {
        /// Say so, change nothing.
        Report = "report",
        /// Confirm what runs once it has proven healthy.
        Adopt = "adopt",
        /// Go back to what was confirmed.
        Restore = "restore",
    }
}

choice! {
    /// What a robot waits for whose memory was lost.
    AfterLoss {
        /// A release that was not there before.
        NextRelease = "next-release",
        /// `surefoot update`.
        Technician = "technician",
    }
}

choice! {
    /// A step of an update that gates are asked before.
    Stage {
        /// The repository is asked.
        Check = "check",
        /// Store paths are brought.
        Download = "download",
        /// What runs is changed, or made ready to be changed by a reboot.
        Activate = "activate",
        /// The robot reboots into a trial.
        Reboot = "reboot",
    }
}

impl From<Stage> for gate::Stage {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Check => Self::Check,
            Stage::Download => Self::Download,
            Stage::Activate => Self::Activate,
            Stage::Reboot => Self::Reboot,
        }
    }
}

choice! {
    /// A day of the week.
    Day {
        /// Monday.
        Mon = "mon",
        /// Tuesday.
        Tue = "tue",
        /// Wednesday.
        Wed = "wed",
        /// Thursday.
        Thu = "thu",
        /// Friday.
        Fri = "fri",
        /// Saturday.
        Sat = "sat",
        /// Sunday.
        Sun = "sun",
    }
}

impl From<Day> for Weekday {
    fn from(day: Day) -> Self {
        match day {
            Day::Mon => Self::Monday,
            Day::Tue => Self::Tuesday,
            Day::Wed => Self::Wednesday,
            Day::Thu => Self::Thursday,
            Day::Fri => Self::Friday,
            Day::Sat => Self::Saturday,
            Day::Sun => Self::Sunday,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_match_whole_names() {
        let glob = |text: &str| UnitGlob(text.into());
        assert!(glob("getty@*.service").matches("getty@tty1.service"));
        assert!(glob("*").matches(""));
        assert!(glob("*a*b*.mount").matches("xaxaxxb.mount"));
        assert!(glob("tty?.device").matches("tty1.device"));
        assert!(!glob("tty?.device").matches("tty.device"));
        assert!(!glob("a.service").matches("aa.service"));
        assert!(!glob("a*").matches("ba"));
    }

    #[test]
    fn secrets_lie_where_they_say_or_where_systemd_puts_them() {
        let read = |text: &str| Secret::read(&DeValue::String(text.into()));
        let within = |text: &str, directory: Option<&str>| {
            read(text).unwrap().within(directory.map(Into::into))
        };
        let file = within("/etc/x", Some("/run/credentials/u"));
        assert_eq!(file, PathBuf::from("/etc/x"));
        let file = within("netrc", Some("/run/credentials/u"));
        assert_eq!(file, PathBuf::from("/run/credentials/u/netrc"));
        let file = within("netrc", None);
        assert_eq!(
            file,
            PathBuf::from("/run/credentials/surefootd.service/netrc")
        );
        for bad in ["", ".", "..", "a/b", "../x", "/etc/../x", "a b"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_made_from_a_name_matches_it(
            name in "[a-z@.]{1,12}",
            stars in proptest::collection::vec(any::<bool>(), 12),
            other in "[a-z*?]{0,12}",
        ) {
            let pattern: String = name
                .chars()
                .zip(&stars)
                .map(|(c, star)| if *star { '*' } else { c })
                .collect();
            prop_assert!(UnitGlob(pattern).matches(&name));
            let _ = UnitGlob(other).matches(&name);
        }
    }
}
