//! What the daemon says before an answer: its log, or its error. Nix calls it `stderr`, after what
//! it stands in for.
//!
//! Source: Nix `src/libstore/worker-protocol.hh`, `src/libstore/daemon.cc` (`TunnelLogger`).

use super::{
    failure::{Failure, Outcome},
    wire::{self, broken},
};
use std::io;
use tokio::io::AsyncRead;

/// What may stand before an answer (`STDERR_*`).
mod frame {
    pub(super) const NEXT: u64 = 0x6f6c_6d67;
    pub(super) const WRITE: u64 = 0x6461_7416;
    pub(super) const ERROR: u64 = 0x6378_7470;
    pub(super) const START_ACTIVITY: u64 = 0x5354_5254;
    pub(super) const STOP_ACTIVITY: u64 = 0x5354_4f50;
    pub(super) const RESULT: u64 = 0x5253_4c54;
    pub(super) const LAST: u64 = 0x616c_7473;
}

/// Reads log frames up to the end of them or the daemon's error.
pub(super) async fn drain(from: &mut (impl AsyncRead + Unpin)) -> Outcome<()> {
    loop {
        match wire::number(from).await? {
            frame::LAST => return Ok(()),
            frame::NEXT | frame::WRITE => log(&wire::bytes(from).await?),
            frame::START_ACTIVITY => {
                for _ in 0..3 {
                    wire::number(from).await?; // id, level, type
                }
                log(&wire::bytes(from).await?);
                fields(from).await?;
                wire::number(from).await?; // parent
            }
            frame::STOP_ACTIVITY => {
                wire::number(from).await?;
            }
            frame::RESULT => {
                wire::number(from).await?; // activity
                wire::number(from).await?; // type
                fields(from).await?;
            }
            frame::ERROR => {
                let _type = wire::text(from).await?;
                let _level = wire::number(from).await?;
                let _name = wire::text(from).await?;
                let message = wire::text(from).await?;
                let _position = wire::number(from).await?;
                for _ in 0..wire::count(from).await? {
                    wire::number(from).await?;
                    wire::text(from).await?;
                }
                return Err(Failure::Daemon(plain(&message)));
            }
            other => return Err(broken(format!("an unknown frame {other:#x}")).into()),
        }
    }
}

async fn fields(from: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    for _ in 0..wire::count(from).await? {
        match wire::number(from).await? {
            0 => drop(wire::number(from).await?),
            1 => drop(wire::bytes(from).await?),
            other => return Err(broken(format!("a field of type {other}"))),
        }
    }
    Ok(())
}

fn log(message: &[u8]) {
    if !message.is_empty() {
        let message = plain(&String::from_utf8_lossy(message));
        tracing::debug!(target: "nix_daemon", message);
    }
}

/// One line without the colours (`ESC [ … m`) that Nix puts into its messages.
fn plain(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    let mut rest = message;
    while let Some((before, after)) = rest.split_once('\x1b') {
        text.push_str(before);
        rest = after
            .split_once(|c: char| c.is_ascii_alphabetic())
            .map_or("", |(_, tail)| tail);
    }
    text.push_str(rest);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.strip_prefix("error: ")
        .map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_and_line_breaks_go() {
        assert_eq!(
            plain("\x1b[31;1merror:\x1b[0m cannot add '\x1b[35;1mx\x1b[0m'\n  because\x1b["),
            "cannot add 'x' because"
        );
    }
}
