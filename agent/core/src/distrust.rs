//! Files that came wrong from a server, and when they are worth another try.

use crate::{time::Instant, traffic::DAY};
use std::collections::BTreeMap;

/// A file may come wrong because of the way that it took. So often it is asked for before the server
/// is taken to have it wrong.
const TRIES: u32 = 2;

/// So many files are remembered; above it the longest known are forgotten.
const MAX: usize = 500;

/// What came wrong, by its URL.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Distrust(BTreeMap<String, Wrong>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Wrong {
    times: u32,
    last: Instant,
    /// What the server says its version is.
    validator: Option<String>,
}

/// What to do about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Ask for it.
    Ask,
    /// Ask for it if it is not of this version any more.
    IfChanged(String),
    /// Leave it where it is: nothing would tell whether it has changed.
    Leave,
}

impl Distrust {
    /// Whether a file is worth another try: it has changed, it came wrong only once, or a day has
    /// passed.
    #[must_use]
    pub fn verdict(&self, url: &str, now: Instant) -> Verdict {
        match self.0.get(url) {
            Some(wrong) if wrong.times >= TRIES && now.since(wrong.last) < DAY => {
                (wrong.validator.clone()).map_or(Verdict::Leave, Verdict::IfChanged)
            }
            _ => Verdict::Ask,
        }
    }

    /// It came wrong, in this version.
    pub fn wrong(&mut self, url: &str, validator: Option<&str>, now: Instant) {
        let before = self.0.get(url);
        let same = before.filter(|wrong| wrong.validator.as_deref() == validator);
        let wrong = Wrong {
            times: same.map_or(0, |wrong| wrong.times).saturating_add(1),
            last: now,
            validator: validator.map(str::to_owned),
        };
        self.0.insert(url.to_owned(), wrong);
        if self.0.len() > MAX {
            let oldest = self.0.iter().min_by_key(|(_, wrong)| wrong.last);
            if let Some(url) = oldest.map(|(url, _)| url.clone()) {
                self.0.remove(&url);
            }
        }
    }

    /// It came as it should.
    pub fn right(&mut self, url: &str) {
        self.0.remove(url);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(hours: u64) -> Instant {
        Instant::default() + Duration::from_secs(hours * 3600)
    }

    #[test]
    fn what_came_wrong_twice_is_left_until_it_changes_or_a_day_has_passed() {
        let mut distrust = Distrust::default();
        let url = "https://cache/nar/x";
        assert_eq!(distrust.verdict(url, at(1)), Verdict::Ask);
        distrust.wrong(url, Some("1"), at(1));
        assert_eq!(
            distrust.verdict(url, at(1)),
            Verdict::Ask,
            "the way may be to blame"
        );
        distrust.wrong(url, Some("1"), at(1));
        let changed = |version: &str| Verdict::IfChanged(version.to_owned());
        assert_eq!(distrust.verdict(url, at(24)), changed("1"));
        assert_eq!(distrust.verdict(url, at(25)), Verdict::Ask);
        distrust.wrong(url, Some("1"), at(25));
        assert_eq!(distrust.verdict(url, at(26)), changed("1"));
        distrust.wrong(url, Some("2"), at(26));
        assert_eq!(distrust.verdict(url, at(26)), Verdict::Ask, "another file");
        distrust.right(url);
        for _ in 0..2 {
            distrust.wrong(url, None, at(27));
        }
        assert_eq!(distrust.verdict(url, at(28)), Verdict::Leave);
        assert_eq!(
            distrust.verdict("https://other/nar/x", at(28)),
            Verdict::Ask
        );
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let mut distrust = Distrust::default();
        for number in 0..MAX as u64 * 2 {
            distrust.wrong(&number.to_string(), None, at(number));
        }
        assert_eq!(distrust.0.len(), MAX);
        assert!(distrust.0.contains_key(&(MAX * 2 - 1).to_string()));
        assert!(!distrust.0.contains_key("0"));
    }
}
