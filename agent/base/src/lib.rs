//! Small things that all parts of Surefoot use, and that know nothing of updates.
//!
//! - [`mod@file`]: files that are there whole or not at all, and readers with limits
//! - [`slots`]: bytes in two files that take turns, which heal each other
//! - [`socket`]: connecting to a program that may not take anybody in
//! - [`space`] and [`reserve`]: how much room a file system has left, and keeping some for later
//! - [`program`]: programs that end in time
//! - [`locks`]: who holds a lock
//! - [`environment`]: where programs of root come from, and what they find around them
//! - [`text`]: text that others wrote and people read
//! - [`relative`]: names of files below a directory or a URL
//! - [`glob`]: patterns of the shell
//! - [`percent`]: texts as parts of a URL
//! - [`units`]: sizes and durations as people write them

pub mod clock;
pub mod environment;
pub mod file;
pub mod glob;
pub mod locks;
pub mod percent;
pub mod program;
pub mod relative;
pub mod reserve;
pub mod slots;
pub mod socket;
pub mod space;
pub mod text;
pub mod units;
