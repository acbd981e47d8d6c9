//! The names of the codecs. A name stands for one format for ever: another format gets another name.

/// How a delta is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Codec {
    /// Pieces of the new file, each compressed by zstd with parts of the base before it.
    ZstdPatch,
    /// Regions of the base and what differs from them, with the references in programs predicted.
    Predict,
}

impl Codec {
    /// All that this version knows, the first one first.
    pub const ALL: [Self; 2] = [Self::ZstdPatch, Self::Predict];

    /// Its name in a delta and in a closure index.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ZstdPatch => "zstd-patch-1",
            Self::Predict => "predict-1",
        }
    }

    /// The one of this name, if this version knows it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }
}
