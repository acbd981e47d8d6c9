//! What a client keeps in its state directory.

mod disk;
mod slots;
mod target_cache;

pub(crate) use disk::{Disk, RealDisk};
#[cfg(feature = "fuzz")]
pub(crate) use slots::OneSlot;
pub(crate) use slots::{Found, Slots, TrustedState};
pub(crate) use target_cache::TargetCache;
