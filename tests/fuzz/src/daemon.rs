//! The configuration, the control socket, and what boot loaders keep.

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

/// The menus and entries of boot loaders.
pub fn loader(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        surefootd::fuzz::loader(text);
    }
}
