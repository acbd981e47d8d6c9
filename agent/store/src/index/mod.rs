//! Building closure indexes, checking what they promise, and their file form.
//!
//! The file is the TUF target `closures/<sha256 of the file>.json.zst`: JSON, compressed with zstd.

mod build;
mod file;
mod reach;

pub use build::{check_signatures, from_cache, from_store};
pub use file::{Packed, pack, unpack};
pub use reach::{Scratch, bring, check_nars, list, read_nars};
