//! Connecting to a program of this machine that may not take anybody in.

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt,
        },
        time::TimeVal,
    },
};
use std::{
    io,
    os::{fd::AsRawFd as _, unix::net::UnixStream},
    path::Path,
    time::Duration,
};

/// Connects to a Unix socket. Where many wait to be taken in, `connect(2)` waits for as long as that
/// takes: for ever, if nobody takes them in. Here it waits for a time.
///
/// # Errors
/// Nobody listens there, or the time is over: [`io::ErrorKind::TimedOut`].
pub fn connect_within(path: &Path, time: Duration) -> io::Result<UnixStream> {
    let stream = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    // A time of zero would be none at all.
    let limit = TimeVal::new(seconds, i64::from(time.subsec_micros()).max(1));
    setsockopt(&stream, sockopt::SendTimeout, &limit)?;
    let address = UnixAddr::new(path)?;
    loop {
        match connect(stream.as_raw_fd(), &address) {
            Ok(()) => return Ok(stream.into()),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                let why = "too many wait there already";
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{Backlog, bind, listen};
    use std::io::{Read as _, Write as _};

    #[test]
    fn nobody_waits_for_ever_where_nobody_is_taken_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let time = Duration::from_millis(1);
        let missing = connect_within(&path, time).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);

        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let mut here = connect_within(&path, time).unwrap();
        let (mut there, _) = listener.accept().unwrap();
        there.write_all(b"x").unwrap();
        here.read_exact(&mut [0]).unwrap();

        let busy = dir.path().join("busy");
        let few = socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::empty(),
            None,
        )
        .unwrap();
        bind(few.as_raw_fd(), &UnixAddr::new(&busy).unwrap()).unwrap();
        listen(&few, Backlog::new(1).unwrap()).unwrap();
        let mut waiting = Vec::new();
        let refused = loop {
            match connect_within(&busy, time) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
    }
}
