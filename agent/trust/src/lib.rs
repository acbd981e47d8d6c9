//! What to believe: the signed repository of Surefoot.
//!
//! It is a repository after The Update Framework (TUF) specification 1.0.x: a directory of static
//! files, `metadata/` and `targets/`, on any web server, bucket or USB stick. [`Client`] reads it,
//! [`Editor`] makes it. Section numbers (§) in these pages are those of the specification.

pub mod audit;
pub mod client;
pub mod clock;
mod digest;
pub mod editor;
mod error;
mod files;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod json;
mod keyring;
pub mod keys;
pub mod metadata;
pub mod names;
pub mod pattern;
mod pbes2;
pub mod signer;
mod source;
mod storage;
pub mod trusted_set;
pub mod verify;
pub mod workflow;

pub use client::{Client, Config, Refresh};
pub use clock::{Clock, Now};
pub use editor::Editor;
pub use error::Error;
pub use keyring::{Keyring, Passphrase};
pub use names::Limits;
