//! How a closure reaches the robot's Nix store.
//!
//! * [`fetch`]: the whole way, from a closure index to a GC root; [`request`] says what is to be
//!   fetched, [`plan`] what it will cost, [`progress`] how far it is;
//! * [`index`]: building closure indexes, from a Nix store and a binary cache or from the cache
//!   alone, and their file form;
//! * [`cache`], [`narinfo`], [`nar`]: binary caches and what is in them;
//! * [`staging`]: from a cache to the robot's disk;
//! * [`nix_daemon`], [`gc_root`]: from there into the store, through the Nix daemon.

mod blocking;
pub mod cache;
mod download;
pub mod error;
pub mod fetch;
pub mod gc_root;
mod import;
pub mod index;
pub mod nar;
pub mod narinfo;
pub mod nix_daemon;
pub mod plan;
pub mod progress;
pub mod request;
pub mod staging;

pub use cache::backoff::Retry;
pub use error::{Error, Kind, Result};
