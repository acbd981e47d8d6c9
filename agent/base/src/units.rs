//! Durations and sizes as people write and read them: `90s`, `1h 30min`, `512MiB`.
//!
//! What is read are the usual spellings: those of `systemd.time(7)` for durations, and for sizes the
//! binary units with and without `iB` (`512K`, `512KiB`) beside the decimal ones (`512KB`). What is
//! written has one spelling. A number without a unit is always refused.

use std::time::Duration;

/// The longest duration that is read: ten years.
pub const MAX_DURATION: Duration = Duration::from_secs(3650 * 86_400);

/// A unit: how it is written, how it may be spelled beside that, and its length.
type Unit = (&'static str, &'static [&'static str], u64);

/// Units of time, largest first, with their length in milliseconds.
const TIME: [Unit; 6] = [
    ("w", &["week", "weeks"], 7 * 86_400_000),
    ("d", &["day", "days"], 86_400_000),
    ("h", &["hr", "hour", "hours"], 3_600_000),
    ("min", &["m", "minute", "minutes"], 60_000),
    ("s", &["sec", "second", "seconds"], 1_000),
    ("ms", &["msec"], 1),
];

/// Units of size, largest first, with their length in bytes.
const SIZE: [Unit; 9] = [
    ("TiB", &["T"], 1 << 40),
    ("TB", &[], 1_000_000_000_000),
    ("GiB", &["G"], 1 << 30),
    ("GB", &[], 1_000_000_000),
    ("MiB", &["M"], 1 << 20),
    ("MB", &[], 1_000_000),
    ("KiB", &["K", "k"], 1 << 10),
    ("KB", &["kB"], 1_000),
    ("B", &[], 1),
];

/// A text that is not a duration or a size, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(String);

/// Reads a duration: numbers with the units `ms`, `s`, `min`, `h`, `d`, `w` in their usual
/// spellings (`m` and `minutes` are minutes, too), larger units first, each at most once, with or
/// without spaces between: `30s`, `1h30min`, `1.5h`, `1d 12h`. Nothing below a millisecond counts.
///
/// # Errors
/// [`UnitError`] if a unit is missing, unknown or out of order, or the sum is above
/// [`MAX_DURATION`].
///
/// ```
/// # use std::time::Duration;
/// # use surefoot_base::units::parse_duration;
/// assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
/// assert!(parse_duration("30").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    let mut allowed = 0;
    if rest.is_empty() {
        return Err(UnitError("it is empty".into()));
    }
    while !rest.is_empty() {
        let (number, unit, after) = number_and_unit(rest)?;
        let index = find(&TIME, unit)
            .ok_or_else(|| unknown_unit(unit, number, "ms, s, min, h, d and w"))?;
        if index < allowed {
            return Err(UnitError(format!(
                "'{unit}' must stand before the smaller units, and only once"
            )));
        }
        allowed = index + 1;
        total = times(number, TIME[index].2)?
            .and_then(|part| part.checked_add(total))
            .filter(|sum| Duration::from_millis(*sum) <= MAX_DURATION)
            .ok_or_else(|| UnitError("it is longer than 3650d".into()))?;
        rest = after.trim_start();
    }
    Ok(Duration::from_millis(total))
}

/// Reads a size, in bytes: one number with the unit `B`, `KiB`, `MiB`, `GiB` or `TiB`, which may be
/// shortened to its first letter, or `KB`, `MB`, `GB`, `TB` for powers of 1000: `512MiB`, `512K`,
/// `0.5GiB`, `2 GB`. Parts of a byte do not count.
///
/// # Errors
/// [`UnitError`] if the unit is missing or unknown, or the size does not fit 64 bits.
///
/// ```
/// # use surefoot_base::units::parse_bytes;
/// assert_eq!(parse_bytes("512K"), Ok(512 * 1024));
/// assert_eq!(parse_bytes("0.5GiB"), Ok(512 * 1024 * 1024));
/// ```
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let (number, unit, rest) = number_and_unit(text.trim())?;
    let index =
        find(&SIZE, unit).ok_or_else(|| unknown_unit(unit, number, "B, KiB, MiB, GiB and TiB"))?;
    if !rest.is_empty() {
        return Err(UnitError("only one number with one unit may stand".into()));
    }
    times(number, SIZE[index].2)?.ok_or_else(|| UnitError("it is larger than a size can be".into()))
}

/// Where the unit of this spelling stands.
fn find(units: &[Unit], spelling: &str) -> Option<usize> {
    let named = |(name, others, _): &Unit| *name == spelling || others.contains(&spelling);
    units.iter().position(named)
}

/// The number, whole or with decimals, so many times; `None` if that does not fit 64 bits.
fn times(number: &str, length: u64) -> Result<Option<u64>, UnitError> {
    /// So many decimals count: more than that change nothing.
    const DECIMALS: usize = 12;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let digits = &decimals[..decimals.len().min(DECIMALS)];
    let too_large = |_| UnitError("the number is too large".into());
    let whole: u64 = whole.parse().map_err(too_large)?;
    let part: u64 = format!("{digits:0<DECIMALS$}").parse().map_err(too_large)?;
    let part = u128::from(part) * u128::from(length) / 1_000_000_000_000;
    let sum = u128::from(whole) * u128::from(length) + part;
    Ok(u64::try_from(sum).ok())
}

/// Splits `1.5min rest` into its number, its unit and the rest.
fn number_and_unit(text: &str) -> Result<(&str, &str, &str), UnitError> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let parts: Vec<&str> = number.split('.').collect();
    if parts.len() > 2 || parts.iter().any(|part| part.is_empty()) {
        let found: String = text.chars().take(20).collect();
        return Err(UnitError(format!("'{found}' does not begin with a number")));
    }
    let rest = rest.trim_start();
    let letters = rest
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(letters);
    Ok((number, unit, rest))
}

fn unknown_unit(unit: &str, number: &str, units: &str) -> UnitError {
    let cut = |text: &str| text.chars().take(20).collect::<String>();
    UnitError(if unit.is_empty() {
        format!("{} needs a unit; the units are {units}", cut(number))
    } else {
        format!("'{}' is not a unit; the units are {units}", cut(unit))
    })
}

/// Writes a duration so that [`parse_duration`] reads the same again, to the millisecond:
/// `1h 30min`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut parts = Vec::new();
    // Weeks are read and not written: 14d is what people compare with.
    for (unit, _, length) in &TIME[1..] {
        if rest >= *length {
            parts.push(format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    if parts.is_empty() {
        "0s".into()
    } else {
        parts.join(" ")
    }
}

/// Writes a duration for people who glance at it: its two largest units, nothing below a second.
#[must_use]
pub fn short_duration(duration: Duration) -> String {
    let whole = format_duration(Duration::from_secs(duration.as_secs()));
    whole.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// The units that sizes are written with.
fn binary() -> impl Iterator<Item = (&'static str, u64)> {
    SIZE.into_iter()
        .filter(|(_, _, length)| length.is_power_of_two())
        .map(|(unit, _, length)| (unit, length))
}

/// Writes a size so that [`parse_bytes`] reads the same again: `512MiB`.
#[must_use]
pub fn format_bytes(bytes: u64) -> String {
    binary()
        .find(|(_, length)| bytes != 0 && bytes.is_multiple_of(*length))
        .map_or_else(
            || "0B".into(),
            |(unit, length)| format!("{}{unit}", bytes / length),
        )
}

/// Writes a size for people, with three digits: `1.25 GiB`, `87.3 MiB`, `512 B`.
#[must_use]
pub fn short_bytes(bytes: u64) -> String {
    let (unit, length) = binary()
        .find(|(_, length)| bytes >= *length)
        .unwrap_or(("B", 1));
    if length == 1 {
        return format!("{bytes} B");
    }
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    let value = bytes as f64 / length as f64;
    let digits = match value {
        v if v < 10.0 => 2,
        v if v < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read() {
        for (text, seconds) in [
            ("30s", 30),
            ("10min", 600),
            ("4h", 14_400),
            ("1h30min", 5_400),
            ("1d 12h", 129_600),
            (" 2 min ", 120),
            ("0s", 0),
            ("30m", 1_800),
            ("3 hours", 10_800),
            ("1 day 2 hours 5 minutes 1 second", 93_901),
            ("2w", 1_209_600),
            ("1.5h", 5_400),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)));
        }
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
    }

    #[test]
    fn what_is_not_a_duration_says_why() {
        for (text, word) in [
            ("", "empty"),
            ("30", "30 needs a unit"),
            ("10M", "'M' is not a unit"),
            ("30min 1h", "before the smaller"),
            ("1h 1h", "only once"),
            ("1h 60m 1min", "only once"),
            ("s", "does not begin with a number"),
            ("-3s", "does not begin with a number"),
            ("1.s", "does not begin with a number"),
            (".5h", "does not begin with a number"),
            ("1.5.5h", "does not begin with a number"),
            ("3651d", "longer than"),
            ("99999999999999999999s", "too large"),
            ("5 parsecs", "'parsecs' is not a unit"),
        ] {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_are_read_and_refused() {
        assert_eq!(parse_bytes("512MiB"), Ok(512 << 20));
        for (text, bytes) in [
            ("3 B", 3),
            ("512K", 512 << 10),
            ("512k", 512 << 10),
            ("2G", 2 << 30),
            ("0.5GiB", 512 << 20),
            ("1.000000000000000001KiB", 1024),
            ("1 MB", 1_000_000),
            ("20kB", 20_000),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for (text, word) in [
            ("512", "needs a unit"),
            ("512m", "'m' is not a unit"),
            ("99999999TiB", "larger than"),
            ("1GiB 1MiB", "only one number"),
        ] {
            let error = parse_bytes(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn people_get_few_digits() {
        assert_eq!(short_bytes(512), "512 B");
        assert_eq!(short_bytes(1_342_177_280), "1.25 GiB");
        assert_eq!(short_bytes(91_540_684), "87.3 MiB");
        assert_eq!(short_duration(Duration::from_millis(93_784_999)), "1d 2h");
        assert_eq!(short_duration(Duration::from_millis(400)), "0s");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            ms in 0..=u64::try_from(MAX_DURATION.as_millis()).unwrap(),
            bytes: u64,
        ) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            prop_assert_eq!(parse_bytes(&format_bytes(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}", number: u64) {
            let _ = parse_duration(&text);
            let _ = parse_bytes(&text);
            let _ = parse_duration(&format!("{number}{text}"));
            let _ = short_bytes(number);
            let _ = short_duration(Duration::from_millis(number));
        }
    }
}
