//! Running a program to its end, as a group of processes that ends with it.

use super::{Ended, Limits, Printed, ProgramError};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::{self, Pid},
};
use std::{
    future::pending,
    io,
    os::fd::AsFd,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Child,
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};

/// How much is read at once, bytes.
const CHUNK: usize = 16 << 10;

/// What prints without end is read no faster than a chunk each time this is over: nobody's work waits
/// for it, and the robot's work waits for the processor.
const PACE: Duration = Duration::from_millis(1);

/// The most that is read of an output after the program has ended: what a pipe may hold (pipe(7),
/// `/proc/sys/fs/pipe-max-size`). Another process may go on printing there.
const MAX_LEFT: usize = 1 << 20;

/// Runs a program to its end, with nothing to read. It is the leader of a group of processes of its
/// own, which is killed when the program has ended, when the time is over, and when this is dropped.
/// Environment and working directory are the caller's.
///
/// The program's exit is its end. A process that it leaves behind and that keeps its output open is
/// not waited for.
///
/// What moves to a session of its own (setsid(2)) has left the group. Programs that may do so belong
/// in a unit of systemd.
///
/// # Errors
/// [`ProgramError`]. A status other than 0 is not an error.
pub async fn run(command: Command, limits: Limits) -> Result<Ended, ProgramError> {
    attempt(command, limits)
        .await
        .map_err(|unended| unended.why)
}

/// [`run`], for what may not even end when it is killed: the kernel waits for a disk on its behalf.
///
/// # Errors
/// As there, with what may be left of it.
pub async fn attempt(command: Command, limits: Limits) -> Result<Ended, Unended> {
    let mut left = None;
    let ended = watch(command, limits, &mut left).await;
    ended.map_err(|why| Unended {
        why,
        left: left.map(Left),
    })
}

/// That a program did not come to an end.
#[derive(Debug)]
pub struct Unended {
    /// Why.
    pub why: ProgramError,
    /// The program, if it was started: it was told to end at once.
    pub left: Option<Left>,
}

/// A program that was killed, and that may live on.
#[derive(Debug)]
pub struct Left(Group);

impl Left {
    /// Whether it still lives.
    pub fn lives(&mut self) -> bool {
        matches!(self.0.0.try_wait(), Ok(None))
    }
}

/// Runs it as [`run`] says. What did not end is killed and put into `left`.
async fn watch(
    mut command: Command,
    limits: Limits,
    left: &mut Option<Group>,
) -> Result<Ended, ProgramError> {
    use std::os::unix::process::CommandExt as _;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    // Listened to before there is anything to be missed.
    let mut ends = signal(SignalKind::child())?;
    let group = left.insert(Group(tokio::process::Command::from(command).spawn()?));
    let (mut out, mut err) = (group.0.stdout.take(), group.0.stderr.take());
    let (mut stdout, mut stderr) = (Printed::new(limits), Printed::new(limits));
    let exit = async {
        while group.lives()? {
            ends.recv().await;
        }
        Ok(())
    };
    let listen = async {
        tokio::join!(stdout.listen(&mut out), stderr.listen(&mut err));
        // It goes on without a word.
        pending::<io::Error>().await
    };
    let ended = async {
        tokio::select! {
            ended = exit => ended,
            error = listen => Err(error),
        }
    };
    match timeout(limits.time, ended).await {
        Ok(ended) => ended?,
        Err(_) => {
            group.kill();
            return Err(ProgramError::TooLate(limits.time));
        }
    }
    let status = group.end().await?;
    stdout.take_rest(out.as_ref());
    stderr.take_rest(err.as_ref());
    Ok(Ended {
        status,
        stdout,
        stderr,
    })
}

/// [`run`], where nothing else is going on.
///
/// # Errors
/// As there.
///
/// # Panics
/// Within an asynchronous runtime, which has to use [`run`].
pub fn run_blocking(command: Command, limits: Limits) -> Result<Ended, ProgramError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run(command, limits))
}

/// A program and the processes that it has started.
#[derive(Debug)]
struct Group(Child);

impl Group {
    /// Whether the program itself still runs. Once it has ended its number stays its own until
    /// [`Group::end`], so that nobody else's group is killed.
    fn lives(&self) -> io::Result<bool> {
        let Some(pid) = self.pid() else {
            return Ok(false);
        };
        let how = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        loop {
            match waitid(Id::Pid(pid), how) {
                Ok(status) => return Ok(status == WaitStatus::StillAlive),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Its number, unless it has been waited for.
    fn pid(&self) -> Option<Pid> {
        let pid = i32::try_from(self.0.id()?).ok()?;
        Some(Pid::from_raw(pid))
    }

    /// Ends all of it; gives how the program ended.
    async fn end(&mut self) -> io::Result<ExitStatus> {
        self.kill();
        self.0.wait().await
    }

    fn kill(&self) {
        if let Some(pid) = self.pid() {
            // No such group: it is what was wanted.
            let _ = killpg(pid, Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Printed {
    const fn new(limits: Limits) -> Self {
        Self {
            bytes: Vec::new(),
            limit: limits.output,
            cut: false,
        }
    }

    /// Reads until nobody can print any more.
    async fn listen(&mut self, pipe: &mut Option<impl AsyncRead + Unpin>) {
        let Some(pipe) = pipe else { return };
        loop {
            self.bytes.reserve_exact(CHUNK);
            // What cannot be read is over.
            match pipe.read_buf(&mut self.bytes).await {
                Ok(1..) => self.keep_the_end(),
                Ok(0) | Err(_) => return,
            }
            if self.cut {
                sleep(PACE).await;
            }
        }
    }

    /// Takes what lies in a pipe now.
    fn take_rest(&mut self, pipe: Option<&impl AsFd>) {
        let Some(pipe) = pipe else { return };
        let (mut chunk, mut left) = ([0; 4096], MAX_LEFT);
        while left > 0 {
            match unistd::read(pipe, &mut chunk) {
                Ok(0) => break,
                Ok(count) => {
                    self.bytes.extend_from_slice(&chunk[..count]);
                    self.keep_the_end();
                    left = left.saturating_sub(count);
                }
                Err(Errno::EINTR) => {}
                // Nothing lies there: it is not waited for.
                Err(_) => break,
            }
        }
        self.trim();
    }

    /// Drops what is older than the limit, once that is as much as is kept.
    fn keep_the_end(&mut self) {
        self.cut |= self.bytes.len() > self.limit;
        if self.bytes.len() > 2 * self.limit {
            self.trim();
        }
    }

    fn trim(&mut self) {
        let surplus = self.bytes.len().saturating_sub(self.limit);
        self.bytes.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, future::Future as _, io::Read as _, task::Poll};

    const LIMITS: Limits = Limits {
        time: Duration::from_secs(600),
        output: 4,
    };

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// Whether nobody who was started since holds this open any more.
    fn is_closed((reader, writer): (impl Into<File>, impl Sized)) -> bool {
        drop(writer);
        reader.into().read_to_end(&mut Vec::new()).unwrap() == 0
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_end_of_the_output_is_kept() {
        // It has nothing to read.
        let ended = run(shell("cat; echo 123456; echo no >&2; exit 3"), LIMITS)
            .await
            .unwrap();
        assert_eq!(ended.status.code(), Some(3));
        assert_eq!(ended.stdout.end(), b"456\n");
        assert_eq!(ended.stderr.end(), b"no\n");
        assert_eq!(ended.stderr.whole().unwrap(), "no\n");
        // A cut half is not taken for the whole.
        let error = ended.stdout.whole().unwrap_err();
        assert_eq!(error.to_string(), "it printed more than 4 bytes");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_prints_without_end_costs_no_memory() {
        let limits = Limits {
            output: 1000,
            ..LIMITS
        };
        let script = "head -c 5000000 /dev/zero; echo end";
        let ended = run(shell(script), limits).await.unwrap();
        assert!(ended.stdout.end().ends_with(b"\0end\n"));
        assert_eq!(ended.stdout.end().len(), 1000);
        let held = ended.stdout.bytes.capacity();
        assert!(held <= 2 * 1000 + 2 * CHUNK, "{held} bytes");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_child_that_keeps_the_output_open_is_ended_with_its_program() {
        // Held open by all processes of the program for as long as they live.
        let pipe = unistd::pipe().unwrap();
        let ended = run(shell("echo yes; sleep 600 & exit 0"), LIMITS).await;
        let ended = ended.unwrap();
        assert!(ended.status.success());
        assert_eq!(ended.stdout.end(), b"yes\n");
        assert!(is_closed(pipe));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_exit_counts_and_not_who_holds_the_output() {
        // It has a session of its own, and so it is not ended.
        let ended = run(
            shell("setsid sleep 600 & echo $!"),
            Limits {
                output: 99,
                ..LIMITS
            },
        );
        let ended = ended.await.unwrap();
        assert!(ended.status.success());
        let left: i32 = ended.stdout.whole().unwrap().trim().parse().unwrap();
        nix::sys::signal::kill(Pid::from_raw(left), Signal::SIGKILL).unwrap();
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_takes_too_long_is_killed() {
        let limits = Limits {
            time: Duration::from_millis(1),
            ..LIMITS
        };
        let pipe = unistd::pipe().unwrap();
        let error = run(shell("sleep 600 & sleep 600"), limits).await;
        assert_eq!(error.unwrap_err().to_string(), "no answer within 1 ms");
        assert!(is_closed(pipe));
        let error = run(Command::new("/missing"), limits).await.unwrap_err();
        assert!(matches!(error, ProgramError::Io(_)), "{error}");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_nobody_waits_for_any_more_is_killed() {
        let pipe = unistd::pipe().unwrap();
        let mut running = Box::pin(run(shell("sleep 600 & sleep 600"), LIMITS));
        let begun = std::future::poll_fn(|context| Poll::Ready(running.as_mut().poll(context)));
        assert!(begun.await.is_pending());
        drop(running);
        assert!(is_closed(pipe));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_was_killed_is_known_until_it_has_ended() {
        let limits = Limits {
            time: Duration::from_millis(1),
            ..LIMITS
        };
        let pipe = unistd::pipe().unwrap();
        let mut left = attempt(shell("exec sleep 600"), limits)
            .await
            .unwrap_err()
            .left
            .unwrap();
        assert!(is_closed(pipe));
        while left.lives() {
            tokio::task::yield_now().await;
        }
        let unended = attempt(Command::new("/missing"), limits).await.unwrap_err();
        assert!(unended.left.is_none());
    }

    #[test]
    fn it_runs_without_a_runtime_too() {
        let ended = run_blocking(shell("echo yes"), LIMITS).unwrap();
        assert_eq!(ended.stdout.end(), b"yes\n");
    }
}
