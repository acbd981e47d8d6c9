//! The socket: made by the daemon, and kept by systemd while one daemon follows another.
//!
//! There is no socket unit. One would start a daemon that somebody has stopped as soon as anybody calls,
//! and somebody who stops the agent of a robot means it. systemd keeps what it is given until the service
//! is stopped, and no longer (`FileDescriptorStoreMax=`, `systemd.service(5)`): callers wait while the
//! daemon restarts, and are told at once that there is none when it was stopped.

use super::{
    caller::Caller,
    limits::MAX_QUEUE,
    places::{Id, Places},
    roles::Roles,
    users::KnownUsers,
};
use nix::sys::socket::{UnixAddr, getsockname, getsockopt, sockopt};
use sd_notify::NotifyState;
use std::{
    collections::{BTreeMap, VecDeque},
    fs, io,
    os::{
        fd::{AsFd as _, AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::{
            fs::{FileTypeExt, PermissionsExt},
            net::{UnixListener as StdListener, UnixStream as StdStream},
        },
    },
    path::{Path, PathBuf},
};
use tokio::net::UnixListener;

/// The name of the socket among what systemd keeps.
const NAME: &str = "control";

/// The control socket.
#[derive(Debug)]
pub(crate) struct Listening {
    /// Where clients come in.
    pub(crate) listener: UnixListener,
    /// Who waited there already, while no agent ran. Another one may have rolled back since.
    pub(crate) waited: VecDeque<StdStream>,
}

impl Listening {
    /// What listens at a path, for these roles.
    fn of(listener: StdListener, path: &Path, roles: &Roles) -> Result<Self, ListenError> {
        let fail = |why| ListenError::Bind {
            path: path.to_owned(),
            why,
        };
        listener.set_nonblocking(true).map_err(fail)?;
        let waited = waited(&listener, roles);
        Ok(Self {
            listener: UnixListener::from_std(listener).map_err(fail)?,
            waited,
        })
    }
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// What systemd passed is of no use.
    #[error("what systemd kept of the daemon before cannot be taken over: {0}")]
    Passed(io::Error),
    /// Something else answers there.
    #[error("{}: somebody already answers there; only one surefootd can run", .0.display())]
    Taken(PathBuf),
    /// Something else lies there.
    #[error("{}: something that is not a socket lies there; remove it", .0.display())]
    NotASocket(PathBuf),
    /// It cannot be made.
    #[error("{}: the control socket cannot be made: {why}", .path.display())]
    Bind {
        /// Where.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
}

/// Takes the control socket over from the daemon before (`sd_listen_fds(3)`), or makes it at `path` and
/// has systemd keep it (`sd_notify(3)`). `roles`: for whom room is kept among those who wait there.
///
/// Call it once, early, inside the runtime.
///
/// # Errors
/// [`ListenError`] if none can be made.
pub(crate) fn listen(path: &Path, roles: &Roles) -> Result<Listening, ListenError> {
    let passed = sd_notify::listen_fds_with_names().map_err(ListenError::Passed)?;
    let kept: Vec<RawFd> = passed
        .filter(|(_, name)| name == NAME)
        .map(|(fd, _)| fd)
        .collect();
    let mut good = kept.iter().filter_map(|fd| adopt(*fd, path));
    let listener = match good.next() {
        Some(listener) => listener,
        None => {
            let listener = bind(path)?;
            keep(&listener, !kept.is_empty());
            listener
        }
    };
    Listening::of(listener, path, roles)
}

/// A control socket at `path` that nobody keeps.
///
/// # Errors
/// [`ListenError`] if none can be made.
pub(crate) fn listen_alone(path: &Path) -> Result<Listening, ListenError> {
    Listening::of(bind(path)?, path, &Roles::default())
}

/// The connections that wait already, in their order: as many of each role as there are places for it. Who
/// has none of those is hung up on, as when an agent runs: so nobody takes the room of others by being first.
fn waited(listener: &StdListener, roles: &Roles) -> VecDeque<StdStream> {
    let mut places = Places::default();
    let mut users = KnownUsers::of_files(Path::new("/etc"));
    let mut waited: BTreeMap<Id, StdStream> = BTreeMap::new();
    for stream in listener.incoming().map_while(Result::ok).take(MAX_QUEUE) {
        let Ok(caller) = Caller::of(&stream) else {
            continue;
        };
        if let Ok((id, left)) = places.enter(roles.of(&caller), &users.of(caller.uid)) {
            waited.insert(id, stream);
            if let Some(left) = left {
                waited.remove(&left);
            }
        }
    }
    waited.into_values().collect()
}

/// Has systemd keep a socket, instead of another one that it kept. Without systemd nobody keeps it.
fn keep(listener: &StdListener, another: bool) {
    if another {
        let _ = sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(NAME)]);
    }
    let store = [NotifyState::FdStore, NotifyState::FdName(NAME)];
    let kept = sd_notify::notify_with_fds(&store, &[listener.as_fd()]);
    if let Err(error) = kept {
        // Then callers are turned away while the daemon restarts.
        tracing::warn!(%error, "systemd does not keep the control socket");
    }
}

/// A socket that the daemon before listened on, if callers still find it at `path`.
fn adopt(fd: RawFd, path: &Path) -> Option<StdListener> {
    // SAFETY: systemd passed this descriptor to this process, nothing else in it uses it, and it is
    // adopted once.
    #[allow(
        unsafe_code,
        reason = "a descriptor that is passed by number can be owned in no other way"
    )]
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let address: UnixAddr = getsockname(fd.as_raw_fd()).ok()?;
    let listens = getsockopt(&fd, sockopt::AcceptConn).ok()?;
    let there = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    (listens && there && address.path() == Some(path)).then(|| StdListener::from(fd))
}

fn bind(path: &Path) -> Result<StdListener, ListenError> {
    let fail = |why| ListenError::Bind {
        path: path.to_owned(),
        why,
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
    fn only_a_socket_that_callers_find_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("s"), dir.path().join("other"));
        let listener = || StdListener::bind(&path).unwrap().into_raw_fd();
        assert!(adopt(listener(), &path).is_some());
        // The path was changed in the configuration, or the file removed.
        fs::remove_file(&path).unwrap();
        assert!(adopt(listener(), &other).is_none());
        fs::remove_file(&path).unwrap();
        let removed = listener();
        fs::remove_file(&path).unwrap();
        assert!(adopt(removed, &path).is_none());
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(adopt(tcp.into_raw_fd(), &path).is_none());
        let file = fs::File::open("/dev/null").unwrap();
        assert!(adopt(file.into_raw_fd(), &path).is_none());
        let (connected, _other) = StdStream::pair().unwrap();
        assert!(adopt(connected.into_raw_fd(), &path).is_none());
    }

    #[test]
    fn who_waited_is_told_from_who_comes_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = StdListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        assert!(waited(&listener, &Roles::default()).is_empty());
        let _first = StdStream::connect(&path).unwrap();
        let _second = StdStream::connect(&path).unwrap();
        assert_eq!(waited(&listener, &Roles::default()).len(), 2);
        let _later = StdStream::connect(&path).unwrap();
        assert!(listener.accept().is_ok());
        assert!(waited(&listener, &Roles::default()).is_empty());
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
