//! A release goes out in steps: which robots may begin with it, and when.
//!
//! The plan is signed with the release, and each robot judges it for itself. A robot's share is decided
//! by its [`Place`], which it cannot choose; its time is a [`Moment`] that was signed. So neither a
//! mirror nor a robot's clock opens anything.
//!
//! A plan decides only who *begins*. What a robot has taken it keeps, whatever becomes of the plan.

use crate::{
    identity::Identity,
    name::{Label, Name},
    time::Instant,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, time::Duration};
use surefoot_base::{
    text::shown,
    units::{format_duration, parse_duration},
};

/// Points of a plan, at most.
pub const MAX_POINTS: usize = 32;

/// Labels whose robots come first, at most.
pub const MAX_FIRST: usize = 64;

/// Millionths of the robots that are all of them.
const ALL: u32 = 1_000_000;

/// A share of the robots, in millionths: 0 to 1 000 000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Share(u32);

impl Share {
    /// No robot.
    pub const NONE: Self = Self(0);
    /// Every robot, also one without an id.
    pub const ALL: Self = Self(ALL);

    /// In millionths.
    #[must_use]
    pub const fn millionths(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Share {
    type Error = RolloutError;

    fn try_from(millionths: u32) -> Result<Self, RolloutError> {
        if millionths <= ALL {
            Ok(Self(millionths))
        } else {
            Err(RolloutError::Above(format!("{millionths} millionths")))
        }
    }
}

impl From<Share> for u32 {
    fn from(share: Share) -> Self {
        share.0
    }
}

impl FromStr for Share {
    type Err = RolloutError;

    /// Reads a percentage with at most four digits behind the point: `25%`, `0.5 %`.
    fn from_str(text: &str) -> Result<Self, RolloutError> {
        let wrong = || RolloutError::Share(text.chars().take(40).collect());
        let number = text.trim().strip_suffix('%').ok_or_else(wrong)?.trim_end();
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) || whole.len() > 9 || part.len() > 4 {
            return Err(wrong());
        }
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        let millionths = number(whole)? * 10_000 + number(&format!("{part:0<4}"))?;
        match u32::try_from(millionths) {
            Ok(millionths) if millionths <= ALL => Ok(Self(millionths)),
            _ => Err(RolloutError::Above(text.chars().take(40).collect())),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 10_000, self.0 % 10_000);
        if part == 0 {
            return write!(f, "{whole}%");
        }
        let part = format!("{part:04}");
        write!(f, "{whole}.{}%", part.trim_end_matches('0'))
    }
}

/// A share that is reached so long after the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wave {
    share: Share,
    after: Duration,
}

/// A plan as an admin writes it: `1% now, 10% after 2h, 100% after 2d`. What is open grows in a straight
/// line from one to the next: 10 % are reached after 2 h. At most [`MAX_POINTS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waves(Vec<Wave>);

impl FromStr for Waves {
    type Err = RolloutError;

    fn from_str(text: &str) -> Result<Self, RolloutError> {
        let wave = |text: &str| -> Result<Wave, RolloutError> {
            let text = text.trim();
            let wrong = |why: String| RolloutError::Wave {
                text: text.chars().take(60).collect(),
                why,
            };
            let end = text
                .find('%')
                .ok_or_else(|| wrong("it has no percentage".into()))?;
            let (share, rest) = text.split_at(end + 1);
            let after = match rest.trim() {
                "now" => Duration::ZERO,
                rest => {
                    let length = rest
                        .strip_prefix("after ")
                        .ok_or_else(|| wrong("say 'now', or 'after' and how long".into()))?;
                    parse_duration(length).map_err(|error| wrong(error.to_string()))?
                }
            };
            Ok(Wave {
                share: share.parse()?,
                after,
            })
        };
        if text.split(',').count() > MAX_POINTS {
            return Err(RolloutError::TooMany);
        }
        let mut waves = text.split(',').map(wave).collect::<Result<Vec<_>, _>>()?;
        if waves[0].after > Duration::ZERO {
            // The line begins with nobody.
            waves.insert(
                0,
                Wave {
                    share: Share::NONE,
                    after: Duration::ZERO,
                },
            );
        }
        for pair in waves.windows(2) {
            if pair[1].share < pair[0].share || pair[1].after <= pair[0].after {
                let words = |wave: &Wave| Self(vec![*wave]).to_string();
                return Err(RolloutError::Backwards(words(&pair[0]), words(&pair[1])));
            }
        }
        if waves.len() > MAX_POINTS {
            return Err(RolloutError::TooMany);
        }
        Ok(Self(waves))
    }
}

impl fmt::Display for Waves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Wave { share, after }) in self.0.iter().enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            if after.is_zero() {
                write!(f, "{comma}{share} now")?;
            } else {
                write!(f, "{comma}{share} after {}", format_duration(*after))?;
            }
        }
        Ok(())
    }
}

/// A share, and when it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// When, by the publisher's clock.
    pub at: Timestamp,
    /// How much is open then.
    pub share: Share,
}

/// How a release goes out: by a line through points, or by a share that the admin moves by hand. Nobody
/// begins with a release whose plan has neither, or both.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// The points, earliest first; nothing is open before the first. At most [`MAX_POINTS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<Point>,
    /// The share that is open whatever the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// Robots that come before all others: for each key that stands here, those with one of its values.
    /// Empty: none. At most [`MAX_FIRST`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<Label>,
    /// Since when nobody begins, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Timestamp>,
}

/// Why a robot may not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// The plan cannot be followed.
    Plan(RolloutError),
    /// It is paused, since then.
    Paused(Timestamp),
    /// The robot's turn comes then.
    Until(Timestamp),
    /// So much is open, and it is the admin who opens more.
    Share(Share),
    /// Nobody knows what time it is: no file was signed with one.
    NoTime,
    /// The robot has no id, so that it is the last; then, if that is known.
    NoId(Option<Timestamp>),
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(error) => {
                write!(f, "nobody begins, for its plan cannot be followed: {error}")
            }
            Self::Paused(since) => {
                write!(f, "nobody begins, for it is paused since {}", time(*since))
            }
            Self::Until(at) => write!(f, "this robot's turn comes by {}", time(*at)),
            Self::Share(share) => write!(
                f,
                "it is open to {share} of the robots, and this one is not among them"
            ),
            Self::NoTime => f.write_str(
                "the repository does not say when it was signed, so that no turn can come",
            ),
            Self::NoId(at) => {
                f.write_str("this robot has no id and is the last one")?;
                at.map_or(Ok(()), |at| write!(f, ": its turn comes by {}", time(at)))
            }
        }
    }
}

/// A time for people who read it on a robot or at a desk: to the minute, in UTC.
#[must_use]
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

impl Rollout {
    /// A plan that begins now.
    ///
    /// # Errors
    /// A time that no calendar reaches.
    pub fn by_waves(
        waves: &Waves,
        first: Vec<Label>,
        now: Timestamp,
    ) -> Result<Self, RolloutError> {
        let point = |wave: &Wave| {
            let at = now.checked_add(wave.after).map_err(|_| RolloutError::Far)?;
            Ok(Point {
                at,
                share: wave.share,
            })
        };
        let points = waves.0.iter().map(point).collect::<Result<_, _>>()?;
        let plan = Self {
            points,
            first,
            ..Self::default()
        };
        plan.check().map(|()| plan)
    }

    /// A share that is moved by hand.
    #[must_use]
    pub fn by_hand(share: Share, first: Vec<Label>) -> Self {
        Self {
            share: Some(share),
            first,
            ..Self::default()
        }
    }

    /// Whether it can be followed.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), RolloutError> {
        let backwards = |pair: &&[Point]| pair[1].at <= pair[0].at || pair[1].share < pair[0].share;
        match (self.points.len(), self.share) {
            (0, None) => return Err(RolloutError::Empty),
            (1.., Some(_)) => return Err(RolloutError::Both),
            (0, Some(_)) => {}
            (points, None) if points > MAX_POINTS => return Err(RolloutError::TooMany),
            (_, None) => {
                if let Some(pair) = self.points.windows(2).find(backwards) {
                    let words = |point: &Point| format!("{} by {}", point.share, time(point.at));
                    return Err(RolloutError::Backwards(words(&pair[0]), words(&pair[1])));
                }
            }
        }
        if self.first.len() > MAX_FIRST {
            return Err(RolloutError::TooManyFirst);
        }
        Ok(())
    }

    /// How much is open at a moment, pauses aside: of a plan that can be followed.
    #[must_use]
    pub fn share_at(&self, moment: Timestamp) -> Share {
        if let Some(share) = self.share {
            return share;
        }
        let after = self.points.partition_point(|point| point.at <= moment);
        let Some(from) = after.checked_sub(1).and_then(|n| self.points.get(n)) else {
            return Share::NONE;
        };
        let Some(to) = self.points.get(after) else {
            return from.share;
        };
        let length = i128::from(to.at.as_millisecond()) - i128::from(from.at.as_millisecond());
        let gone = i128::from(moment.as_millisecond()) - i128::from(from.at.as_millisecond());
        let rise = i128::from(to.share.0) - i128::from(from.share.0);
        let share = i128::from(from.share.0) + rise * gone / length.max(1);
        Share(u32::try_from(share).unwrap_or(0).min(to.share.0))
    }

    /// How much is open at a moment: while it is paused, what was open when that began.
    #[must_use]
    pub fn open_at(&self, moment: Timestamp) -> Share {
        self.share_at(self.paused.map_or(moment, |since| since.min(moment)))
    }

    /// When more than this share is open for the first time; `None` where the admin says.
    fn opens_above(&self, millionths: u32) -> Option<Timestamp> {
        let at = (self.points.iter()).position(|point| point.share.0 > millionths)?;
        let to = self.points[at];
        let Some(from) = at.checked_sub(1).map(|before| self.points[before]) else {
            return Some(to.at);
        };
        let length = i128::from(to.at.as_millisecond()) - i128::from(from.at.as_millisecond());
        let rise = i128::from(to.share.0) - i128::from(from.share.0);
        let wanted = i128::from(millionths) + 1 - i128::from(from.share.0);
        // Rounded up: not before it is so.
        let gone = (wanted * length + rise - 1) / rise.max(1);
        let gone = i64::try_from(gone).ok()?;
        from.at.checked_add(SignedDuration::from_millis(gone)).ok()
    }

    /// Whether a robot may begin with this release at this moment.
    ///
    /// # Errors
    /// Why not, and until when.
    pub fn admits(
        &self,
        release: &Name,
        robot: &Identity,
        labels: &[Label],
        moment: Option<Timestamp>,
    ) -> Result<(), Closed> {
        self.check().map_err(Closed::Plan)?;
        if let Some(since) = self.paused {
            return Err(Closed::Paused(since));
        }
        if !self.first.is_empty() && Label::fit(&self.first, labels) {
            return Ok(());
        }
        let Some(open) = self.share.or_else(|| moment.map(|at| self.share_at(at))) else {
            return Err(Closed::NoTime);
        };
        let place = robot.place(release).map(|place| place.millionths());
        // Without a place only where all are let in.
        let last = ALL - 1;
        if open.0 > place.unwrap_or(last) {
            return Ok(());
        }
        Err(match (place, self.opens_above(place.unwrap_or(last))) {
            (None, at) => Closed::NoId(at),
            (Some(_), Some(at)) => Closed::Until(at),
            (Some(_), None) => Closed::Share(open),
        })
    }

    /// Nobody begins from now on.
    ///
    /// # Errors
    /// It is paused already.
    pub fn pause(&mut self, now: Timestamp) -> Result<(), RolloutError> {
        if let Some(since) = self.paused {
            return Err(RolloutError::Paused(since));
        }
        self.paused = Some(now);
        Ok(())
    }

    /// Goes on. The points that were not yet reached move by the length of the pause, and what was open
    /// when it began is open now: nobody is let in at once.
    ///
    /// # Errors
    /// It is not paused, or goes on later than a calendar reaches.
    pub fn resume(&mut self, now: Timestamp) -> Result<(), RolloutError> {
        let since = self.paused.ok_or(RolloutError::NotPaused)?;
        if self.share.is_none() {
            let length = now.duration_since(since).max(SignedDuration::ZERO);
            let begun = self.points.first().is_some_and(|first| first.at <= since);
            let mut points = Vec::new();
            if begun {
                points.push(Point {
                    at: since.max(now),
                    share: self.share_at(since),
                });
            }
            for point in self.points.iter().filter(|point| point.at > since) {
                let at = point
                    .at
                    .checked_add(length)
                    .map_err(|_| RolloutError::Far)?;
                points.push(Point { at, ..*point });
            }
            self.points = points;
        }
        self.paused = None;
        Ok(())
    }

    /// Whether time alone lets more robots in after this moment. Then the repository has to be signed again
    /// and again.
    #[must_use]
    pub fn moves_after(&self, moment: Timestamp) -> bool {
        self.check().is_ok()
            && self.paused.is_none()
            && (self.points.last()).is_some_and(|last| self.share_at(moment) < last.share)
    }

    /// Whether everybody may begin, by now.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.check().is_ok() && self.paused.is_none() && self.share_at(now) == Share::ALL
    }
}

/// What is open, in the words that are used everywhere: `1% by …, 10% by …`.
impl fmt::Display for Rollout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Err(error) = self.check() {
            return write!(f, "closed: {error}");
        }
        if let Some(share) = self.share {
            write!(f, "{share} by hand")?;
        }
        for (n, point) in self.points.iter().enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            write!(f, "{comma}{} by {}", point.share, time(point.at))?;
        }
        if !self.first.is_empty() {
            let first: Vec<String> = self.first.iter().map(ToString::to_string).collect();
            write!(f, "; first {}", first.join(" "))?;
        }
        match self.paused {
            Some(since) => write!(f, "; paused since {}", time(since)),
            None => Ok(()),
        }
    }
}

/// When a repository's newest files were signed, and since when they are known: the time by which
/// [`Rollout`]s are judged. No clock takes part but the one that counts from the boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// When the newest timestamp that is believed was signed, by its signer's clock.
    signed: Option<Timestamp>,
    /// Its version, and when it was fetched for the first time; `None` if that was before the agent
    /// started.
    fetched: Option<(u64, Instant)>,
}

impl Moment {
    /// The timestamp of this version is believed now. `news`: it was not, before this was asked.
    #[must_use]
    pub fn after(self, version: u64, signed: Option<Timestamp>, news: bool, now: Instant) -> Self {
        let known = self.fetched.filter(|(known, _)| *known == version);
        Self {
            signed,
            fetched: known.or_else(|| news.then_some((version, now))),
        }
    }

    /// The time that has passed for certain: when it was signed, and what has gone by since it was
    /// fetched, but no more than `fresh`. `None` if its signer does not say when that was.
    #[must_use]
    pub fn at(self, now: Instant, fresh: Duration) -> Option<Timestamp> {
        let gone = (self.fetched).map_or(Duration::ZERO, |(_, at)| now.since(at).min(fresh));
        self.signed?.checked_add(gone).ok()
    }
}

/// Why a plan was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RolloutError {
    /// Not a percentage.
    #[error("'{}' is not a percentage; write 25% or 0.5%", shown(.0))]
    Share(String),
    /// More than all.
    #[error("'{}' is more than all robots; the largest share is 100%", shown(.0))]
    Above(String),
    /// Not a wave.
    #[error("'{}' is not a wave: {why}; write '10% after 2h'", shown(.text))]
    Wave {
        /// What was said.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// A later point opens less, or does not come later.
    #[error("the waves go backwards: {1} stands after {0}")]
    Backwards(String, String),
    /// Too many points.
    #[error("a plan has at most {MAX_POINTS} points")]
    TooMany,
    /// Too many labels.
    #[error("a plan has at most {MAX_FIRST} labels whose robots come first")]
    TooManyFirst,
    /// No point and no share.
    #[error("it has neither points nor a share")]
    Empty,
    /// Points and a share.
    #[error("it has both points and a share")]
    Both,
    /// No calendar reaches that far.
    #[error("it ends later than any calendar reaches")]
    Far,
    /// It is paused already.
    #[error("it is paused already, since {}", time(*.0))]
    Paused(Timestamp),
    /// It is not paused.
    #[error("it is not paused")]
    NotPaused,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-11-{text}:00Z").parse().unwrap()
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn share(text: &str) -> Share {
        text.parse().unwrap()
    }

    fn plan(waves: &str) -> Rollout {
        let waves = waves.parse().unwrap();
        Rollout::by_waves(&waves, Vec::new(), at("27T12:00")).unwrap()
    }

    fn robot(id: &str) -> Identity {
        Identity {
            id: Some(name(id)),
            hardware: None,
        }
    }

    /// A robot whose place for this release is just below, or just above, this share.
    fn near(release: &str, low: u32, high: u32) -> Identity {
        let inside = |robot: &Identity| {
            let place = robot.place(&name(release)).unwrap().millionths();
            (low..high).contains(&place)
        };
        (0..).map(|n| robot(&format!("r{n}"))).find(inside).unwrap()
    }

    #[test]
    fn shares_are_read_and_written() {
        for (text, millionths, again) in [
            ("0%", 0, "0%"),
            ("25%", 250_000, "25%"),
            ("0.5 %", 5_000, "0.5%"),
            ("12.3456%", 123_456, "12.3456%"),
            ("100%", 1_000_000, "100%"),
        ] {
            assert_eq!(share(text).millionths(), millionths, "{text}");
            assert_eq!(share(text).to_string(), again);
        }
        for (text, word) in [
            ("25", "not a percentage"),
            ("%", "not a percentage"),
            ("-1%", "not a percentage"),
            ("1.00001%", "not a percentage"),
            ("1.%", "not a percentage"),
            ("101%", "more than all"),
            ("100.0001%", "more than all"),
            ("999999999%", "more than all"),
        ] {
            let error = text.parse::<Share>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        assert!(serde_json::from_str::<Share>("1000001").is_err());
        assert!(serde_json::from_str::<Share>("-1").is_err());
    }

    #[test]
    fn waves_are_read_and_what_is_wrong_is_said() {
        for (text, again) in [
            ("1% now, 10% after 2h", "1% now, 10% after 2h"),
            (" 100%now ", "100% now"),
            ("50% after 1d 12h", "0% now, 50% after 1d 12h"),
        ] {
            assert_eq!(text.parse::<Waves>().unwrap().to_string(), again);
        }
        for (text, word) in [
            ("", "it has no percentage"),
            ("1% now,", "it has no percentage"),
            ("1%", "say 'now'"),
            ("1% later", "say 'now'"),
            ("1% after 2", "needs a unit"),
            ("120% now", "more than all"),
            (
                "10% now, 5% after 1h",
                "go backwards: 5% after 1h stands after 10% now",
            ),
            ("1% now, 5% after 2h, 9% after 1h", "go backwards"),
            ("1% now, 5% now", "go backwards"),
        ] {
            let error = text.parse::<Waves>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
        let many: Vec<String> = (0..=MAX_POINTS).map(|n| format!("1% after {n}h")).collect();
        assert_eq!(many.join(",").parse::<Waves>(), Err(RolloutError::TooMany));
    }

    #[test]
    fn what_is_open_grows_in_a_line_from_point_to_point() {
        let plan = plan("1% now, 10% after 2h, 50% after 1d");
        for (time, open) in [
            ("27T11:59", "0%"),
            ("27T12:00", "1%"),
            ("27T13:00", "5.5%"),
            ("27T14:00", "10%"),
            ("28T01:00", "30%"),
            ("28T12:00", "50%"),
            ("29T12:00", "50%"),
        ] {
            assert_eq!(plan.open_at(at(time)), share(open), "{time}");
        }
        let text =
            "1% by 2026-11-27 12:00 UTC, 10% by 2026-11-27 14:00 UTC, 50% by 2026-11-28 12:00 UTC";
        assert_eq!(plan.to_string(), text);
    }

    #[test]
    fn a_robots_turn_comes_when_it_is_said_to() {
        let plan = plan("1% now, 100% after 10h");
        let release = name("7");
        let middle = near("7", 400_000, 600_000);
        let ask =
            |robot: &Identity, moment: Timestamp| plan.admits(&release, robot, &[], Some(moment));
        let Err(Closed::Until(turn)) = ask(&middle, at("27T12:00")) else {
            panic!("its turn has not come");
        };
        assert!(turn > at("27T15:30") && turn < at("27T18:30"), "{turn}");
        let before = turn.checked_sub(SignedDuration::from_millis(1)).unwrap();
        assert_eq!(ask(&middle, before), Err(Closed::Until(turn)));
        assert_eq!(ask(&middle, turn), Ok(()));
        assert_eq!(ask(&near("7", 0, 10_000), at("27T12:00")), Ok(()));
        // Without an id a robot is the last.
        let nobody = Identity::default();
        let end = at("27T22:00");
        let almost = end.checked_sub(SignedDuration::from_millis(1)).unwrap();
        assert_eq!(ask(&nobody, almost), Err(Closed::NoId(Some(end))));
        assert_eq!(ask(&nobody, end), Ok(()));
        // Nobody knows what time it is.
        let asked = plan.admits(&release, &middle, &[], None);
        assert_eq!(asked, Err(Closed::NoTime));
    }

    #[test]
    fn a_share_by_hand_asks_for_no_time_and_says_whose_word_it_is() {
        let plan = Rollout::by_hand(share("25%"), Vec::new());
        let (release, none) = (name("7"), None);
        let (inside, outside) = (near("7", 0, 250_000), near("7", 250_000, 260_000));
        assert_eq!(plan.admits(&release, &inside, &[], none), Ok(()));
        let closed = plan.admits(&release, &outside, &[], none).unwrap_err();
        assert!(closed.to_string().contains("open to 25% of the robots"));
        let all = Rollout::by_hand(Share::ALL, Vec::new());
        assert_eq!(
            all.admits(&release, &Identity::default(), &[], none),
            Ok(())
        );
    }

    #[test]
    fn robots_with_a_first_label_come_before_all_waves_but_not_in_a_pause() {
        let canary: Vec<Label> = vec!["ring=canary".parse().unwrap()];
        let mut plan = Rollout::by_hand(Share::NONE, canary.clone());
        let release = name("7");
        let ask = |plan: &Rollout, labels: &[Label]| {
            plan.admits(&release, &Identity::default(), labels, None)
        };
        assert_eq!(ask(&plan, &canary), Ok(()));
        assert!(ask(&plan, &["ring=late".parse().unwrap()]).is_err());
        assert!(ask(&plan, &[]).is_err());
        plan.pause(at("27T13:00")).unwrap();
        assert_eq!(ask(&plan, &canary), Err(Closed::Paused(at("27T13:00"))));
    }

    #[test]
    fn after_a_pause_nobody_is_let_in_at_once_and_the_rest_moves_by_its_length() {
        let mut plan = plan("1% now, 10% after 2h, 100% after 4h");
        plan.pause(at("27T13:00")).unwrap();
        assert!(plan.pause(at("27T13:30")).is_err());
        assert_eq!(plan.open_at(at("28T13:00")), share("5.5%"));
        assert!(
            plan.to_string()
                .contains("paused since 2026-11-27 13:00 UTC")
        );
        plan.resume(at("28T13:00")).unwrap();
        assert_eq!(plan.resume(at("28T13:00")), Err(RolloutError::NotPaused));
        plan.check().unwrap();
        for (time, open) in [
            ("28T13:00", "5.5%"),
            ("28T14:00", "10%"),
            ("28T16:00", "100%"),
        ] {
            assert_eq!(plan.open_at(at(time)), share(open), "{time}");
        }
        // Of a plan that had not begun everything moves, and a clock that was set back moves nothing.
        let mut later = self::plan("1% after 2h, 100% after 4h");
        later.points.remove(0);
        later.pause(at("27T13:00")).unwrap();
        let before = later.points.clone();
        later.resume(at("27T12:00")).unwrap();
        assert_eq!(later.points, before);
        // A hand-moved share stays.
        let mut hand = Rollout::by_hand(share("25%"), Vec::new());
        hand.pause(at("27T13:00")).unwrap();
        hand.resume(at("28T13:00")).unwrap();
        assert_eq!(hand, Rollout::by_hand(share("25%"), Vec::new()));
    }

    #[test]
    fn nobody_begins_by_a_plan_that_cannot_be_followed() {
        let good = plan("1% now, 100% after 4h");
        let mut both = good.clone();
        both.share = Some(Share::ALL);
        let mut backwards = good.clone();
        backwards.points.reverse();
        let mut long = good.clone();
        long.points = vec![good.points[0]; MAX_POINTS + 1];
        let mut first = good.clone();
        first.first = vec!["a=b".parse().unwrap(); MAX_FIRST + 1];
        for broken in [Rollout::default(), both, backwards, long, first] {
            let late = Some(at("30T00:00"));
            let closed = broken.admits(&name("7"), &robot("r"), &[], late);
            assert!(matches!(closed, Err(Closed::Plan(_))), "{broken:?}");
            assert!(!broken.is_over(at("30T00:00")));
        }
        assert!(good.is_over(at("27T16:00")) && !good.is_over(at("27T15:59")));
        assert!(good.moves_after(at("27T15:59")) && !good.moves_after(at("27T16:00")));
        // A plan may end before all are let in: then nothing moves either.
        let mut half = good.clone();
        half.points.pop();
        let last = half.points.last().unwrap().at;
        assert!(!half.moves_after(last) && !half.is_over(last));
        half.pause(at("26T00:00")).unwrap();
        assert!(!half.moves_after(at("26T00:00")));
    }

    #[test]
    fn a_moment_goes_on_only_from_what_was_fetched_by_this_agent_and_not_for_long() {
        let fresh = Duration::from_secs(900);
        let signed = Some(at("27T12:00"));
        let after = |minutes: u64| Instant(minutes * 60_000);
        // What lay on the disk at the start says no more than when it was signed.
        let old = Moment::default().after(4, signed, false, after(0));
        assert_eq!(old.at(after(600), fresh), signed);
        let new = old.after(5, Some(at("27T13:00")), true, after(10));
        assert_eq!(new.at(after(10), fresh), Some(at("27T13:00")));
        assert_eq!(new.at(after(17), fresh), Some(at("27T13:07")));
        // Seen again it does not begin anew, and a mirror that stands still stands still.
        let again = new.after(5, Some(at("27T13:00")), false, after(20));
        assert_eq!(again.at(after(21), fresh), Some(at("27T13:11")));
        assert_eq!(again.at(after(60), fresh), Some(at("27T13:15")));
        // Whoever signs does not say when.
        let silent = new.after(6, None, true, after(20));
        assert_eq!(silent.at(after(21), fresh), None);
        assert_eq!(Moment::default().at(after(1), fresh), None);
    }

    proptest! {
        #[test]
        fn what_is_open_never_falls_and_a_turn_that_was_said_is_kept(
            steps in prop::collection::vec((1u64..5_000_000, 0u32..400_000), 1..8),
            moments in prop::collection::vec(0i64..40_000_000, 2..20),
            id in "[a-z]{1,8}",
        ) {
            let (mut ms, mut sum) = (0, 0);
            let mut points = Vec::new();
            for (length, rise) in steps {
                ms += length;
                sum = (sum + rise).min(ALL);
                points.push(Point {
                    at: Timestamp::from_millisecond(i64::try_from(ms).unwrap()).unwrap(),
                    share: Share(sum),
                });
            }
            let plan = Rollout { points, ..Rollout::default() };
            prop_assert_eq!(plan.check(), Ok(()));
            let mut moments = moments;
            moments.sort_unstable();
            let moment = |ms: i64| Timestamp::from_millisecond(ms).unwrap();
            let shares: Vec<Share> = moments.iter().map(|ms| plan.share_at(moment(*ms))).collect();
            prop_assert!(shares.is_sorted());
            let (release, robot) = (name("7"), robot(&id));
            for ms in moments {
                if let Err(Closed::Until(turn)) = plan.admits(&release, &robot, &[], Some(moment(ms))) {
                    prop_assert!(turn > moment(ms));
                    prop_assert_eq!(plan.admits(&release, &robot, &[], Some(turn)), Ok(()));
                }
            }
        }
    }
}
