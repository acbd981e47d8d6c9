//! Room in the boot menu and on the boot partition for what is installed next: whether there is
//! enough, and which generations leave the profile for it. NixOS' installer, which runs right after
//! that, takes their entries and kernels away.

use super::{
    extra,
    kernels::copy_of,
    loader::{AnyLoader, Loader},
    settings::Settings,
};
use crate::robot::{
    nixos,
    profile::{self, PROFILES},
};
use anyhow::Context as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use surefoot_api::finding::{Finding, Subject};
use surefoot_base::space;
use surefoot_core::{StorePath, profile::Link, prune::Prune};

/// Room that must be left on the boot partition beside a kernel and an initrd, bytes: the entry,
/// and what the file system needs to rename files.
const SLACK: u64 = 1 << 20;

/// What the boot loader reads of a system.
const PARTS: [&str; 2] = ["kernel", "initrd"];

/// Which generations go before a system is installed; `None` if that cannot be told.
pub(super) fn superfluous(
    settings: &Settings,
    prune: &Prune,
    system: &StorePath,
) -> Option<Vec<Link>> {
    let loader = settings.find_loader();
    let (links, loader) = (profile::links(Path::new(PROFILES)), loader.as_deref());
    let in_use = in_use(loader)?;
    let room = loader
        .filter(|loader| loader.frees_first())
        .and_then(|loader| {
            let extra = extra_of(loader, Some(system));
            Some((loader, Room::look(loader, Some(system), extra).ok()?))
        });
    Some(prune.surplus(&links, &in_use, |gone| {
        room.as_ref().is_some_and(|(loader, room)| {
            let stay = staying(&links, gone, &in_use, Some(system));
            room.lacks(freed(&loader.kernels(), gone, &stay))
        })
    }))
}

/// The systems that run, were booted, are the profile's, or that the loader starts by itself; `None` if
/// that cannot be told.
pub(super) fn in_use(loader: Option<&dyn AnyLoader>) -> Option<BTreeSet<StorePath>> {
    let links = [nixos::BOOTED, nixos::CURRENT, nixos::PROFILE];
    let mut systems: BTreeSet<StorePath> = links.into_iter().filter_map(nixos::system).collect();
    if let Some(loader) = loader.filter(|loader| loader.is_guarded()) {
        let default = loader.default().ok()??;
        systems.insert(default);
        systems.extend(loader.spares());
    }
    Some(systems)
}

/// Whether there is room for a system, or else for one like that which was booted. What will go before
/// it is installed makes room.
pub(super) fn findings(
    loader: &dyn AnyLoader,
    system: Option<&StorePath>,
    prune: &Prune,
) -> Vec<Finding> {
    let extra = extra_of(loader, system);
    let besides = system.filter(|_| extra > 0);
    let besides = besides.map(|system| finding_extra(loader, system, extra, prune));
    let mut findings = vec![finding(loader, system, extra, prune)];
    findings.extend(besides);
    findings
}

fn finding(
    loader: &dyn AnyLoader,
    system: Option<&StorePath>,
    extra: u64,
    prune: &Prune,
) -> Finding {
    let what = "room for one more kernel and initrd";
    let room = match Room::look(loader, system, extra) {
        Ok(room) => room,
        Err(error) => {
            return Finding::fail(
                Subject::Loader,
                what,
                format!("{error:#}"),
                "the system is incomplete: fetch it again",
            );
        }
    };
    let Room {
        place,
        free,
        needed,
    } = &room;
    let place = place.display();
    if !room.lacks(0) {
        let found = format!("{free} bytes are free at {place}, {needed} are needed");
        return Finding::ok(Subject::Loader, what, found);
    }
    let lacking =
        format!("the boot partition has {free} bytes left at {place}, and {needed} are needed");
    if !room.lacks(may_be_freed(loader, system, prune)) {
        let found = format!("{lacking}; generations that the agent made go for that");
        return Finding::ok(Subject::Loader, what, found);
    }
    Finding::fail(
        Subject::Loader,
        what,
        lacking,
        "remove old generations (nix-env -p /nix/var/nix/profiles/system --delete-generations) and \
         install the boot loader again",
    )
}

/// What says that a system's files beside kernels have no room: [`finding_extra`].
pub(crate) const EXTRA: &str = "room for files beside kernels";

/// Whether there is room for what a system's installer copies besides, which it does for one that was tried live
/// as well.
fn finding_extra(loader: &dyn AnyLoader, system: &StorePath, extra: u64, prune: &Prune) -> Finding {
    let kernels = loader.kernels();
    let place = space::existing(&kernels);
    let needed = extra + SLACK;
    let free = space::free(place).unwrap_or(0);
    let found = format!(
        "{free} bytes are free at {}, and the files that it has put there need {needed}",
        place.display()
    );
    let free = free.saturating_add(may_be_freed(loader, Some(system), prune));
    if free >= needed {
        Finding::ok(Subject::Loader, EXTRA, found)
    } else {
        let mend = "publish it without them (boot.loader.systemd-boot.extraFiles, boot.loader.grub.extraFiles), or make \
                    the boot partition larger";
        Finding::fail(Subject::Loader, EXTRA, found, mend)
    }
}

/// The bytes that a system's files beside kernels need; none where no system is given.
fn extra_of(loader: &(impl Loader + ?Sized), system: Option<&StorePath>) -> u64 {
    let kernels = loader.kernels();
    let boot = kernels.parent().unwrap_or(&kernels);
    let needed = |system: &StorePath| {
        let system = system.to_string();
        extra::needed(Path::new(&system), boot, space::existing(&kernels))
    };
    system.map_or(0, needed)
}

/// How much room there is, and how much is needed.
struct Room {
    place: PathBuf,
    free: u64,
    needed: u64,
}

impl Room {
    /// For a system, of which need not come again what lies there already; or for one like that which
    /// was booted.
    fn look(
        loader: &(impl Loader + ?Sized),
        system: Option<&StorePath>,
        extra: u64,
    ) -> anyhow::Result<Self> {
        let (mut needed, kernels) = (SLACK + extra, loader.kernels());
        let path = system.map(ToString::to_string);
        let path = Path::new(path.as_deref().unwrap_or(nixos::BOOTED));
        for part in PARTS {
            let file = path.join(part);
            let file = fs::canonicalize(&file)
                .with_context(|| format!("{} leads nowhere", file.display()))?;
            if system.is_none() || copy_of(&kernels, &file).is_none() {
                needed += fs::metadata(&file)?.len();
            }
        }
        // It may not be there yet.
        let place = space::existing(&kernels).to_path_buf();
        let free = space::free(&place)
            .with_context(|| format!("cannot see how full {} is", place.display()))?;
        Ok(Self {
            place,
            free,
            needed,
        })
    }

    /// Whether there is too little, were so many bytes more free.
    const fn lacks(&self, more: u64) -> bool {
        self.free.saturating_add(more) < self.needed
    }
}

/// The bytes that generations free which may go before a system is installed.
fn may_be_freed(loader: &dyn AnyLoader, system: Option<&StorePath>, prune: &Prune) -> u64 {
    let Some(in_use) = in_use(Some(loader)).filter(|_| loader.frees_first()) else {
        return 0;
    };
    let links = profile::links(Path::new(PROFILES));
    let gone = prune.may_go(&links, &in_use);
    let stay = staying(&links, &gone, &in_use, system);
    freed(&loader.kernels(), &gone, &stay)
}

/// The systems whose kernels are needed when these generations have gone.
fn staying(
    links: &[Link],
    gone: &[Link],
    in_use: &BTreeSet<StorePath>,
    system: Option<&StorePath>,
) -> BTreeSet<StorePath> {
    (links.iter())
        .filter(|link| !gone.contains(link))
        .map(|link| &link.system)
        .chain(in_use)
        .chain(system)
        .cloned()
        .collect()
}

/// The bytes of copies that are needed for generations that go, and for none that stays.
fn freed(kernels: &Path, gone: &[Link], stay: &BTreeSet<StorePath>) -> u64 {
    let mut copies: BTreeMap<PathBuf, u64> = (gone.iter())
        .flat_map(|link| copies(kernels, &link.system))
        .collect();
    for (path, _) in stay.iter().flat_map(|system| self::copies(kernels, system)) {
        copies.remove(&path);
    }
    copies.values().sum()
}

/// The copies of a system's kernel and initrd, with their sizes.
fn copies(kernels: &Path, system: &StorePath) -> Vec<(PathBuf, u64)> {
    let system = PathBuf::from(system.to_string());
    (PARTS.iter())
        .filter_map(|part| {
            let file = fs::canonicalize(system.join(part)).ok()?;
            let copy = copy_of(kernels, &file)?;
            let size = fs::metadata(&copy).ok()?.len();
            Some((copy, size))
        })
        .collect()
}
