//! The configuration: TOML with drop-ins.
//!
//! Every key is declared once, in [`keys`], with its type, default, range and meaning. From that
//! come the typed [`Config`], the errors and the reference in the documentation.

mod args;
mod declare;
mod keys;
mod layers;
mod policy;
mod problem;
mod reference;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use args::ConfigArgs;
pub(crate) use keys::{CommandCheck, Config, Control, Health, HttpCheck, TcpCheck};
pub(crate) use layers::{MAX_DROP_INS, MAX_FILE_BYTES, load};
pub(crate) use values::{GroupName, Loader, Signatures};
