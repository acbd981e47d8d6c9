//! What a look at the robot starts from.

use crate::{
    config::Config,
    robot::clock,
    state::{journal, roots},
};
use std::{collections::BTreeMap, path::Path, sync::Arc};
use surefoot_api::StatusInfo;
use surefoot_core::{
    StorePath, generations::Remembered, journal::Journal, machine::Policy, prune::Prune,
    untold::Untold,
};

/// What has to be known to look a robot over.
#[derive(Debug, Clone)]
pub(crate) struct Inputs {
    /// Its configuration.
    pub(crate) config: Arc<Config>,
    /// What is wrong with the configuration on the disk, for which it is not in force.
    pub(crate) refused: Option<String>,
    /// The systems that must be kept.
    pub(crate) roots: BTreeMap<String, StorePath>,
    /// What is remembered of the systems that are there.
    pub(crate) systems: Remembered,
    /// Which generations may go so that there is room.
    pub(crate) prune: Prune,
    /// That its memory was lost, in a sentence, if so.
    pub(crate) lost: Option<String>,
    /// What somebody asked for who may have been told that it happens, and nothing came of it.
    pub(crate) unheard: Option<String>,
    /// Where every trouble has to end.
    pub(crate) confirmed: Option<StorePath>,
    /// How often it was disturbed within a day by what was begun again.
    pub(crate) disturbed: usize,
    /// What its agent says; `None` if none runs.
    pub(crate) status: Option<Arc<StatusInfo>>,
}

impl Inputs {
    /// The confirmed system, and those to fall back to.
    pub(crate) fn kept(&self) -> Vec<StorePath> {
        let kept = self.roots.iter().filter(|(name, _)| *name != "next");
        kept.map(|(_, system)| system.clone()).collect()
    }

    /// As its journal on the disk knows it, where no agent runs.
    pub(crate) fn without_agent(config: Arc<Config>, refused: Option<String>) -> Self {
        let rooted = roots::any(Path::new(roots::DIR));
        let journal = journal::read(&config.state_dir, rooted)
            .unwrap_or_else(|error| journal::unusable(&error));
        Self::new(config, refused, &journal, None)
    }

    /// As its journal knows it.
    pub(crate) fn new(
        config: Arc<Config>,
        refused: Option<String>,
        journal: &Journal,
        status: Option<Arc<StatusInfo>>,
    ) -> Self {
        let prune = Prune::of(journal, &Policy::from(&*config));
        Self {
            config,
            refused,
            roots: journal.roots(),
            systems: Remembered::of(journal),
            prune,
            lost: journal.lost.as_ref().map(|loss| loss.why.clone()),
            unheard: journal.unheard.as_ref().map(Untold::message),
            confirmed: journal.confirmed.as_ref().map(|g| g.system.clone()),
            disturbed: (journal.disturbances.as_ref()).map_or(0, |counted| {
                counted.today(&clock::boot_id(), clock::since_boot())
            }),
            status,
        }
    }
}
