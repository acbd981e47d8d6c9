//! A client of the Nix daemon's worker protocol, over its Unix socket.
//!
//! Pinned at protocol 1.35 (Nix 2.15 and later speak it); older daemons are refused. Source: Nix
//! `src/libstore/daemon.cc` and `src/libstore/remote-store.cc`.
//!
//! A [`Connection`] on which an operation failed half-way, or whose future was dropped, cannot be
//! used again: the daemon would take the next request for the rest of the last one. Open another.

mod connection;
mod failure;
mod offer;
mod payload;
mod stderr;
mod wire;

pub use connection::{Connection, DEFAULT_SOCKET, PATIENCE, ValidPath, default_socket};
pub use offer::offer;
pub use payload::Payload;
