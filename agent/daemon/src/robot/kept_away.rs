//! A mark that something else than a trial kept the agent from answering in it: somebody stopped the agent,
//! or the journal could not be written. It lies where nothing outlasts this boot, and no disk is needed.

use crate::config::Config;
use std::{fs, path::PathBuf};

const FILE: &str = "kept-away";

fn place(config: &Config) -> PathBuf {
    config.socket.with_file_name(FILE)
}

/// Leaves the mark. Where that fails, the trial is judged as without it.
pub(crate) fn mark(config: &Config) {
    if let Err(error) = fs::write(place(config), "") {
        tracing::warn!("cannot write {}: {error}", place(config).display());
    }
}

/// Takes the mark away: another trial begins.
pub(crate) fn forget(config: &Config) {
    let _ = fs::remove_file(place(config));
}

/// Whether it is there.
pub(crate) fn is_marked(config: &Config) -> bool {
    place(config).exists()
}
