//! The decisions of the Surefoot update agent, as values in and values out.
//!
//! Nothing here does I/O, reads a clock or is async: time, randomness and what was found on the
//! robot are arguments, actions are returned as [`machine::Effect`]s. So everything interesting
//! about an update can be tested here in microseconds.
//!
//! * what is published: [`release`] (the manifest of a channel), [`rollout`] (who may begin with a release,
//!   and when), [`identity`] (which robot this is), [`offers`] (what of it a robot should run), [`closure`] (every store path of
//!   one system), built from [`hash`] and [`store_path`];
//! * what is decided: [`machine`] (the state machine), [`resolver`] (what a restart means),
//!   [`reboot`] (why one is needed; when it happens is in the machine's file of that name), [`switch`] (what an exit code means), [`hold`],
//!   [`lease`] and [`gate`] (what keeps the robot from a step), [`retry`] (every delay),
//!   [`traffic`] (how many bytes a day), [`deltas`] (which path comes as a delta), [`distrust`] (what is not asked for again), [`stall`] (what nothing
//!   comes of), [`scrub`] (what of the store is read again);
//! * what is asked: [`machine::Request`], [`RollbackTo`], and [`made`] (whether it may still be decided);
//! * what came of it: [`events`], for the history, the log, and whoever watches;
//! * what is there: [`generations`] (the systems on a robot), [`comparison`] and [`package`] (what differs between two);
//! * what makes room: [`profile`] (which generations the agent made), [`prune`] (which of them may go), [`keep`];
//! * what is remembered: [`journal`] (what other versions wrote in it: [`foreign`], [`word`]; what they read: [`formats`]; what is kept a second time: [`essentials`]), and what a look at the robot gave: [`health`],
//!   judged by what was before: [`baseline`].

pub mod baseline;
pub mod closure;
pub mod comparison;
pub mod deltas;
pub mod distrust;
pub mod disturbance;
pub mod essentials;
pub mod events;
pub mod foreign;
pub mod formats;
pub mod gate;
pub mod generations;
pub mod hash;
pub mod health;
pub mod hold;
pub mod identity;
pub mod journal;
pub mod keep;
pub mod lease;
pub mod machine;
pub mod made;
mod name;
pub mod offers;
pub mod offline;
pub mod package;
pub mod profile;
pub mod prune;
pub mod reboot;
pub mod release;
pub mod resolver;
pub mod retire;
pub mod retry;
mod rollback_to;
pub mod rollout;
pub mod scrub;
mod spec;
pub mod stall;
pub mod startup;
pub mod store_path;
pub mod switch;
pub mod time;
pub mod traffic;
pub mod untold;
pub mod word;

pub use foreign::Foreign;
pub use hash::Sha256;
pub use rollback_to::{RollbackTo, RollbackToError};
pub use store_path::StorePath;
