//! Making room before an installer runs: generations leave the profile, as the daemon has it done.

use crate::robot::Robot;
use std::collections::BTreeSet;
use surefoot_core::{
    StorePath,
    machine::Event,
    profile::Link,
    prune::Prune,
    switch::{Action, Order},
};

impl Robot {
    /// The generations of the profile.
    #[must_use]
    pub fn links(&self) -> Vec<Link> {
        let link = |(&number, found): (&u64, &crate::robot::Generation)| Link {
            number,
            system: found.system.clone(),
        };
        self.generations.iter().map(link).collect()
    }

    /// Room is made for what this order installs. A way back takes the shortest way. Whether the
    /// robot, and its agent, go on.
    pub(crate) fn make_room(&mut self, order: &Order) -> bool {
        if order.action == Action::Test || order.no_check {
            return true;
        }
        let links = self.links();
        let in_use: BTreeSet<StorePath> =
            [&self.booted, &self.current, &self.profile, &self.default]
                .map(Clone::clone)
                .into();
        let more = usize::from(!self.has_entry(&order.system));
        let room = self.boot_room;
        let lacking = |gone: &[Link]| links.len() + more > room.saturating_add(gone.len());
        let gone = Prune::of(&self.journal, &self.policy).surplus(&links, &in_use, lacking);
        for link in &gone {
            self.is_superfluous(link);
            self.log.note(format!("generation {} goes", link.number));
            self.generations.remove(&link.number);
        }
        self.will_answer(Event::Pruned {
            system: Some(order.system.clone()),
            gone,
            links: self.links(),
        });
        // The power may go before the installer has taken their entries out of the menu.
        !self.struck()
    }

    /// Nothing else goes.
    fn is_superfluous(&self, link: &Link) {
        let journal = &self.journal;
        let proven = journal.confirmed.iter().chain(&journal.fallbacks);
        let kept = journal.kept.iter().map(|kept| &kept.system);
        let needed = (proven.map(|proven| &proven.system))
            .chain(kept)
            .chain(journal.state.next())
            .chain(journal.state.previous())
            .chain([&self.booted, &self.current, &self.profile, &self.default]);
        let by_agent = (self.generations.get(&link.number))
            .is_some_and(|found| found.by_agent && found.system == link.system);
        let superfluous = by_agent
            && journal.lost.is_none()
            && !needed.into_iter().any(|system| *system == link.system);
        self.promised(
            "prunes-its-own",
            superfluous,
            &format!("generation {} went: {}", link.number, link.system),
        );
    }
}
