//! How often each user may do something.

use super::users::User;
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// So often at once, and then once in each of these times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    /// At once.
    pub(super) burst: u32,
    /// Then once in this time.
    pub(super) every: Duration,
}

impl Rate {
    pub(super) const fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every }
    }
}

/// How much each user has had lately: a bucket that leaks, kept as the time at which it is empty.
#[derive(Debug, Default)]
pub(super) struct Rates(HashMap<User, Instant>);

impl Rates {
    /// Takes one for a user, if that is not too often.
    ///
    /// # Errors
    /// How long the user has to wait for it. Nothing is taken then.
    pub(super) fn take(&mut self, user: &User, rate: Rate, now: Instant) -> Result<(), Duration> {
        // One whose bucket is empty is as good as one that nobody knows.
        self.0.retain(|_, empty| now < *empty);
        let empty = self.0.get(user).copied().unwrap_or(now);
        let room = rate.every * rate.burst.saturating_sub(1);
        match (empty - now).checked_sub(room) {
            None | Some(Duration::ZERO) => {
                self.0.insert(user.clone(), empty + rate.every);
                Ok(())
            }
            Some(wait) => Err(wait),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: Rate = Rate::new(3, Duration::from_secs(10));

    #[test]
    fn so_many_at_once_and_then_one_in_each_time() {
        let start = Instant::now();
        let mut rates = Rates::default();
        let mut take =
            |user, at| rates.take(&User::Uid(user), RATE, start + Duration::from_secs(at));
        for _ in 0..3 {
            assert_eq!(take(1, 0), Ok(()));
        }
        assert_eq!(take(1, 0), Err(Duration::from_secs(10)));
        assert_eq!(take(1, 4), Err(Duration::from_secs(6)));
        // Another user is not kept waiting by this one.
        assert_eq!(take(2, 4), Ok(()));
        assert_eq!(take(1, 10), Ok(()));
        assert_eq!(take(1, 10), Err(Duration::from_secs(10)));
        // Whoever waited long has all of it again, and no more.
        for _ in 0..3 {
            assert_eq!(take(1, 100), Ok(()));
        }
        assert!(take(1, 100).is_err());
    }

    proptest! {
        #[test]
        fn in_no_time_more_than_it_allows(steps in prop::collection::vec((0u32..3, 0u64..7), 0..200)) {
            let start = Instant::now();
            let mut now = start;
            let mut rates = Rates::default();
            let mut taken: HashMap<u32, Vec<Instant>> = HashMap::new();
            for (user, seconds) in steps {
                now += Duration::from_secs(seconds);
                match rates.take(&User::Uid(user), RATE, now) {
                    Ok(()) => taken.entry(user).or_default().push(now),
                    // Whoever waits as long as is said gets it.
                    Err(wait) => prop_assert!(rates.0.contains_key(&User::Uid(user)) && wait <= RATE.every),
                }
            }
            for times in taken.values() {
                for (first, from) in times.iter().enumerate() {
                    for (last, to) in times.iter().enumerate().skip(first) {
                        let allowed = 3 + (*to - *from).as_secs() / 10;
                        prop_assert!((last - first + 1) as u64 <= allowed);
                    }
                }
            }
            prop_assert!(rates.0.len() <= 3);
        }
    }
}
