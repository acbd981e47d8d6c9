//! The configuration: TOML with drop-ins.
//!
//! Every key is declared once, in [`keys`], with its type, default, range and meaning. From that
//! come the typed [`Config`], the errors and the reference in the documentation.

mod args;
mod declare;
mod keys;
mod layers;
mod limits;
mod man;
mod policy;
mod problem;
mod reference;
mod salvage;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod values;

pub(crate) use args::{ConfigArgs, FILE};
pub(crate) use keys::{
    Battery, CommandCheck, Config, Control, Fetch, GateCommand, Gates, Health, HttpCheck, TcpCheck,
};
pub(crate) use layers::{DROP_INS, drop_ins, load};
pub(crate) use limits::MAX_FILE_BYTES;
pub(crate) use problem::{ConfigError, What};
pub(crate) use salvage::salvage;
pub(crate) use values::{GroupName, Secret, Stage};

/// Reads a text as the only file of a configuration; every problem is put into words.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(text: &str) {
    let path = std::path::Path::new("config.toml");
    let source = layers::Source {
        file: std::sync::Arc::new(path.to_owned()),
        text: text.to_owned(),
    };
    if let Err(problems) = layers::assemble(path, &[source], Vec::new()) {
        assert!(!problems.to_string().is_empty());
    }
}
