//! Durations and sizes as people write and read them: `90s`, `1h 30min`, `512MiB`.
//!
//! The units are those of `systemd.time(7)`, without its one-letter short forms: `m` has been
//! read as minutes, months and metres before. A number without a unit is always refused.

use std::time::Duration;

/// The longest duration that is read: ten years.
pub const MAX_DURATION: Duration = Duration::from_secs(3650 * 86_400);

/// Units of time, largest first, with their length in milliseconds.
const TIME: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("min", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Units of size, largest first, with their length in bytes.
const SIZE: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// A text that is no duration or size, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(String);

/// Reads a duration: whole numbers with the units `ms`, `s`, `min`, `h`, `d`, larger units first,
/// each at most once, with or without spaces between: `30s`, `1h30min`, `1d 12h`.
///
/// # Errors
/// [`UnitError`] if a unit is missing, unknown or out of order, or the sum is above
/// [`MAX_DURATION`].
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    let mut allowed = 0;
    if rest.is_empty() {
        return Err(UnitError("it is empty".into()));
    }
    while !rest.is_empty() {
        let (number, unit, after) = number_and_unit(rest)?;
        let Some(index) = TIME.iter().position(|(name, _)| *name == unit) else {
            return Err(unknown_unit(unit, number, "ms, s, min, h and d"));
        };
        if index < allowed {
            return Err(UnitError(format!(
                "'{unit}' must stand before the smaller units, and only once"
            )));
        }
        allowed = index + 1;
        total = number
            .checked_mul(TIME[index].1)
            .and_then(|part| part.checked_add(total))
            .filter(|sum| Duration::from_millis(*sum) <= MAX_DURATION)
            .ok_or_else(|| UnitError("it is longer than 3650d".into()))?;
        rest = after.trim_start();
    }
    Ok(Duration::from_millis(total))
}

/// Reads a size: one whole number with the unit `B`, `KiB`, `MiB`, `GiB` or `TiB`. In bytes.
///
/// # Errors
/// [`UnitError`] if the unit is missing or unknown, or the size does not fit 64 bits.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let (number, unit, rest) = number_and_unit(text.trim())?;
    let Some((_, factor)) = SIZE.iter().find(|(name, _)| *name == unit) else {
        return Err(unknown_unit(unit, number, "B, KiB, MiB, GiB and TiB"));
    };
    if !rest.is_empty() {
        return Err(UnitError("only one number with one unit may stand".into()));
    }
    number
        .checked_mul(*factor)
        .ok_or_else(|| UnitError("it is larger than a size can be".into()))
}

/// Splits `12min rest` into its number, its unit and the rest.
fn number_and_unit(text: &str) -> Result<(u64, &str, &str), UnitError> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    if number.is_empty() {
        let found: String = text.chars().take(20).collect();
        return Err(UnitError(format!(
            "a whole number must stand before '{found}'"
        )));
    }
    let number = number
        .parse()
        .map_err(|_| UnitError("the number is too large".into()))?;
    let rest = rest.trim_start();
    let letters = rest
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(letters);
    Ok((number, unit, rest))
}

fn unknown_unit(unit: &str, number: u64, units: &str) -> UnitError {
    let meant = match unit {
        "m" | "M" | "minutes" | "minute" | "mins" => Some("min"),
        "sec" | "secs" | "second" | "seconds" => Some("s"),
        "hr" | "hrs" | "hour" | "hours" => Some("h"),
        "day" | "days" => Some("d"),
        _ => None,
    };
    UnitError(match (unit, meant) {
        ("", _) => format!("{number} needs a unit; the units are {units}"),
        (_, Some(meant)) if units.contains("min") => {
            format!("'{unit}' is no unit; write {number}{meant}")
        }
        _ => {
            let unit: String = unit.chars().take(20).collect();
            format!("'{unit}' is no unit; the units are {units}")
        }
    })
}

/// Writes a duration so that [`parse_duration`] reads the same again, to the millisecond:
/// `1h 30min`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut parts = Vec::new();
    for (unit, length) in TIME {
        if rest >= length {
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

/// Writes a size so that [`parse_bytes`] reads the same again: `512MiB`.
#[must_use]
pub fn format_bytes(bytes: u64) -> String {
    SIZE.iter()
        .find(|(_, length)| bytes != 0 && bytes.is_multiple_of(*length))
        .map_or_else(
            || "0B".into(),
            |(unit, length)| format!("{}{unit}", bytes / length),
        )
}

/// Writes a size for people, with three digits: `1.25 GiB`, `87.3 MiB`, `512 B`.
#[must_use]
pub fn short_bytes(bytes: u64) -> String {
    let (unit, length) = SIZE
        .into_iter()
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
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)));
        }
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
    }

    #[test]
    fn what_is_no_duration_says_why() {
        for (text, word) in [
            ("", "empty"),
            ("30", "30 needs a unit"),
            ("10m", "write 10min"),
            ("3 hours", "write 3h"),
            ("30min 1h", "before the smaller"),
            ("1h 1h", "only once"),
            ("s", "whole number"),
            ("-3s", "whole number"),
            ("1.5h", "needs a unit"),
            ("3651d", "longer than"),
            ("99999999999999999999s", "too large"),
            ("5 parsecs", "'parsecs' is no unit"),
        ] {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_are_read_and_refused() {
        assert_eq!(parse_bytes("512MiB"), Ok(512 << 20));
        assert_eq!(parse_bytes("3 B"), Ok(3));
        for (text, word) in [
            ("512", "needs a unit"),
            ("512M", "'M' is no unit"),
            ("1MB", "'MB' is no unit"),
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
