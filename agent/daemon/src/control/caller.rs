//! Who is at the other end of a connection, as the kernel says.

use super::line::Line;
use futures_util::FutureExt as _;
use nix::{
    errno::Errno,
    libc,
    sys::socket::{getsockopt, sockopt::GetOsString},
};
use std::{
    ffi::OsString,
    fmt, io,
    os::fd::{AsFd, BorrowedFd},
};
use zlink_core::connection::socket::{FetchPeerCredentials, UnixSocket};

/// Supplementary groups of a caller, at most.
const MAX_GROUPS: usize = 128;

/// Whether a caller is in [`MAX_GROUPS`] at most. What nix makes of the list is a text up to its first
/// zero byte, so only that there is one means something.
#[derive(Debug, Clone, Copy)]
struct FewGroups;

nix::getsockopt_impl!(
    FewGroups,
    libc::SOL_SOCKET,
    libc::SO_PEERGROUPS,
    OsString,
    GetOsString<[u8; MAX_GROUPS * size_of::<libc::gid_t>()]>
);

/// The process at the other end, as it was when it connected: `SO_PEERCRED` and `SO_PEERGROUPS`,
/// `unix(7)`.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// Its effective user.
    pub(super) uid: u32,
    /// Its process, for the log.
    pub(super) pid: i32,
    /// Its effective group and its supplementary ones.
    pub(super) groups: Vec<u32>,
    /// The line to it.
    pub(super) line: Line,
}

impl Caller {
    /// Who is at the other end.
    ///
    /// zlink asks the kernel, since neither nix nor rustix knows `SO_PEERGROUPS`. The groups that
    /// the process has now, as /proc shows them, are no substitute: it may have changed them since,
    /// or be another process by then.
    ///
    /// zlink never comes to an end with more than 128 groups, so whoever is in more is turned away
    /// before: a user may put a process into as many groups as it was given subordinate ones.
    ///
    /// # Errors
    /// The caller is in too many groups, or whatever `getsockopt(2)` says. Then nobody knows who
    /// calls, and nobody may be served.
    pub(super) fn of(stream: impl AsFd) -> io::Result<Self> {
        struct Peer<'a>(BorrowedFd<'a>);
        impl AsFd for Peer<'_> {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0
            }
        }
        impl UnixSocket for Peer<'_> {}

        let stream = stream.as_fd();

        getsockopt(&stream, FewGroups).map_err(|error| match error {
            Errno::ERANGE => io::Error::other(format!("it is in more than {MAX_GROUPS} groups")),
            error => error.into(),
        })?;
        // It only asks the kernel, which never makes anybody wait.
        let peer = (Peer(stream).fetch_peer_credentials().now_or_never())
            .ok_or(io::ErrorKind::WouldBlock)??;
        let groups = peer.unix_supplementary_group_ids();
        Ok(Self {
            uid: peer.unix_user_id().as_raw(),
            pid: peer.process_id().as_raw_nonzero().get(),
            groups: std::iter::once(&peer.unix_primary_group_id())
                .chain(groups)
                .map(|gid| gid.as_raw())
                .collect(),
            line: Line::of(stream)?,
        })
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {} pid {}", self.uid, self.pid)
    }
}
