//! News of the network from the kernel (`rtnetlink(7)`): a robot that was cut off need not wait for
//! its next try.

use anyhow::Context as _;
use nix::{
    libc,
    sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket},
};
use std::{
    os::fd::{AsRawFd as _, OwnedFd},
    time::Duration,
};
use surefoot_core::machine::Event;
use tokio::{net::UnixDatagram, sync::mpsc};

/// What comes in quick succession is one change: at most one is told in this time.
const TOGETHER: Duration = Duration::from_secs(2);

/// The length of a message's header; its length is in the first four bytes, its kind in the next two
/// (`struct nlmsghdr`).
const HEADER: usize = 16;

/// Tells of new addresses and routes, as long as somebody listens. Without such news the robot waits
/// for its next try, as ever.
pub(crate) async fn watch(events: mpsc::UnboundedSender<Event>) {
    if let Err(error) = tell(&events).await {
        tracing::warn!("{error:#}; a network that comes back is noticed with the next try");
    }
}

async fn tell(events: &mpsc::UnboundedSender<Event>) -> anyhow::Result<()> {
    let socket = open().context("cannot listen to news of the network")?;
    // A datagram is received from a socket of any family in the same way.
    let socket = UnixDatagram::from_std(socket.into())?;
    let mut bytes = vec![0; 32 << 10];
    loop {
        let new = match socket.recv(&mut bytes).await {
            Ok(len) => is_new(&bytes[..len]),
            // More came than was kept: something new may have been among it.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => true,
            Err(error) => return Err(error).context("cannot read news of the network"),
        };
        if new {
            if events.send(Event::NetworkChanged).is_err() {
                return Ok(());
            }
            tokio::time::sleep(TOGETHER).await;
        }
    }
}

fn open() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let protocol = SockProtocol::NetlinkRoute;
    let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    let groups = libc::RTMGRP_IPV4_IFADDR
        | libc::RTMGRP_IPV4_ROUTE
        | libc::RTMGRP_IPV6_IFADDR
        | libc::RTMGRP_IPV6_ROUTE;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups.cast_unsigned()))?;
    Ok(fd)
}

/// Whether one of these messages is of a new address or route.
fn is_new(mut messages: &[u8]) -> bool {
    while let Some(header) = messages.first_chunk::<HEADER>() {
        let [a, b, c, d, e, f, ..] = *header;
        let kind = u16::from_ne_bytes([e, f]);
        if matches!(kind, libc::RTM_NEWADDR | libc::RTM_NEWROUTE) {
            return true;
        }
        let len = u32::from_ne_bytes([a, b, c, d]) as usize;
        // Each begins at a multiple of four.
        let next = len.max(HEADER).saturating_add(3) & !3;
        messages = messages.get(next..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend([0; 10]);
        message.extend(body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    #[test]
    fn new_addresses_and_routes_are_news() {
        let gone = message(libc::RTM_DELROUTE, b"12345");
        let new = message(libc::RTM_NEWADDR, b"");
        assert!(is_new(&new));
        assert!(is_new(&message(libc::RTM_NEWROUTE, b"1234")));
        assert!(!is_new(&gone));
        assert!(is_new(&[gone.clone(), new].concat()));
        // Lengths that are wrong.
        let mut endless = gone;
        endless[..4].fill(0);
        assert!(!is_new(&endless));
        endless[..4].fill(0xff);
        assert!(!is_new(&endless));
        assert!(!is_new(b"short"));
    }

    #[test]
    fn the_kernel_lets_it_listen() {
        open().unwrap();
    }
}
