//! What to believe: the signed repository of Surefoot.
//!
//! It is a repository after The Update Framework (TUF) specification 1.0.x: a directory of static
//! files, `metadata/` and `targets/`, on any web server, bucket or USB stick. A client reads it,
//! [`Editor`] makes it.

mod digest;
pub mod editor;
mod error;
mod files;
mod json;
mod keyring;
pub mod keys;
pub mod metadata;
pub mod names;
pub mod verify;

pub use editor::Editor;
pub use error::Error;
pub use keyring::Keyring;
