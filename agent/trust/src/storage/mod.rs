//! What a client keeps in its state directory.

#[cfg(test)]
#[path = "../../../../tests/recorded/next.rs"]
mod next;
mod slots;
mod target_cache;

pub use slots::MAGIC as STORED_AS;
#[cfg(feature = "fuzz")]
pub(crate) use slots::OneSlot;
pub(crate) use slots::{Found, Slots, TrustedState, disk};
pub(crate) use target_cache::TargetCache;
pub use target_cache::cached_targets;
