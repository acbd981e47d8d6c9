//! What reads outside bytes in the daemon, as the fuzz targets call it.

use crate::{boot, config, control, robot};

/// A configuration file.
pub fn config(text: &str) {
    config::fuzz(text);
}

/// What boot loaders keep on the disk: menus, entries, patterns, file names; and crash dumps.
pub fn loader(bytes: &[u8]) {
    boot::fuzz(bytes);
}

/// What systemd's programs print.
pub fn systemd(text: &str) {
    robot::systemd::fuzz(text);
    robot::said::fuzz(text);
}

/// What a technician's program says on the control socket, until it hangs up.
///
/// # Panics
/// If an answer is not JSON, ended by a zero byte.
pub fn control(said: &[u8]) {
    control::fuzz::talk(said);
}
