//! What hangs on a connection: the leases that it holds.

use std::collections::BTreeSet;
use surefoot_api::{
    Name,
    method::{EndLease, Lease},
};
use surefoot_core::lease::Holder;
use tokio::sync::mpsc;

/// The leases that a connection holds. When this is dropped, with the connection, the agent is told that
/// their holder is gone.
#[derive(Debug)]
pub(super) struct Holding {
    holder: Holder,
    held: BTreeSet<Name>,
    /// Whether one was ever asked for: whatever became of that, the end is told.
    asked: bool,
    lost: mpsc::UnboundedSender<Holder>,
}

impl Holding {
    /// Nothing yet, over the connection of this number.
    pub(super) const fn new(holder: Holder, lost: mpsc::UnboundedSender<Holder>) -> Self {
        Self {
            holder,
            held: BTreeSet::new(),
            asked: false,
            lost,
        }
    }

    /// The connection, as the agent knows it.
    pub(super) const fn holder(&self) -> Holder {
        self.holder
    }

    /// Whether a lease hangs on the connection: then it may be silent.
    pub(super) fn any(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether this lease does.
    pub(super) fn has(&self, name: &Name) -> bool {
        self.held.contains(name)
    }

    /// The agent is about to be asked for a lease.
    pub(super) const fn asks(&mut self, lease: &Lease) {
        self.asked |= lease.ttl.is_none();
    }

    /// A lease was granted.
    pub(super) fn granted(&mut self, lease: &Lease) {
        if lease.ttl.is_none() {
            self.held.insert(lease.name.clone());
        } else {
            self.held.remove(&lease.name);
        }
    }

    /// A lease was ended.
    pub(super) fn ended(&mut self, lease: &EndLease) {
        self.held.remove(&lease.name);
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        if self.asked {
            // An agent that has gone asks for its holders when it is back.
            let _ = self.lost.send(self.holder);
        }
    }
}
