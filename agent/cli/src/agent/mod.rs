//! What the commands of the robot side share: reaching the agent, following it, and its words.

pub(crate) mod describe;
pub(crate) mod follow;
pub(crate) mod made;
#[cfg(test)]
pub(crate) mod samples;
pub(crate) mod socket;
pub(crate) mod standalone;
