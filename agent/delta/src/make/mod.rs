//! Making deltas: what only publishers do. What is made here is checked by nobody but the decoder: a
//! publisher decodes each delta before it offers it.

mod contents;
pub(crate) mod matches;
mod pairs;
pub(crate) mod parts;

use crate::{
    codec::{self, name::Codec},
    container::{self, Header},
    error::{Error, Result},
    read_at::ReadAt,
};
use std::io::Write;

/// Makes the delta that turns `base` into `new`, and gives its header. Both are NARs or any other
/// bytes; in NARs, each file is compared with the one that it was made from.
///
/// The delta itself is held in memory until it is written, and so are some tens of MiB of both.
///
/// # Errors
/// [`Error::Base`], [`Error::New`], [`Error::Output`].
pub fn make(
    base: &dyn ReadAt,
    new: &dyn ReadAt,
    codec: Codec,
    out: &mut dyn Write,
) -> Result<Header> {
    let (body, memory) = codec::encode(codec, base, new)?;
    let header = Header {
        codec,
        base_size: base.size(),
        base_digest: container::digest(base).map_err(Error::Base)?,
        result_size: new.size(),
        result_digest: container::digest(new).map_err(Error::New)?,
        memory,
    };
    out.write_all(&header.to_bytes())
        .and_then(|()| out.write_all(&body))
        .map_err(Error::Output)?;
    Ok(header)
}
