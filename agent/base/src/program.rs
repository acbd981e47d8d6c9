//! Programs that end in time.

use std::{
    io,
    process::{Command, ExitStatus},
    time::Duration,
};

/// How a program ended, and what it printed.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// The end of what it printed, as much of it as was asked for.
    pub stdout: Vec<u8>,
    /// The end of what it complained of, as much of it as was asked for.
    pub stderr: Vec<u8>,
}

/// Why there is no end of a program to tell of.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It cannot be started, or not be listened to.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It did not end in time, and was killed.
    #[error("no answer within {} ms", .0.as_millis())]
    TooLate(Duration),
}

/// What a program may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long it may run; then it is killed.
    pub time: Duration,
    /// How much is kept of each of its outputs, bytes: the end is what tells.
    pub output: usize,
}

/// Runs a program to its end, with nothing to read. It is killed when the time is over, and when
/// this is dropped. Environment and working directory are the caller's.
///
/// # Errors
/// [`ProgramError`]. A status other than 0 is not an error.
#[cfg(feature = "tokio")]
pub async fn run(mut command: Command, limits: Limits) -> Result<Ended, ProgramError> {
    command.stdin(std::process::Stdio::null());
    let mut command = tokio::process::Command::from(command);
    let output = tokio::time::timeout(limits.time, command.kill_on_drop(true).output())
        .await
        .map_err(|_| ProgramError::TooLate(limits.time))??;
    Ok(Ended {
        status: output.status,
        stdout: end(output.stdout, limits.output),
        stderr: end(output.stderr, limits.output),
    })
}

/// The last bytes of what was printed.
#[cfg(feature = "tokio")]
fn end(mut bytes: Vec<u8>, limit: usize) -> Vec<u8> {
    bytes.drain(..bytes.len().saturating_sub(limit));
    bytes
}

/// A program with its arguments, for messages.
#[must_use]
pub fn words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The last lines of what a program printed, each cut after `width` characters.
#[must_use]
pub fn last_lines(printed: &[u8], count: usize, width: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(printed);
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| line.chars().take(width).collect())
        .collect();
    lines.drain(..lines.len().saturating_sub(count));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_cut() {
        let lines = last_lines("a\nübel\n\nlonger\n".as_bytes(), 3, 2);
        assert_eq!(lines, ["üb", "", "lo"]);
        assert!(last_lines(b"", 3, 2).is_empty());
    }

    #[test]
    fn messages_name_a_program_with_its_arguments() {
        let mut command = Command::new("bootctl");
        command.args(["set-oneshot", "x.conf"]);
        assert_eq!(words(&command), "bootctl set-oneshot x.conf");
    }

    #[cfg(feature = "tokio")]
    mod run {
        use super::*;
        use std::{fs::File, io::Read as _};

        fn shell(script: &str) -> Command {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        }

        #[tokio::test(flavor = "current_thread")]
        async fn the_end_of_the_output_is_kept() {
            let limits = Limits {
                time: Duration::from_secs(60),
                output: 4,
            };
            // It has nothing to read.
            let ended = run(shell("cat; echo 123456; echo no >&2; exit 3"), limits)
                .await
                .unwrap();
            assert_eq!(ended.status.code(), Some(3));
            assert_eq!(ended.stdout, b"456\n");
            assert_eq!(ended.stderr, b"no\n");
        }

        #[tokio::test(flavor = "current_thread")]
        async fn what_takes_too_long_is_killed() {
            let limits = Limits {
                time: Duration::from_millis(1),
                output: 4,
            };
            // Held open by the program for as long as it lives.
            let (reader, writer) = nix::unistd::pipe().unwrap();
            let error = run(shell("exec sleep 600"), limits).await.unwrap_err();
            assert_eq!(error.to_string(), "no answer within 1 ms");
            drop(writer);
            let left = File::from(reader).read_to_end(&mut Vec::new()).unwrap();
            assert_eq!(left, 0);
            let error = run(Command::new("/missing"), limits).await.unwrap_err();
            assert!(matches!(error, ProgramError::Io(_)), "{error}");
        }
    }
}
