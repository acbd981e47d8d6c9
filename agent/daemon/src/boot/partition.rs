//! Looks at the boot partition, which may never answer: an automount that nobody serves, a disk that has
//! died. A thread that waits there cannot be ended, so each look is a process of its own with a limit, and
//! one at a time. As long as the last one hangs none is begun: the answer is that it cannot be told, at
//! once, and nothing piles up.

use anyhow::Context as _;
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use surefoot_base::{
    program::{self, Limits, ProgramError, Unended},
    units::short_duration,
};
use tokio::{sync::watch, time::Instant};

/// What a look may take: a slow disk that sleeps is awake by then.
const LIMITS: Limits = Limits {
    time: Duration::from_secs(20),
    output: 1 << 20,
};

/// How long it is left alone after a look that was not answered, and at most after many.
const AGAIN: Duration = Duration::from_secs(30);
const AGAIN_AT_MOST: Duration = Duration::from_secs(300);

/// The control groups of systemd's own units (cgroups(7)).
const GROUPS: &str = "/sys/fs/cgroup/system.slice";

/// The robot's.
pub(super) static PARTITION: Partition = Partition::new();

/// Whether the boot partition answers.
pub(super) struct Partition {
    alone: tokio::sync::Mutex<()>,
    silence: Mutex<Option<Silence>>,
    since: std::sync::LazyLock<watch::Sender<Option<Instant>>>,
}

/// That it does not.
#[derive(Debug)]
struct Silence {
    since: Instant,
    /// When it may be asked again, and how long after that if that is in vain, too.
    next: Instant,
    pause: Duration,
    left: Left,
    /// Whether what was left was seen to live on, though it was killed.
    stuck: bool,
}

/// What hangs there.
#[derive(Debug)]
pub(super) enum Left {
    /// Nothing that is known.
    Nothing,
    /// A look.
    Look(program::Left),
    /// A step, in this control group of its own.
    Step(PathBuf),
}

/// That the boot partition does not answer, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Silent(Duration);

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = short_duration(Duration::from_secs(self.0.as_secs()));
        write!(f, "the boot partition has not answered for {time}")
    }
}

impl std::error::Error for Silent {}

impl Left {
    fn lives(&mut self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Look(process) => process.lives(),
            // systemd gives such a unit up, and its processes stay.
            Self::Step(group) => fs::read_to_string(group.join("cgroup.events"))
                .is_ok_and(|events| events.lines().any(|line| line == "populated 1")),
        }
    }

    /// What a unit of systemd's leaves.
    pub(super) fn of_unit(unit: &str) -> Self {
        Self::Step(Path::new(GROUPS).join(unit))
    }
}

impl Partition {
    const fn new() -> Self {
        Self {
            alone: tokio::sync::Mutex::const_new(()),
            silence: Mutex::new(None),
            since: std::sync::LazyLock::new(watch::Sender::default),
        }
    }

    /// Since when it has not answered, as it changes.
    pub(super) fn silence(&self) -> watch::Receiver<Option<Instant>> {
        self.since.subscribe()
    }

    /// Whether it may be asked now.
    ///
    /// # Errors
    /// It did not answer the last time, and it is too early to ask again or what asked then still hangs.
    pub(super) fn may_be_asked(&self) -> Result<(), Silent> {
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = &mut *silence else {
            return Ok(());
        };
        let lives = known.left.lives();
        // What hung there came back: so it answers again, or it is known soon that it does not.
        let came_back = known.stuck && !lives;
        known.stuck = lives;
        let now = Instant::now();
        if came_back {
            known.next = now;
        }
        if !lives && now >= known.next {
            return Ok(());
        }
        Err(Silent(known.since.elapsed()))
    }

    /// Runs a look at it to its end; gives what that printed.
    ///
    /// # Errors
    /// [`Silent`], or what the look said.
    pub(super) async fn look(&self, command: Command) -> anyhow::Result<String> {
        self.look_within(command, LIMITS).await
    }

    async fn look_within(&self, command: Command, limits: Limits) -> anyhow::Result<String> {
        let _alone = self.alone.lock().await;
        self.may_be_asked()?;
        let begun = Instant::now();
        let ended = match program::attempt(command, limits).await {
            Ok(ended) => ended,
            Err(Unended {
                why: ProgramError::TooLate(_),
                left,
            }) => {
                let left = left.map_or(Left::Nothing, Left::Look);
                return Err(self.hangs(begun, left).into());
            }
            Err(unended) => {
                return Err(unended.why).context("cannot look at the boot loader");
            }
        };
        self.answers();
        anyhow::ensure!(ended.status.success(), "{}", ended.stderr.last_words());
        Ok(ended.stdout.whole()?)
    }

    fn answers(&self) {
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        if silence.take().is_some() {
            tracing::info!("the boot partition answers again");
            self.since.send_replace(None);
        }
    }

    /// What was begun then did not end in its time.
    pub(super) fn hangs(&self, begun: Instant, left: Left) -> Silent {
        let now = Instant::now();
        let mut silence = self.silence.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, pause) = match &*silence {
            Some(known) => (known.since, (known.pause * 2).min(AGAIN_AT_MOST)),
            None => (begun, AGAIN),
        };
        *silence = Some(Silence {
            since,
            next: now + pause,
            pause,
            left,
            stuck: false,
        });
        let silent = Silent(now - since);
        if since == begun {
            tracing::warn!("{silent}: what needs the boot loader waits");
            self.since.send_replace(Some(since));
        }
        silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_base::environment;

    fn shell(script: &str) -> Command {
        let mut command = environment::command("sh");
        command.args(["-c", script]);
        command
    }

    /// Time goes by, after what was killed has ended.
    async fn passes(partition: &Partition, time: Duration) {
        let lives = || {
            let mut silence = partition.silence.lock().unwrap();
            silence.as_mut().is_some_and(|silence| silence.left.lives())
        };
        while lives() {
            tokio::task::yield_now().await;
        }
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
    }

    #[tokio::test]
    async fn what_hangs_is_said_at_once_to_whoever_asks_next_and_asked_again_later() {
        let dir = tempfile::tempdir().unwrap();
        let (fifo, touched) = (dir.path().join("loader.conf"), dir.path().join("touched"));
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        // One process: a child of the shell would outlive it by a moment, and take what is written for others.
        let read = || shell(&format!("exec cat {}", fifo.display()));
        let touch = || shell(&format!("touch {}", touched.display()));
        let soon = Limits {
            time: Duration::from_millis(50),
            ..LIMITS
        };
        let partition = Partition::new();
        let mut silence = partition.silence();
        let (one, two) = tokio::join!(
            partition.look_within(read(), soon),
            partition.look_within(read(), soon)
        );
        for said in [one, two] {
            assert!(said.unwrap_err().is::<Silent>());
        }
        assert!(silence.borrow_and_update().is_some());
        partition.look(touch()).await.unwrap_err();
        // Once its time has come it is asked again, and not as soon after that.
        passes(&partition, AGAIN).await;
        partition.look_within(read(), soon).await.unwrap_err();
        passes(&partition, AGAIN).await;
        let silent = partition.look(touch()).await.unwrap_err();
        assert!(
            silent.to_string().contains("has not answered for 1m"),
            "{silent}"
        );
        assert!(!touched.exists());
        // It answers.
        passes(&partition, 2 * AGAIN).await;
        let at = fifo.clone();
        let answer = std::thread::spawn(move || fs::write(at, "default a.conf").unwrap());
        assert_eq!(partition.look(read()).await.unwrap(), "default a.conf");
        answer.join().unwrap();
        assert!(silence.borrow_and_update().is_none());
        partition.look(touch()).await.unwrap();
        assert!(touched.exists());
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_on_keeps_every_look_away_until_it_comes_back() {
        let unit = tempfile::tempdir().unwrap();
        let processes = |there: u8| {
            let events = format!("populated {there}\nfrozen 0\n");
            fs::write(unit.path().join("cgroup.events"), events).unwrap();
        };
        let partition = Partition::new();
        processes(1);
        partition.hangs(Instant::now(), Left::Step(unit.path().to_owned()));
        for _ in 0..3 {
            partition.may_be_asked().unwrap_err();
            tokio::time::advance(AGAIN_AT_MOST).await;
        }
        processes(0);
        partition.may_be_asked().unwrap();
        partition.may_be_asked().unwrap();
        // What was ended at once says nothing: its time has to come.
        partition.hangs(Instant::now(), Left::Step(unit.path().to_owned()));
        partition.may_be_asked().unwrap_err();
        tokio::time::advance(AGAIN).await;
        partition.may_be_asked().unwrap_err();
        tokio::time::advance(AGAIN).await;
        partition.may_be_asked().unwrap();
    }

    #[tokio::test]
    async fn a_look_that_fails_is_an_answer() {
        let partition = Partition::new();
        let said = partition.look(shell("echo no entry >&2; exit 1")).await;
        let said = said.unwrap_err();
        assert_eq!(said.to_string(), "no entry");
        assert!(!said.is::<Silent>());
        partition.may_be_asked().unwrap();
    }
}
