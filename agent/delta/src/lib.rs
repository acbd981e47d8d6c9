//! Deltas: what makes a new NAR or file out of an old one, small on the wire and cheap to apply.
//!
//! * [`Delta`]: the container: which codec, out of what, what comes out, how much memory it takes;
//! * [`ReadAt`]: what is read by random access: the base, and the delta itself. [`Tree`] is a store
//!   path that is read as its NAR, without there ever being one;
//! * [`make()`]: the other direction, behind the feature `make`: only publishers need it;
//! * `codec`: how the bytes are coded. A delta names its codec; an agent that does not know the name
//!   refuses it.
//!
//! Nothing here trusts a delta. Its base is checked before, its result after; every length is checked
//! before it is used, and no more memory is taken than the header says, which the caller bounds.
//! Nothing here decides what is good, either: the caller compares the digest in the header with the
//! one that was signed.
//!
//! # Example
//!
//! ```
//! use surefoot_delta::{Codec, Delta, Limits, make};
//!
//! let old = b"The quick brown fox jumps over the lazy dog.".repeat(100);
//! let new = [&old[..2000], b"And the dog wakes up.", &old[2000..]].concat();
//! let mut file = Vec::new();
//! make(&old, &new, Codec::ZstdPatch, &mut file)?;
//! assert!(file.len() < 250);
//!
//! let delta = Delta::open(&file, &Limits::default())?;
//! let mut result = Vec::new();
//! delta.apply(&old, &mut result)?;
//! assert_eq!(result, new);
//! # Ok::<(), surefoot_delta::Error>(())
//! ```
#![forbid(unsafe_code)]

mod apply;
mod codec;
mod container;
mod error;
#[cfg(feature = "make")]
mod make;
mod number;
mod read_at;
mod tree;

pub use codec::name::Codec;
pub use container::{Delta, Digest, Header, Limits, digest};
pub use error::{Error, Result};
#[cfg(feature = "make")]
pub use make::make;
pub use read_at::ReadAt;
pub use tree::Tree;

#[cfg(test)]
mod tests;
