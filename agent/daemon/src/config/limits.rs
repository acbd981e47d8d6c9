//! How large a configuration may be.

/// Configuration files above this size are refused before they are parsed, in bytes.
pub(crate) const MAX_FILE_BYTES: u64 = 256 << 10;

/// Directories with more drop-ins than this are refused.
pub(crate) const MAX_DROP_INS: usize = 256;

/// Checks and the like: a list with more entries than this is refused.
pub(crate) const MAX_ENTRIES: usize = 256;

/// Nobody reads more problems than this; what comes after them is not looked at.
pub(crate) const MAX_PROBLEMS: usize = 100;
