//! What tests draw for the book.

use std::path::Path;

/// Holds a file of the book to what it has to be, or writes it anew where `SUREFOOT_BLESS` is set. `test` is
/// the one that asks.
///
/// # Panics
/// It is not that.
pub fn hold(name: &str, text: &str, test: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/src")
        .join(name);
    if std::env::var_os("SUREFOOT_BLESS").is_some() {
        std::fs::write(&path, text).expect("the book can be written");
    }
    // What is in a picture says nothing to anybody.
    assert!(
        std::fs::read_to_string(&path).is_ok_and(|written| written == text),
        "{name} is not what it has to be: run SUREFOOT_BLESS=1 cargo test -p surefoot-sim --test {test}"
    );
}
