//! The control socket: `io.surefoot.Agent` over Varlink.
//!
//! Nothing is decided here. Readers get the last [`Published`] status and history; what people
//! ask for goes to the agent as [`Asked`], once it is known that they may ask. The interface, its
//! methods with their types and the protocol are [`surefoot_api`]'s.
//!
//! Every client is bounded: in how much it may say, how long it may take, and how many it may be.
//! One that is slow, silent or hostile costs a place among those of its role and nothing else.

mod answer;
mod caller;
mod client;
mod conversation;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod handle;
mod holding;
mod limits;
mod line;
mod listen;
mod names;
mod places;
mod rates;
mod roles;
mod server;
mod stream;
#[cfg(test)]
mod tests;
mod users;

pub(crate) use handle::{AgentHandle, Asked, Published, RequestError};
pub(crate) use limits::ANSWER;
pub(crate) use listen::{listen, listen_alone};
pub(crate) use roles::Roles;
pub(crate) use server::serve;
