//! Where the socket comes from: systemd, or the daemon itself.

use nix::sys::socket::{
    AddressFamily, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt,
};
use std::{
    fs, io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::{
            fs::{FileTypeExt, PermissionsExt},
            net::{UnixListener as StdListener, UnixStream as StdStream},
        },
    },
    path::{Path, PathBuf},
};
use tokio::net::UnixListener;

/// The name of the socket in the socket unit: `FileDescriptorName=`, `systemd.socket(5)`.
const NAME: &str = "control";

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// What systemd passed is of no use.
    #[error("the socket that systemd passed cannot be used: {0}")]
    Passed(String),
    /// Something else answers there.
    #[error("{}: somebody already answers there; only one surefootd can run", .0.display())]
    Taken(PathBuf),
    /// Something else lies there.
    #[error("{}: something that is no socket lies there; remove it", .0.display())]
    NotASocket(PathBuf),
    /// It cannot be made.
    #[error("{}: the control socket cannot be made: {source}", .path.display())]
    Bind {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Takes the control socket from systemd (`sd_listen_fds(3)`), or makes it at `path`.
///
/// Call it once, early, inside the runtime.
///
/// # Errors
/// [`ListenError`] if what systemd passed is no listening Unix socket, or none can be made.
pub(crate) fn listen(path: &Path) -> Result<UnixListener, ListenError> {
    let passed = sd_notify::listen_fds_with_names()
        .map_err(|error| ListenError::Passed(error.to_string()))?;
    let passed: Vec<(RawFd, String)> = passed.collect();
    let listener = match choose(&passed)? {
        Some(fd) => adopt(fd)?,
        None => bind(path)?,
    };
    let fail = |source| ListenError::Bind {
        path: path.to_owned(),
        source,
    };
    listener.set_nonblocking(true).map_err(fail)?;
    UnixListener::from_std(listener).map_err(fail)
}

/// The control socket among what systemd passed: the one with the right name, or the only one.
fn choose(passed: &[(RawFd, String)]) -> Result<Option<RawFd>, ListenError> {
    if let Some((fd, _)) = passed.iter().find(|(_, name)| name == NAME) {
        return Ok(Some(*fd));
    }
    match passed {
        [] => Ok(None),
        [(fd, _)] => Ok(Some(*fd)),
        _ => Err(ListenError::Passed(format!(
            "there are several and none is called '{NAME}'; set FileDescriptorName={NAME}"
        ))),
    }
}

fn adopt(fd: RawFd) -> Result<StdListener, ListenError> {
    // SAFETY: systemd passed this descriptor to this process, nothing else in it uses it, and it is
    // adopted once.
    #[allow(
        unsafe_code,
        reason = "a descriptor that is passed by number can be owned in no other way"
    )]
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let fail = |why: &dyn std::fmt::Display| ListenError::Passed(why.to_string());
    let address: SockaddrStorage = getsockname(fd.as_raw_fd()).map_err(|e| fail(&e))?;
    let listening = getsockopt(&fd, sockopt::AcceptConn).map_err(|e| fail(&e))?;
    if address.family() != Some(AddressFamily::Unix) || !listening {
        return Err(fail(
            &"it is no listening Unix socket; set ListenStream= to a path",
        ));
    }
    Ok(StdListener::from(fd))
}

fn bind(path: &Path) -> Result<StdListener, ListenError> {
    let fail = |source| ListenError::Bind {
        path: path.to_owned(),
        source,
    };
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(fail)?;
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(fail(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ListenError::NotASocket(path.to_owned()));
        }
        // A socket stays behind when its daemon is killed.
        Ok(_) => match StdStream::connect(path) {
            Ok(_) => return Err(ListenError::Taken(path.to_owned())),
            Err(_) => fs::remove_file(path).map_err(fail)?,
        },
    }
    let listener = StdListener::bind(path).map_err(fail)?;
    // Anyone may connect; what each may do is decided by who they are.
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).map_err(fail)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;

    #[test]
    fn systemd_passes_it_by_name_or_alone() {
        let named = |names: &[&str]| {
            let fds = names.iter().zip(3..).map(|(n, fd)| (fd, (*n).to_owned()));
            choose(&fds.collect::<Vec<_>>()).map_err(|error| error.to_string())
        };
        assert_eq!(named(&[]), Ok(None));
        assert_eq!(named(&["surefootd.socket"]), Ok(Some(3)));
        assert_eq!(named(&["metrics", "control"]), Ok(Some(4)));
        assert!(
            named(&["a", "b"])
                .unwrap_err()
                .contains("FileDescriptorName=control")
        );
    }

    #[test]
    fn only_a_listening_unix_socket_is_adopted() {
        let dir = tempfile::tempdir().unwrap();
        let good = StdListener::bind(dir.path().join("s")).unwrap();
        assert!(adopt(good.into_raw_fd()).is_ok());
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(adopt(tcp.into_raw_fd()).is_err());
        let file = fs::File::open("/dev/null").unwrap();
        assert!(adopt(file.into_raw_fd()).is_err());
        let (connected, _other) = StdStream::pair().unwrap();
        assert!(adopt(connected.into_raw_fd()).is_err());
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_live_one_respected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/control.socket");
        let first = bind(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o666
        );
        assert!(matches!(bind(&path), Err(ListenError::Taken(_))));
        drop(first);
        drop(bind(&path).unwrap());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(matches!(bind(&path), Err(ListenError::NotASocket(_))));
    }
}
