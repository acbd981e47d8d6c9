//! The control interface of the Surefoot agent: what is said on its control socket.
//!
//! The interface itself, with words for every field, is [`INTERFACE`]: Varlink's own language,
//! so that `varlinkctl introspect` shows it. The types here are its values; fields that are not
//! explained here are explained there.

pub mod finding;
mod history;
mod input;
mod status;

pub use history::HistoryEntry;
pub use input::{InputError, RollbackTo, Why, hold_time, lease_time};
pub use status::{
    BlockedRelease, Check, CheckResult, ClockState, Failure, Gate, HoldInfo, Knowledge, LeaseInfo,
    Progress, State, StatusInfo, System,
};
// The words of the journal that are the interface's, too.
pub use surefoot_core::{
    StorePath, gate::Stage, journal::What, machine::state::Cause, release::Name,
};

/// The interface `io.surefoot.Agent`, in Varlink's interface definition language.
pub const INTERFACE: &str = include_str!("io.surefoot.Agent.varlink");

/// The name of the interface.
pub const INTERFACE_NAME: &str = "io.surefoot.Agent";

/// Where the socket lies unless the configuration says otherwise.
pub const SOCKET: &str = "/run/surefoot/control.socket";

/// Messages to the agent above this size end the connection, in bytes.
pub const MAX_CALL_BYTES: usize = 64 << 10;

/// Messages from the agent above this size are not believed, in bytes.
pub const MAX_REPLY_BYTES: usize = 16 << 20;
