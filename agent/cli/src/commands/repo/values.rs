//! Values on the command line.

use surefoot_trust::editor::DAY;

/// A time span in whole seconds: `90s`, `15m`, `12h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lifetime(pub(super) u64);

impl std::str::FromStr for Lifetime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no time span; write e.g. 90s, 15m, 12h or 7d");
        let unit = text.chars().last().ok_or_else(wrong)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => DAY,
            _ => return Err(wrong()),
        };
        text[..text.len() - 1]
            .parse::<u64>()
            .ok()
            .filter(|n| *n > 0)
            .and_then(|n| n.checked_mul(seconds))
            .map(Self)
            .ok_or_else(wrong)
    }
}

/// Reads `ROLE=VALUE` for one of the four roles.
pub(super) fn assignment<T: std::str::FromStr<Err: std::fmt::Display>>(
    text: &str,
) -> Result<(String, T), String> {
    let (role, value) = text
        .split_once('=')
        .ok_or_else(|| format!("'{text}' is not of the form ROLE=VALUE"))?;
    if !surefoot_trust::metadata::TOP_LEVEL.contains(&role) {
        return Err(format!(
            "there is no role '{role}'; use root, targets, snapshot or timestamp"
        ));
    }
    let value = value.parse().map_err(|e| format!("{role}: {e}"))?;
    Ok((role.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_have_units() {
        assert_eq!("7d".parse(), Ok(Lifetime(7 * DAY)));
        assert_eq!("90s".parse(), Ok(Lifetime(90)));
        for text in [
            "",
            "7",
            "d",
            "0d",
            "-1d",
            "7 d",
            "7w",
            "99999999999999999999d",
            "7ä",
        ] {
            let result = text.parse::<Lifetime>();
            assert!(result.is_err_and(|e| e.contains("no time span")), "{text}");
        }
        assert!(
            assignment::<u64>("weather=2")
                .unwrap_err()
                .contains("no role")
        );
        assert!(
            assignment::<u64>("root")
                .unwrap_err()
                .contains("ROLE=VALUE")
        );
    }
}
