//! The publisher's side: a repository is a directory of static files, `metadata/` and `targets/`.
//!
//! New files are written beside the old ones, `timestamp.json` last and by rename: whoever reads
//! the directory in between, or after a power cut, sees the old repository or the new one.

mod content;
mod delegate;
mod init;
mod names;
mod prune;
mod repository;
mod root;
mod targets_draft;

pub use content::DAY;
pub(crate) use content::lifetime;
pub use delegate::Delegation;
pub use init::{RepositoryPlan, RolePlan};
pub use prune::Pruned;
pub use repository::{Editor, Expiry, RoleInfo, Versions};
pub use root::{Draft, RoleChange};
pub use targets_draft::{MAX_DRAFT_BYTES, TargetChange, TargetsDraft};

#[cfg(test)]
mod tests;
