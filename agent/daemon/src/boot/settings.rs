//! What the configuration says of booting, and where what is remembered of it lies.

use super::{
    loader::AnyLoader,
    loaders::{self, LoaderChoice},
};
use crate::config::Config;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What every step of a boot on trial needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The boot loader that the configuration names.
    pub(super) loader: LoaderChoice,
    /// Whether systems are tried by a boot where nothing can start one once.
    accept_no_fallback: bool,
    /// The state directory.
    pub(super) state_dir: PathBuf,
}

impl Settings {
    /// As the configuration says.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            loader: config.boot.loader,
            accept_no_fallback: config.boot.accept_no_fallback,
            state_dir: config.state_dir.clone(),
        }
    }

    /// Those of a robot that remembers here.
    #[cfg(test)]
    pub(super) fn in_dir(state_dir: &std::path::Path) -> Self {
        Self {
            loader: LoaderChoice::None,
            accept_no_fallback: false,
            state_dir: state_dir.to_owned(),
        }
    }

    /// The robot's boot loader; `None` where nothing can start a system once, and nobody accepts
    /// that.
    pub(super) fn find_loader(&self) -> Option<Box<dyn AnyLoader>> {
        loaders::find(self.loader, self.accept_no_fallback)
    }
}
