//! The configuration, the control socket, and what boot loaders and systemd say.

/// A configuration file.
pub fn config(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        surefootd::fuzz::config(text);
    }
}

/// All that a client says on the control socket.
pub fn control(bytes: &[u8]) {
    surefootd::fuzz::control(bytes);
}

/// The menus and entries of boot loaders, and what a dying kernel leaves.
pub fn loader(bytes: &[u8]) {
    surefootd::fuzz::loader(bytes);
}

/// What `systemctl` and `journalctl` print.
pub fn systemd(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        surefootd::fuzz::systemd(text);
    }
}
