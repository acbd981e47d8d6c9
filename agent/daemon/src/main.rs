//! Surefoot.
fn main() {}
