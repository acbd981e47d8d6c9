//! What to believe: the signed repository of Surefoot.
//!
//! It is a repository after The Update Framework (TUF) specification 1.0.x: a directory of static
//! files, `metadata/` and `targets/`, on any web server, bucket or USB stick. [`Client`] reads it,
//! [`Editor`] makes it. Section numbers (§) in these pages are those of the specification.
//!
//! * what is believed, without I/O: [`trusted_set`] (the rules by which it changes), [`workflow`]
//!   (which file is wanted next), [`verify`] (whether enough keys signed), [`clock`] (what time it
//!   may be), [`pattern`] (who is trusted with which target), [`limits`] (what is too large);
//! * how it is written: [`metadata`] (the four kinds), [`file_names`];
//! * the robot's side: [`client`], and what it keeps in its state directory;
//! * the publisher's side: [`editor`], [`keys`] and [`signer`] (who signs), [`audit`] (a look at a
//!   whole repository).

pub mod audit;
mod canonical_json;
pub mod client;
pub mod clock;
mod digest;
pub mod editor;
mod error;
pub mod file_names;
mod files;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod keyring;
pub mod keys;
pub mod limits;
pub mod metadata;
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
pub use limits::Limits;
pub use storage::{STORED_AS, cached_targets};
