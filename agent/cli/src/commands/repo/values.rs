//! Values on the command line.

use surefoot_base::units::parse_duration;

/// How long metadata lives, in whole seconds: `90s`, `15min`, `12h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lifetime(pub(super) u64);

impl std::str::FromStr for Lifetime {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let length = parse_duration(text)
            .map_err(|why| format!("'{text}' is not a duration: {why}; write e.g. 15min or 7d"))?;
        match length.as_secs() {
            0 => Err(format!("'{text}' is shorter than a second")),
            seconds => Ok(Self(seconds)),
        }
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
        assert_eq!("7d".parse(), Ok(Lifetime(7 * 86_400)));
        assert_eq!("90s".parse(), Ok(Lifetime(90)));
        assert_eq!("15m".parse(), Ok(Lifetime(900)));
        for text in [
            "",
            "7",
            "d",
            "0d",
            "999ms",
            "-1d",
            "99999999999999999999d",
            "7ä",
        ] {
            let why = text.parse::<Lifetime>().unwrap_err();
            assert!(why.starts_with(&format!("'{text}' is ")), "{why}");
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
