//! How much of a repository is read at most.

/// Sizes above which files of metadata are refused before they are parsed, bytes (§5.3.3 "X", and
/// the same for the others where the signed metadata does not say the size).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of each `N.root.json`.
    pub root: u64,
    /// Of `timestamp.json`.
    pub timestamp: u64,
    /// Of the snapshot.
    pub snapshot: u64,
    /// Of the top-level targets.
    pub targets: u64,
    /// Of each delegated targets file.
    pub delegated: u64,
    /// Of all delegated targets files together that are kept at a time.
    pub all_delegated: u64,
    /// New roots that are followed in one refresh (§5.3.2 "Y"); the rest waits for the next one.
    pub roots: u32,
    /// Delegated roles that are asked for one target (§5.6.7.1).
    pub delegations: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            root: 512_000,
            timestamp: 16_384,
            snapshot: 2_000_000,
            targets: 5_000_000,
            delegated: 1_000_000,
            all_delegated: 4_000_000,
            roots: 256,
            delegations: 32,
        }
    }
}
