//! What time is signed: what this machine's clock reads, held against when the repository was signed last.

use crate::{errors::Usage, output};
use anyhow::bail;
use jiff::Timestamp;
use surefoot_trust::{
    Editor,
    editor::{DAY, Expiry},
};

/// A repository that was not signed for so long, seconds, was forgotten, or the clock runs ahead. Robots
/// count from what is signed: a clock that runs ahead would let all of them in at once.
const FORGOTTEN: u64 = 30 * DAY;

/// Clocks of two machines that sign one repository may differ by so much, seconds.
const APART: i64 = 5 * 60;

/// What a person says of this machine's clock.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct ClockArgs {
    /// The clock of this machine is right, although it reads more than a month after the repository was
    /// signed last; or, for `surefoot repo refresh`, before that time.
    #[arg(long)]
    clock_is_right: bool,
}

/// What a clock reads beside what was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clock {
    Plausible,
    /// It reads before this moment, at which the repository was signed.
    Behind(Timestamp),
    /// It reads long after this moment, at which the repository was signed last.
    Ahead(Timestamp),
}

impl Clock {
    /// `lifetime` is that of the timestamp, seconds: one that lives for long is signed seldom.
    fn judge(now: Timestamp, signed: Option<Timestamp>, lifetime: u64) -> Self {
        let Some(signed) = signed else {
            return Self::Plausible;
        };
        let ago = now.as_second().saturating_sub(signed.as_second());
        match u64::try_from(ago) {
            Err(_) => Self::Behind(signed),
            Ok(ago) if ago > FORGOTTEN.max(lifetime.saturating_mul(2)) => Self::Ahead(signed),
            Ok(_) => Self::Plausible,
        }
    }
}

/// When this was written, seconds: a clock that reads less was not set. 2026-11-01 00:00 UTC.
const WRITTEN: i64 = 1_793_491_200;

/// What this machine's clock reads: the time of a new repository, which nothing that was signed says anything
/// about.
///
/// # Errors
/// The clock was not set.
pub(crate) fn first_time() -> anyhow::Result<Timestamp> {
    let now = Timestamp::now();
    if now.as_second() < WRITTEN {
        bail!(
            "the clock of this machine reads {now}, when this program was not yet made; set the clock"
        );
    }
    Ok(now)
}

impl ClockArgs {
    /// What is signed now: for people, whole seconds.
    ///
    /// # Errors
    /// This machine's clock reads before the time at which the repository was signed: what robots count
    /// from would go back. Or it reads long after it, and nobody says that it is right.
    pub(crate) fn now(self, editor: &Editor) -> anyhow::Result<Timestamp> {
        let (now, clock) = self.read(editor)?;
        if let Clock::Behind(signed) = clock {
            bail!(
                "the clock of this machine reads {now}, but the repository was signed at {signed}; set the clock"
            );
        }
        Ok(now)
    }

    /// What is signed now by what may stop a rollout or take a stolen key's word away. Where the repository
    /// was signed by a clock that ran ahead nobody has to wait until that time is over: robots count from
    /// the newest signature, so the true time closes what the wrong one had opened.
    ///
    /// # Errors
    /// The clock reads long after the repository was signed, and nobody says that it is right.
    pub(crate) fn now_whatever_was_signed(self, editor: &Editor) -> anyhow::Result<Timestamp> {
        let (now, clock) = self.read(editor)?;
        if let Clock::Behind(signed) = clock {
            output::notice(&format!(
                "warning: the repository was signed at {signed}, and the clock of this machine reads {now}: \
                 one of the two clocks is wrong. From now on it is signed at {now}"
            ));
        }
        Ok(now)
    }

    /// What is signed now by a timer, which nobody watches: a machine that starts with a wrong clock must not
    /// sign a time that robots and the next run take for the truth.
    ///
    /// # Errors
    /// The clock reads some minutes before the time at which the repository was signed, or long after it, and
    /// nobody says that it is right.
    pub(crate) fn now_by_timer(self, editor: &Editor) -> anyhow::Result<Timestamp> {
        let now = self.now_whatever_was_signed(editor)?;
        if let Some(signed) = editor.signed()
            && signed.as_second().saturating_sub(now.as_second()) > APART
            && !self.clock_is_right
        {
            bail!(Usage(format!(
                "the clock of this machine reads {now}, and the repository was signed at {signed}: set the \
                 clock, or give --clock-is-right if the other one was wrong"
            )));
        }
        Ok(now)
    }

    fn read(self, editor: &Editor) -> anyhow::Result<(Timestamp, Clock)> {
        let now = Timestamp::from_second(first_time()?.as_second())?;
        let expiries = editor.expiries();
        let lifetime = expiries.iter().find(|one| one.role == "timestamp");
        let lifetime = lifetime.map_or(0, |one: &Expiry| one.lifetime);
        let clock = Clock::judge(now, editor.signed(), lifetime);
        if let Clock::Ahead(signed) = clock
            && !self.clock_is_right
        {
            bail!(Usage(format!(
                "the clock of this machine reads {now}, and the repository was signed last at {signed}: set \
                 the clock, or give --clock-is-right if nobody has signed for so long"
            )));
        }
        Ok((now, clock))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_held_against_what_was_signed_in_both_directions() {
        let signed = Timestamp::from_second(1_800_000_000).unwrap();
        let judge = |days: i64, lifetime: u64| {
            let now = Timestamp::from_second(signed.as_second() + days * 86_400).unwrap();
            Clock::judge(now, Some(signed), lifetime * DAY)
        };
        assert_eq!(judge(0, 7), Clock::Plausible);
        assert_eq!(judge(30, 7), Clock::Plausible);
        assert_eq!(judge(31, 7), Clock::Ahead(signed));
        assert_eq!(judge(365 * 80, 7), Clock::Ahead(signed));
        assert_eq!(judge(-1, 7), Clock::Behind(signed));
        assert_eq!(judge(-365 * 56, 7), Clock::Behind(signed));
        // What is signed twice a year is not forgotten after a month.
        assert_eq!(judge(300, 180), Clock::Plausible);
        assert_eq!(judge(361, 180), Clock::Ahead(signed));
        assert_eq!(Clock::judge(signed, None, DAY), Clock::Plausible);
    }
}
