//! What reads outside bytes, as functions of bytes that must not panic, hang or grow: for
//! libFuzzer (`fuzz_targets/`, `run`), and for the short run over seeds and mutants in `tests/`.
#![allow(clippy::expect_used, reason = "a panic is the finding")]

mod core;
mod daemon;
mod delta;
mod store;
mod trust;

pub use crate::{
    core::{index, journal, manifest, texts},
    daemon::{config, control, loader, systemd},
    delta::{delta, delta_pair},
    store::{access, headers, nar, narinfo, nix_daemon},
    trust::{delegations, draft, keys, metadata, pattern, roots, stored, workflow},
};

/// A target's name and body.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("access", access),
    ("config", config),
    ("control", control),
    ("delegations", delegations),
    ("delta", delta),
    ("delta_pair", delta_pair),
    ("draft", draft),
    ("headers", headers),
    ("index", index),
    ("journal", journal),
    ("keys", keys),
    ("loader", loader),
    ("manifest", manifest),
    ("metadata", metadata),
    ("nar", nar),
    ("narinfo", narinfo),
    ("nix_daemon", nix_daemon),
    ("pattern", pattern),
    ("roots", roots),
    ("stored", stored),
    ("systemd", systemd),
    ("texts", texts),
    ("workflow", workflow),
];

/// Two texts in one: what stands before the first line break, and after it.
fn halves(bytes: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(bytes).ok()?.split_once('\n')
}
