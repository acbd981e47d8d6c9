//! The programs of `tests/rig`, and how to run them and to wait for them.

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
    time::{Duration, Instant},
};

/// The root of the source tree: `SUREFOOT_SOURCE`, or where this was built.
pub fn source() -> &'static Path {
    static SOURCE: OnceLock<PathBuf> = OnceLock::new();
    SOURCE.get_or_init(|| {
        if let Some(given) = std::env::var_os("SUREFOOT_SOURCE") {
            return given.into();
        }
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        here.join("../..")
            .canonicalize()
            .unwrap_or_else(|_| here.to_owned())
    })
}

/// A program of `tests/rig`, by its path in there.
pub fn program(name: &str) -> PathBuf {
    source().join("tests/rig").join(name)
}

/// Where the rig keeps what it built: `SUREFOOT_RIG_CACHE`, or `target/rig`.
pub fn cache() -> PathBuf {
    std::env::var_os("SUREFOOT_RIG_CACHE")
        .map_or_else(|| source().join("target/rig"), PathBuf::from)
}

/// A command that is killed when the thread that starts it ends, however it ends.
pub fn leashed(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// Has commands in robots go on that stopped, for as long as this process has children.
///
/// A robot that shuts down stops all of its processes for a moment before it ends them (systemd,
/// `broadcast_signal`). nsenter(1) stops with its command, and nobody tells it to go on: the robot would wait
/// for it to take note of the command's end, and whoever ran the command for nsenter.
pub(crate) fn keep_commands_going() {
    std::thread::spawn(|| {
        loop {
            match waitid(Id::All, WaitPidFlag::WSTOPPED) {
                Ok(WaitStatus::Stopped(pid, _)) => {
                    let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
                    if name.is_ok_and(|name| name.trim_end() == "nsenter") {
                        // It may have ended meanwhile.
                        let _ = kill(pid, Signal::SIGCONT);
                    }
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    });
}

/// Runs a command to its end and gives what it wrote to stdout, without the last line break.
///
/// # Errors
/// When it cannot be run or does not exit with 0; then with what it wrote.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    succeeded(command, &output)
}

/// All that a program wrote, to stdout and then to stderr.
#[must_use]
pub fn words(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

pub(crate) fn succeeded(command: &Command, output: &Output) -> Result<String> {
    let stdout = String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}\n{stdout}\n{stderr}", output.status);
    }
    Ok(stdout)
}

/// The root of the robots' userland; it is built when it is not there yet.
///
/// # Errors
/// When it cannot be built: `tests/rig/rootfs` says why.
pub fn rootfs() -> Result<PathBuf> {
    run(&mut Command::new(program("rootfs"))).map(PathBuf::from)
}

/// A program of the robots' userland, run on this machine by that userland's loader and libraries.
///
/// # Errors
/// When the userland cannot be built.
pub fn foreign(path: &str) -> Result<Command> {
    let root = rootfs()?;
    let libraries = std::fs::read_dir(root.join("usr/lib"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.to_string_lossy().ends_with("-linux-gnu"))
        .context("the robots' userland has no libraries")?;
    let loader = std::fs::read_dir(&libraries)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("ld-linux"))
        })
        .context("the robots' userland has no program loader")?;
    let mut command = leashed(loader);
    command
        .arg("--library-path")
        .arg(libraries)
        .arg(root.join(path));
    Ok(command)
}

/// A Nix program of the robots' userland, by its name, run on this machine.
pub fn nix(name: &str) -> Command {
    let mut command = leashed(program("nix"));
    command.arg(name).env_remove("NIX_REMOTE");
    command
}

/// How long to wait for what should come at once. Long: it is there to name what never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The pauses between looks. A look is a handful of processes, and robots need the processor more.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_AT_MOST: Duration = Duration::from_millis(200);

/// Waits until something real has happened, and gives it.
///
/// # Errors
/// When it has not after a minute, or when looking fails; `what` then says what was missed.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    let mut pause = PAUSE;
    loop {
        if let Some(found) = look().with_context(|| format!("waiting for {what}"))? {
            return Ok(found);
        }
        if start.elapsed() > PATIENCE {
            bail!("waited {} s for {what}", PATIENCE.as_secs());
        }
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(PAUSE_AT_MOST);
    }
}
