//! Which generations of the system's profile have gone, and which systems people keep.

use super::{
    decision::Decision,
    event::{Answer, Refusal},
};
use crate::{
    RollbackTo, StorePath,
    events::Kind,
    journal::What,
    keep::{Kept, MAX_KEPT},
    profile::Link,
    release::Name,
};

impl Decision<'_> {
    /// Room was made, and an installer may be about to run for a system.
    pub(super) fn on_pruned(&mut self, system: Option<StorePath>, gone: Vec<Link>, links: &[Link]) {
        for link in gone {
            let made = self.journal.profile.made().iter();
            let release = made
                .filter(|made| made.number == link.number)
                .find_map(|made| made.release.clone());
            let why = format!("generation {} left the system's profile", link.number);
            self.record(What::Pruned, link.system, release, Some(why), None);
        }
        let Some(system) = system else {
            self.journal.profile.look(links);
            return;
        };
        let release = self.release_of(&system);
        self.journal.profile.installs(system, release, links);
    }

    /// The release that brought a system, as far as the journal knows.
    fn release_of(&self, system: &StorePath) -> Option<Name> {
        let journal = &self.journal;
        let target = journal.state.target().into_iter();
        let target = target.map(|target| (&target.system, Some(&target.release)));
        let proven = journal
            .proven()
            .map(|proven| (&proven.system, proven.release.as_ref()));
        let made = journal.profile.made().iter().rev();
        let made = made.map(|made| (&made.system, made.release.as_ref()));
        (target.chain(proven).chain(made))
            .find_map(|(its, release)| release.filter(|_| its == system).cloned())
    }

    pub(super) fn on_keep_request(&mut self, what: &RollbackTo, undo: bool, by: String) -> Answer {
        if undo {
            self.keep_no_longer(what, by)
        } else {
            self.keep(what, by)
        }
    }

    fn keep(&mut self, what: &RollbackTo, by: String) -> Answer {
        let Some(system) = self.named(what) else {
            return Err(Refusal::NothingToDo(format!(
                "{what} is not a system that this robot has confirmed, and no generation that the agent \
                 made; others are never taken away"
            )));
        };
        if self.journal.kept.iter().any(|kept| kept.system == system) {
            return Err(Refusal::NothingToDo(format!("{system} is kept already")));
        }
        if self.journal.kept.len() >= MAX_KEPT {
            return Err(Refusal::Refused(format!(
                "{MAX_KEPT} systems are kept already, and no more are remembered"
            )));
        }
        let release = self.release_of(&system);
        self.journal.kept.push(Kept {
            system: system.clone(),
            release,
            by: by.clone(),
            since: self.cx.wall,
        });
        let answer = format!("{system} stays until `surefoot keep --undo`");
        self.happened(Kind::Kept { system, by });
        Ok(answer)
    }

    fn keep_no_longer(&mut self, what: &RollbackTo, by: String) -> Answer {
        let named = self.named(what);
        let kept = &mut self.journal.kept;
        let found = kept.iter().position(|kept| {
            what.names(&kept.system, kept.release.as_ref()) || named.as_ref() == Some(&kept.system)
        });
        let Some(found) = found else {
            return Err(Refusal::NothingToDo(format!("{what} is not kept")));
        };
        let system = kept.remove(found).system;
        let answer = format!("{system} may go when room is needed");
        self.happened(Kind::KeepEnded { system, by });
        Ok(answer)
    }

    /// The system that somebody names, of those that were confirmed and those whose generation the
    /// agent made; the newest one that fits.
    fn named(&self, what: &RollbackTo) -> Option<StorePath> {
        let journal = &self.journal;
        let proven = journal
            .proven()
            .map(|proven| (&proven.system, proven.release.as_ref()));
        let made = journal.profile.made().iter().rev();
        let made = made.map(|made| (&made.system, made.release.as_ref()));
        let by_name = (proven.chain(made)).find(|(system, release)| what.names(system, *release));
        let by_number = || {
            let number = what.number()?;
            let mut made = journal.profile.made().iter();
            made.find(|made| made.number == number)
                .map(|made| &made.system)
        };
        by_name
            .map(|(system, _)| system)
            .or_else(by_number)
            .cloned()
    }
}
