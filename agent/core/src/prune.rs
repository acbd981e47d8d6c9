//! Which generations of the system's profile may go, so that boot menu, boot partition and store do
//! not grow without an end.
//!
//! Only what the agent made goes, by what its journal says, and nothing that a robot may still have
//! to start. Where the memory was lost nobody knows what that is, and nothing goes.

use crate::{
    StorePath,
    journal::Journal,
    machine::Policy,
    profile::{Link, Profile},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What the journal and the configuration say of pruning. By default nothing may go.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Prune {
    profile: Profile,
    /// Systems that the robot may still have to start.
    needed: BTreeSet<StorePath>,
    /// How many generations of the agent stay; `None` if nothing may go.
    stay: Option<usize>,
}

impl Prune {
    /// What a journal and the configuration say.
    #[must_use]
    pub fn of(journal: &Journal, policy: &Policy) -> Self {
        let knows = journal.knows_all();
        let order = journal.state.order();
        let needed = (journal.roots().into_values())
            .chain(order.and_then(|order| order.default.clone()))
            .chain(order.map(|order| order.system.clone()))
            .chain(journal.left_in_profile.clone())
            .collect();
        Self {
            profile: journal.profile.clone(),
            needed,
            stay: (policy.prune && knows).then_some(policy.generations),
        }
    }

    /// Which generations may go at all, oldest first. `in_use`: the systems that run, were booted, are
    /// the profile's, or that the boot loader starts by itself.
    #[must_use]
    pub fn may_go(&self, links: &[Link], in_use: &BTreeSet<StorePath>) -> Vec<Link> {
        if self.stay.is_none() {
            return Vec::new();
        }
        let mut links: Vec<Link> = (links.iter())
            .filter(|link| self.profile.is_ours(link))
            .filter(|link| !self.needed.contains(&link.system) && !in_use.contains(&link.system))
            .cloned()
            .collect();
        links.sort_unstable();
        links
    }

    /// Whether all that was chosen a while ago may still go: by now somebody may want to keep one, or have
    /// installed it.
    #[must_use]
    pub fn may_all_go(
        &self,
        chosen: &[Link],
        links: &[Link],
        in_use: &BTreeSet<StorePath>,
    ) -> bool {
        let may_go = self.may_go(links, in_use);
        chosen.iter().all(|link| may_go.contains(link))
    }

    /// Which generations go: what is older than those that stay, and, oldest first, as many more as it
    /// takes until room is no longer `lacking` without them.
    #[must_use]
    pub fn surplus(
        &self,
        links: &[Link],
        in_use: &BTreeSet<StorePath>,
        lacking: impl Fn(&[Link]) -> bool,
    ) -> Vec<Link> {
        let mut ours: Vec<&Link> = (links.iter())
            .filter(|link| self.profile.is_ours(link))
            .collect();
        ours.sort_unstable();
        let stay = self.stay.unwrap_or(usize::MAX);
        let oldest = ours.len().saturating_sub(stay);
        let oldest = ours.get(oldest).map(|link| link.number);
        let may_go = self.may_go(links, in_use);
        let old = |link: &Link| oldest.is_none_or(|oldest| link.number < oldest);
        let mut count = may_go.iter().take_while(|link| old(link)).count();
        // Room that none of them makes is not a reason to take them.
        if lacking(&may_go[..count]) && !lacking(&may_go) {
            while count < may_go.len() && lacking(&may_go[..count]) {
                count += 1;
            }
        }
        may_go[..count].to_vec()
    }
}
