//! Profile and loader are written for a way back, which may take the robot down, too: then that is left alone for
//! a day of running.

use super::context::{AFTER_FALLS, MAX_FALLS};
use crate::time::{BootId, Instant, millis};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// That profile and loader are written, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Install {
    /// The boot in which that was begun last.
    pub boot: BootId,
    /// Whether an installer runs: it was begun, and nobody knows of its end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub runs: bool,
    /// How often the robot went down while one ran.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub falls: u32,
    /// For how long none is begun, as the robot went down so often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<Rest>,
}

/// A time of running, over boots. What of a boot nobody wrote down before it ended is not counted: it lasts longer
/// then, and never shorter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rest {
    /// What was left of it when it was looked at last.
    #[serde(with = "millis")]
    pub left: Duration,
    /// The boot in which that was.
    pub boot: BootId,
    /// When that was.
    pub seen: Instant,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
pub(super) const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Install {
    /// A person wants it tried, with all its tries.
    pub(super) fn anew(self) -> Self {
        Self {
            falls: 0,
            rest: None,
            ..self
        }
    }

    /// One is begun in this boot.
    pub(super) fn begins(install: &mut Option<Self>, boot: &BootId) {
        let begun = install.get_or_insert_with(|| Self {
            boot: boot.clone(),
            runs: true,
            falls: 0,
            rest: None,
        });
        begun.boot.clone_from(boot);
        begun.runs = true;
    }

    /// To be asked at a start: whether the robot went down while one ran. Once it did so often, none is begun for
    /// a day, and then one.
    pub(super) fn fell(&mut self, boot: &BootId, now: Instant) -> bool {
        if !self.runs || self.boot == *boot {
            return false;
        }
        self.runs = false;
        self.falls = self.falls.saturating_add(1);
        if self.falls >= MAX_FALLS {
            self.rest = Some(Rest {
                left: AFTER_FALLS,
                boot: boot.clone(),
                seen: now,
            });
        }
        true
    }

    /// One would be begun in this boot: for how long it is not, if so.
    pub(super) fn is_left_alone(&mut self, boot: &BootId, now: Instant) -> Option<Duration> {
        self.boot.clone_from(boot);
        let rest = self.rest.as_mut()?;
        let since = if rest.boot == *boot {
            rest.seen
        } else {
            Instant::default()
        };
        rest.left = rest.left.saturating_sub(now.since(since));
        rest.boot.clone_from(boot);
        rest.seen = now;
        let left = rest.left;
        if left.is_zero() {
            self.rest = None;
        }
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::testing::{at, boot};

    /// The robot went down over it as often as it may, and is in boot 4 now.
    fn left_alone() -> Install {
        let mut install = None;
        for n in 1..4 {
            Install::begins(&mut install, &boot(n));
            let install = install.as_mut().unwrap();
            assert!(!install.fell(&boot(n), at(1)), "only the agent restarted");
            assert!(install.fell(&boot(n + 1), at(0)));
            assert!(!install.fell(&boot(n + 2), at(0)), "none ran any more");
        }
        install.unwrap()
    }

    #[test]
    fn a_day_of_running_goes_on_over_boots_and_ends() {
        let mut install = left_alone();
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3_600));
        assert_eq!(install.is_left_alone(&boot(4), at(10)), hours(14));
        // Nobody wrote down how long boot 4 went on.
        assert_eq!(install.is_left_alone(&boot(5), at(1)), hours(13));
        assert_eq!(install.is_left_alone(&boot(5), at(11)), hours(3));
        assert_eq!(install.is_left_alone(&boot(6), at(3)), None);
        assert_eq!(install.rest, None);
    }

    #[test]
    fn after_a_day_there_is_one_try() {
        let mut install = Some(left_alone());
        let one = install.as_mut().unwrap();
        assert_eq!(one.is_left_alone(&boot(4), at(24)), None);
        Install::begins(&mut install, &boot(4));
        let one = install.as_mut().unwrap();
        assert!(one.fell(&boot(5), at(0)));
        assert_eq!(one.is_left_alone(&boot(5), at(0)), Some(AFTER_FALLS));
    }
}
