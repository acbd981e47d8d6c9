//! Booting a system once: the boot loader's one-shot, the boot's deadline, and the traces that a
//! boot on trial leaves.
//!
//! What has to write to the boot partition, to the firmware's variables or to /etc is a [`Task`]
//! that the daemon runs in a transient unit of its own: the daemon itself may write none of them.

mod aim;
mod checks;
mod copy;
mod deadline;
mod extra;
mod files;
mod installable;
mod keeper;
mod kernels;
mod loader;
pub(crate) mod loaders;
mod mounts;
mod own;
mod partition;
mod room;
mod settings;
mod step;
mod trace;

use crate::{
    robot::{
        clock, nixos,
        profile::{self, PROFILES},
        world,
    },
    state::journal,
};
use anyhow::Context as _;
use loader::AnyLoader;
use partition::PARTITION;
use std::{collections::BTreeSet, path::Path, time::Duration};
use step::Task;
use surefoot_api::finding::Finding;
use surefoot_core::{
    StorePath,
    essentials::Essentials,
    gate::{self, Closed},
    journal::Journal,
    machine::{
        Guards,
        state::{Mode, State, Trial},
    },
    profile::Link,
    prune::Prune,
    resolver::{Trace, World},
};
use tokio::{sync::watch, time::Instant};

pub(crate) use keeper::Keeper as CopyKeeper;
pub(crate) use own::in_its_own_way;
pub(crate) use partition::Silent;
pub(crate) use room::EXTRA;
pub(crate) use settings::Settings;
pub(crate) use step::BootStep;

/// Reads bytes as everything that the loaders' files and a crash dump may be.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(bytes: &[u8]) {
    trace::fuzz(bytes);
    loaders::fuzz(bytes);
}

/// What a boot on trial would meet on this robot: as for [`Task::Look`].
///
/// # Errors
/// systemd does not answer, or nothing could be looked at.
pub(crate) async fn findings(
    settings: Settings,
    system: Option<StorePath>,
    previous: Option<StorePath>,
    prune: Prune,
) -> anyhow::Result<Vec<Finding>> {
    let look = Task::Look {
        system,
        previous,
        prune,
    };
    let said = look.order(settings).await?;
    serde_json::from_str(&said).context("cannot understand what the look at the boot loader gave")
}

/// What of the robot itself keeps every system from being installed now: as for [`Task::Obstacles`].
///
/// # Errors
/// systemd does not answer, or nothing could be looked at.
pub(crate) async fn obstacles(settings: Settings, booting: bool) -> anyhow::Result<Vec<Closed>> {
    let look = || async {
        let said = Task::Obstacles { booting }.order(settings.clone()).await?;
        serde_json::from_str(&said).context("cannot understand what the look at the robot gave")
    };
    mended_first(look(), try_secure(&settings, false), look()).await
}

/// What is in the way, once what can be mended of the boot partition was: a file system that an error made
/// read-only, say. Nothing else would try, as nothing begins.
async fn mended_first(
    look: impl Future<Output = anyhow::Result<Vec<Closed>>>,
    mend: impl Future<Output = ()>,
    again: impl Future<Output = anyhow::Result<Vec<Closed>>>,
) -> anyhow::Result<Vec<Closed>> {
    let found = look.await?;
    if !found.iter().any(|closed| closed.gate == gate::LOADER) {
        return Ok(found);
    }
    mend.await;
    again.await
}

/// Has a journal that may not be the first of this robot know what the boot partition still knows of the
/// one before. Where that cannot be read now, it is left as it is until it was ([`CopyKeeper::recall`]).
pub(crate) async fn recall(journal: &mut Journal, settings: &Settings) {
    if let Err(error) = mounts::restore().await {
        tracing::warn!("{error:#}");
    }
    match Task::Recall.ask::<Option<Essentials>>(settings).await {
        Ok(found) => journal.recall(found.map(still_there)),
        Err(error) => {
            tracing::info!("no copy of an earlier memory was read: {error:#}");
            journal.copy_unread = true;
        }
    }
}

fn still_there(found: Essentials) -> Essentials {
    found.with_what_is_there(nixos::is_there)
}

/// Since when the boot partition has not answered, as it changes.
pub(crate) fn silence() -> watch::Receiver<Option<Instant>> {
    PARTITION.silence()
}

/// The system that the loader starts by default, where it can tell.
///
/// # Errors
/// The boot partition does not answer: nothing may be taken for certain.
pub(crate) async fn default(settings: &Settings) -> anyhow::Result<Option<StorePath>> {
    Task::Default.ask(settings).await
}

fn default_of(settings: &Settings) -> Option<StorePath> {
    settings.find_loader()?.default().ok().flatten()
}

/// Whether nothing has to be done for [`secure`].
fn needs_nothing(settings: &Settings, anew: bool) -> bool {
    // What was aimed at may have left names that the installer cannot read.
    let is_fit =
        |loader: Box<dyn AnyLoader>| !aim::is_recorded(settings) && loader.is_secured(anew);
    settings.find_loader().is_none_or(is_fit)
}

/// Whether the loader has started what was aimed at, if that can be told.
fn was_started(settings: &Settings) -> Option<bool> {
    let aim = aim::read(settings)?;
    settings.find_loader()?.started(&aim.mark)
}

/// Whether a guard is armed that will switch or reboot the robot unless it is taken back.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn is_guarded() -> anyhow::Result<bool> {
    Ok(world::dead_man_armed().await? || deadline::armed().await?)
}

/// Adds to a look at the robot what the loader starts by default, and whether the deadline of this boot runs.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn look_at_loader(settings: &Settings, world: &mut World) -> anyhow::Result<()> {
    world.dead_man |= deadline::armed().await?;
    match default(settings).await {
        Ok(default) => world.default = default,
        Err(error) => {
            world.silent = true;
            // That it does not answer is said once, and shown.
            if error.is::<Silent>() {
                tracing::debug!("{error:#}");
            } else {
                tracing::warn!("{error:#}");
            }
        }
    }
    Ok(())
}

/// Takes generations out of the profile before NixOS' installer runs for a system, which then takes
/// their entries out of the boot menu. Were the power cut in between, entries of what is gone would be
/// left: never the default's or the spare one's.
///
/// # Errors
/// What [`Task::Prune`] says.
pub(crate) async fn make_room(
    settings: &Settings,
    prune: &Prune,
    system: &StorePath,
) -> anyhow::Result<()> {
    let task = Task::Superfluous {
        prune: prune.clone(),
        system: system.clone(),
    };
    let links: Option<Vec<Link>> = task.ask(settings).await?;
    take_away(settings, links.context(UNTOLD)?).await
}

/// Which generations may go where the store has no room, oldest first. No installer runs for that: their
/// entries stay in the boot menu until the next one does, and lead nowhere.
///
/// # Errors
/// It cannot be told.
pub(crate) async fn expendable(settings: &Settings, prune: &Prune) -> anyhow::Result<Vec<Link>> {
    let in_use = in_use(settings).await?;
    Ok(prune.may_go(&profile::links(Path::new(PROFILES)), &in_use))
}

/// Whether all of these generations may still go.
///
/// # Errors
/// It cannot be told.
pub(crate) async fn are_expendable(
    settings: &Settings,
    prune: &Prune,
    chosen: &[Link],
) -> anyhow::Result<bool> {
    let in_use = in_use(settings).await?;
    let links = profile::links(Path::new(PROFILES));
    Ok(prune.may_all_go(chosen, &links, &in_use))
}

async fn in_use(settings: &Settings) -> anyhow::Result<BTreeSet<StorePath>> {
    let in_use: Option<BTreeSet<StorePath>> = Task::InUse.ask(settings).await?;
    in_use.context(UNTOLD)
}

const UNTOLD: &str =
    "it cannot be told what the boot loader starts by default: no generation is taken away";

/// Takes generations out of the profile.
///
/// # Errors
/// What [`Task::Prune`] says.
pub(crate) async fn take_away(settings: &Settings, links: Vec<Link>) -> anyhow::Result<()> {
    if !links.is_empty() {
        let step = Task::Prune { links }.order(settings.clone());
        step.await.context("cannot take old generations away")?;
    }
    Ok(())
}

/// Sees to it that a power cut while NixOS' installer works does not leave the robot without a system
/// to start. With `anew`, the default was changed, and is now to be secured itself.
///
/// # Errors
/// What [`Task::Secure`] says.
pub(crate) async fn secure(settings: &Settings, anew: bool) -> anyhow::Result<()> {
    PARTITION.may_be_asked()?;
    mounts::restore().await?;
    if (Task::IsSecured { anew }).ask(settings).await? {
        return Ok(());
    }
    let step = Task::Secure { anew }.order(settings.clone());
    let said = step
        .await
        .context("cannot secure the boot loader's default")?;
    tracing::info!("secured the boot loader's default {}", said.trim());
    Ok(())
}

/// As [`secure`], where all goes on without it: warns.
pub(crate) async fn try_secure(settings: &Settings, anew: bool) {
    if let Err(error) = secure(settings, anew).await {
        tracing::warn!("{error:#}");
    }
}

/// Has the next boot start this system, once, and arms the deadline that ends it: `within` counts
/// from the start of the kernel. Every other boot starts `previous`.
///
/// # Errors
/// What [`Task::Aim`] says.
pub(crate) async fn aim(
    settings: Settings,
    system: StorePath,
    previous: StorePath,
    within: Duration,
) -> anyhow::Result<()> {
    let task = Task::Aim {
        system,
        previous,
        within: within.as_secs(),
    };
    task.order(settings).await.map(drop)
}

/// Has the deadline of the boot on trial come after this time from now, and not before.
///
/// # Errors
/// What [`Task::Prolong`] says.
pub(crate) async fn prolong(settings: Settings, after: Duration) -> anyhow::Result<()> {
    let within = (clock::monotonic() + after).as_secs();
    Task::Prolong { within }.order(settings).await.map(drop)
}

/// Takes back the guards of a boot on trial that are asked for; complains of what cannot be taken
/// back.
///
/// Where the deadline runs it goes first: the trial is decided, and it must not fire into what
/// comes next. Before the boot the one-shot goes first, and the deadline only if it went: else the next
/// boot would be a trial without its deadline. In every other system that does nothing.
pub(crate) async fn disarm(settings: &Settings, guards: Guards) {
    // Nothing was aimed at: systemd need not be asked.
    if !aim::is_recorded(settings) && !deadline::installed() {
        return;
    }
    let deadline = async {
        if guards.boot_deadline {
            remove_deadline(settings).await?;
        }
        Ok(())
    };
    let one_shot = async {
        if guards.one_shot {
            take_back_one_shot(settings).await?;
        }
        Ok(())
    };
    // Where nobody can tell, the next boot must not be a trial without its deadline.
    let armed = deadline::armed().await.unwrap_or(false);
    take_back(armed, deadline, one_shot).await;
}

async fn take_back(
    armed: bool,
    deadline: impl Future<Output = anyhow::Result<()>>,
    one_shot: impl Future<Output = anyhow::Result<()>>,
) {
    let went = |result: anyhow::Result<()>| {
        result
            .inspect_err(|error| tracing::error!("{error:#}"))
            .is_ok()
    };
    if armed {
        went(deadline.await);
        went(one_shot.await);
    } else if went(one_shot.await) {
        went(deadline.await);
    }
}

/// Takes the deadline of a boot away, if there is one.
///
/// # Errors
/// What [`Task::RemoveDeadline`] says.
async fn remove_deadline(settings: &Settings) -> anyhow::Result<()> {
    if aim::is_recorded(settings) || deadline::installed() {
        Task::RemoveDeadline.order(settings.clone()).await?;
    }
    Ok(())
}

/// Takes back the loader's one-shot and what was changed for it, if something was aimed at.
///
/// # Errors
/// What [`Task::TakeBackOneShot`] says.
async fn take_back_one_shot(settings: &Settings) -> anyhow::Result<()> {
    if aim::is_recorded(settings) {
        Task::TakeBackOneShot.order(settings.clone()).await?;
    }
    Ok(())
}

/// Adds what only the loader and the traces of a boot can tell.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn look(
    settings: &Settings,
    state: &State,
    world: &mut World,
) -> anyhow::Result<()> {
    look_at_loader(settings, world).await?;
    let State::Trial(Trial {
        mode, system, boot, ..
    }) = state
    else {
        return Ok(());
    };
    if *boot == world.boot || world.current.as_ref() == Some(system) {
        return Ok(());
    }
    let dir = &settings.state_dir;
    world.trace = match mode {
        Mode::Live => {
            // Nothing was aimed at; what was there when the trial began is older than its journal.
            let old = trace::dumps_until(&journal::newest(dir));
            trace::find(dir, &old, None, boot, &world.boot).await
        }
        Mode::Boot => match aim::read(settings).filter(|aim| aim.system == *system) {
            Some(aim) => {
                let started = Task::Started.ask(settings).await.unwrap_or_default();
                trace::find(dir, &aim.pstore, started, boot, &world.boot).await
            }
            None => Trace::default(),
        },
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    #[tokio::test]
    async fn the_boot_partition_is_mended_before_its_gate_counts() {
        let closed = |gate: &str| Closed {
            gate: gate.to_owned(),
            why: "it is read-only".to_owned(),
        };
        // What is found before and after, whether it is mended, and how often it is looked at.
        for (before, after, mends) in [
            (vec![], vec![], false),
            (vec![gate::DISK], vec![gate::DISK], false),
            (vec![gate::LOADER], vec![], true),
            (vec![gate::LOADER, gate::DISK], vec![gate::DISK], true),
            (vec![gate::LOADER], vec![gate::LOADER], true),
        ] {
            let (mended, looks) = (Cell::new(false), Cell::new(0));
            let look = || async {
                looks.set(looks.get() + 1);
                let gates = if mended.get() { &after } else { &before };
                Ok(gates.iter().map(|gate| closed(gate)).collect())
            };
            let found = mended_first(look(), async { mended.set(true) }, look());
            let found: Vec<String> = found.await.unwrap().into_iter().map(|c| c.gate).collect();
            assert_eq!(found, after);
            assert_eq!((mended.get(), looks.get()), (mends, 1 + u32::from(mends)));
        }
    }

    #[tokio::test]
    async fn a_deadline_goes_before_the_boot_only_where_the_one_shot_went() {
        // Whether the deadline runs, whether the one-shot can be taken back, and what goes, in that order.
        for (armed, goes, gone) in [
            (false, true, &["one-shot", "deadline"][..]),
            (false, false, &[]),
            (true, true, &["deadline", "one-shot"]),
            (true, false, &["deadline"]),
        ] {
            let taken = RefCell::new(Vec::new());
            let deadline = async {
                taken.borrow_mut().push("deadline");
                Ok(())
            };
            let one_shot = async {
                anyhow::ensure!(goes, "the boot partition has not answered for 30s");
                taken.borrow_mut().push("one-shot");
                Ok(())
            };
            take_back(armed, deadline, one_shot).await;
            assert_eq!(*taken.borrow(), gone);
        }
    }
}
