//! The control interface of the Surefoot agent: what is said on its control socket, for both ends.
//!
//! The interface itself, with words for every field, is [`INTERFACE`]: Varlink's own language, so
//! that `varlinkctl introspect` shows it. The types here have its names; what is not explained here
//! is explained there.
//!
//! * what the agent says: [`StatusInfo`], [`HistoryEntry`], [`SystemInfo`], [`finding::Finding`];
//! * what it can be asked: [`method`], each method with its parameters and its answer;
//! * who asks: [`Client`], which waits for each answer and needs no runtime;
//! * who answers: [`message`] and [`service`], the protocol without a socket, for any runtime.
//!
//! The robot's own software keeps the robot from being updated at a bad moment like this:
//!
//! ```no_run
//! use surefoot_api::{CallError, HeldLease, SOCKET, method::Lease};
//!
//! # fn carry_the_crate() {}
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let busy = Lease {
//!     name: "gripper".parse()?,
//!     busy: true,
//!     // For as long as this program holds it.
//!     ttl: None,
//!     why: Some("carries a crate".parse()?),
//! };
//! match HeldLease::take(SOCKET, busy, |_| {}) {
//!     Ok(lease) => {
//!         carry_the_crate();
//!         // Only this makes the robot free: whoever dies before leaves it busy.
//!         lease.end()?;
//!     }
//!     // An update is under way; the robot may be switched at any moment.
//!     Err(CallError::Refused(why)) => eprintln!("not now: {why}"),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(())
//! # }
//! ```

mod client;
mod error;
pub mod finding;
mod history;
mod holder;
mod input;
mod interface;
pub mod message;
pub mod method;
#[cfg(test)]
#[path = "../../../tests/recorded/next.rs"]
mod next;
mod parameters;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
pub mod service;
mod status;
mod systems;
#[cfg(test)]
mod tests;

pub use client::{CallError, Client, Watching};
pub use error::ErrorReply;
pub use history::HistoryEntry;
pub use holder::HeldLease;
pub use input::{InputError, Why, hold_time, lease_time};
pub use interface::{
    INTERFACE, INTERFACE_NAME, MAX_CALL_BYTES, MAX_REPLY_BYTES, SERVICE, SERVICE_NAME, SOCKET,
};
pub use status::{
    BlockedRelease, Check, CheckResult, ClockState, Failure, Gate, Health, HoldInfo, KeptInfo,
    Knowledge, LeaseInfo, Progress, Room, Soak, Stall, State, StatusInfo, System, Traffic,
};
pub use systems::SystemInfo;
// The words of the journal that are the interface's, too.
pub use surefoot_core::{
    RollbackTo, StorePath, comparison::Difference, gate::Stage, generations::Part, journal::What,
    machine::state::Cause, made::Made, release::Name, word::Word,
};
