//! The codecs: what comes out of a delta, and what is put into one.

pub(crate) mod name;
mod predict;
mod zstd_patch;

use crate::{
    container::{Checked, Header},
    error::Result,
    read_at::{ReadAt, Section},
};
use name::Codec;

/// Writes all that comes out of a delta.
pub(crate) fn decode<D: ReadAt>(
    codec: Codec,
    header: &Header,
    body: Section<D>,
    base: &dyn ReadAt,
    out: &mut Checked<'_>,
) -> Result<()> {
    match codec {
        Codec::ZstdPatch => zstd_patch::decode(header, body, base, out),
        Codec::Predict => predict::decode(header, &body, base, out),
    }
}

/// What the codec reads, and the memory that applying it takes, bytes.
#[cfg(feature = "make")]
pub(crate) fn encode(codec: Codec, base: &dyn ReadAt, new: &dyn ReadAt) -> Result<(Vec<u8>, u64)> {
    match codec {
        Codec::ZstdPatch => zstd_patch::make::encode(base, new),
        Codec::Predict => predict::make::encode(base, new),
    }
}
