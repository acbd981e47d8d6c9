//! The whole system from outside: real Nix, real systemd, real servers, real faults.
//!
//! The harness for the tests of this package, and for tests of other packages that need a server
//! or a Nix store. What it starts are the programs of `tests/rig`, whose README says what is real
//! and what stands in. Everything that is started dies with the test. Needs root.

pub mod agent;
pub mod attack;
pub mod clock;
pub mod daemon;
pub mod faulty;
pub mod fleet;
pub mod network;
pub mod nginx;
pub mod rig;
pub mod robot;
pub mod toplevel;

pub use daemon::NixDaemon;
pub use faulty::{Fault, Faulty};
pub use fleet::Fleet;
pub use network::Network;
pub use nginx::Nginx;
pub use robot::Robot;
pub use toplevel::{Farm, Programs, Toplevel};
