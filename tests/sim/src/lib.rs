//! The simulated robot: the world around the decisions of `surefoot-core`, with everything that can
//! happen to it, in simulated time.
//!
//! The agent is the real one, [`surefoot_core::machine::Machine`]. What surrounds it is here, and keeps
//! the contract of the real thing, as the effects' documentation and the daemon have it:
//!
//! * [`robot`]: what it is made of, and what can be seen of it;
//! * `agent`, `hands`: the daemon's loop, with the disk under its journal, and what effects do;
//! * `loader`, `installer`, `collector`: the boot loader, switches, the garbage collector;
//! * `units`: what runs, and how well;
//! * [`power`], `clock`: how it goes down and comes up, at any point between two things; how time
//!   passes;
//! * [`people`]: what they ask for; [`page`]: what is drawn of it for the book;
//! * `witness`: what can be known without believing the agent;
//! * [`properties`]: what must hold, each under its name;
//! * [`run`]: a robot's life out of one number, with everything that can befall it.
//!
//! A failing run is one number: `cargo run -p surefoot-sim -- --seed N --log` lives it again.

mod agent;
mod chance;
mod clock;
mod collector;
mod hands;
mod installer;
mod loader;
mod log;
pub mod page;
pub mod people;
pub mod power;
pub mod properties;
mod pruner;
pub mod robot;
pub mod run;
mod units;
mod witness;

pub use agent::name_of;
pub use chance::Chance;
pub use log::Log;
pub use power::{Blow, Fate};
pub use robot::{Robot, policy, release, system};
pub use witness::Witness;
