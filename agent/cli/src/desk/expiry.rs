//! When a repository's files are not believed any more, and what to do about that.

use jiff::Timestamp;
use std::path::Path;
use surefoot_trust::editor::{DAY, Expiry};

/// Days before its end from which a role is warned about.
const WARNED: u64 = 30;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Days.
    Enough(u64),
    /// Days, and it is time to do something.
    Few(u64),
    /// It is over.
    None,
}

/// How long a role is still believed. One that never lives for long is warned about in the last quarter
/// of its life.
pub(crate) fn left(expiry: &Expiry, now: Timestamp) -> Left {
    let seconds = expiry.expires.as_second().saturating_sub(now.as_second());
    let Ok(seconds) = u64::try_from(seconds) else {
        return Left::None;
    };
    let days = seconds / DAY;
    if seconds == 0 {
        Left::None
    } else if seconds < (WARNED * DAY).min(expiry.lifetime / 4) {
        Left::Few(days)
    } else {
        Left::Enough(days)
    }
}

/// What helps against the end of a role.
pub(crate) fn advice(role: &str, repository: &Path) -> String {
    let repository = repository.display();
    match role {
        "root" => format!("its keys make it valid for longer: surefoot repo rotate {repository}"),
        role => format!(
            "sign it again, where the keys of {role} are: surefoot repo refresh {repository}"
        ),
    }
}

/// What is to be said of the roles that end soon or have ended, a sentence each.
pub(crate) fn warnings(roles: &[Expiry], repository: &Path, now: Timestamp) -> Vec<String> {
    let warning = |expiry: &Expiry| {
        let when = match left(expiry, now) {
            Left::Enough(_) => return None,
            Left::Few(days) => format!("expires in {days} days"),
            Left::None => "has EXPIRED: no robot believes the repository".to_owned(),
        };
        let advice = advice(&expiry.role, repository);
        Some(format!("{} {when}; {advice}", expiry.role))
    };
    roles.iter().filter_map(warning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_role_is_said_a_month_before_with_what_helps() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let role = |role: &str, lifetime: u64, left: i64| Expiry {
            role: role.to_owned(),
            expires: Timestamp::from_second(now.as_second() + left).unwrap(),
            lifetime: lifetime * DAY,
        };
        let days = |days: i64| days * 86_400;
        assert_eq!(left(&role("root", 365, days(31)), now), Left::Enough(31));
        assert_eq!(left(&role("root", 365, days(29)), now), Left::Few(29));
        assert_eq!(left(&role("root", 365, 0), now), Left::None);
        assert_eq!(left(&role("root", 365, -1), now), Left::None);
        // A timestamp lives for a week: it is always young.
        assert_eq!(left(&role("timestamp", 7, days(6)), now), Left::Enough(6));
        assert_eq!(left(&role("timestamp", 7, days(1)), now), Left::Few(1));
        let roles = [role("root", 365, -1), role("targets", 90, days(10))];
        let said = warnings(&roles, Path::new("fleet"), now);
        assert!(said[0].contains("EXPIRED") && said[0].contains("repo rotate fleet"));
        assert!(said[1].contains("in 10 days") && said[1].contains("repo refresh fleet"));
    }
}
