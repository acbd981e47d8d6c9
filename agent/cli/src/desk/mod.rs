//! The fleet admin's desk: a repository whose releases are listed and changed.

mod checks;
mod clock;
mod ending;
mod expiry;
mod gone;
mod plan;
mod report;
mod wait;

pub(crate) use checks::{check_fits, check_systems};
pub(crate) use clock::{ClockArgs, first_time};
pub(crate) use ending::{EndArgs, Ended};
pub(crate) use expiry::{Left, left, warnings};
pub(crate) use gone::remember;
pub(crate) use plan::{PlanArgs, refreshed, require};
pub(crate) use report::Changed;
pub(crate) use wait::WaitArgs;

use crate::{errors::Usage, keyring::KeysArgs, output};
use anyhow::{Context as _, bail, ensure};
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};
use surefoot_core::release::{
    Listed, MAX_MANIFEST_BYTES, Manifest, Name, Release, manifest_channel, manifest_target,
};
use surefoot_trust::Editor;

/// Which repository, for commands that only look.
#[derive(Debug, clap::Args)]
pub(crate) struct LookArgs {
    /// The repository that `surefoot repo init` made.
    #[arg(long, value_name = "DIR")]
    pub(crate) repo: PathBuf,
    /// The channel. [default: all, or the only one that has the release]
    #[arg(long)]
    pub(crate) channel: Option<Name>,
}

/// Which repository, and by which keys, for commands that change it.
#[derive(Debug, clap::Args)]
pub(crate) struct ChangeArgs {
    #[command(flatten)]
    pub(crate) look: LookArgs,
    #[command(flatten)]
    keys: KeysArgs,
    #[command(flatten)]
    pub(crate) end: EndArgs,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    pub(crate) clock: ClockArgs,
}

/// A repository, open to be looked at or changed.
pub(crate) struct Desk {
    editor: Editor,
    /// The manifests, by channel.
    channels: Vec<Manifest>,
    /// Channels whose manifest is signed and cannot be read, and why. The others go on without them.
    unreadable: Vec<(String, String)>,
}

impl LookArgs {
    /// Opens it to look: needs no keys, and waits for nobody.
    pub(crate) fn open(&self) -> anyhow::Result<Desk> {
        let desk = Desk::read(Editor::look(&self.repo)?);
        if let Some(channel) = &self.channel {
            desk.channel(channel)?;
        }
        Ok(desk)
    }
}

impl ChangeArgs {
    /// Opens it to change it: nobody else can until this ends.
    pub(crate) fn open(&self) -> anyhow::Result<Desk> {
        if self.end.dry_run {
            return self.look.open();
        }
        let dir = &self.look.repo;
        let keys = self.keys.ring(dir)?;
        Ok(Desk::read(self.wait.open(dir, keys)?))
    }
}

impl Desk {
    /// Reads all manifests of what is open. Who asks about a channel that cannot be read is told so; nobody
    /// else is kept from anything by it.
    pub(crate) fn read(editor: Editor) -> Self {
        let mut desk = Self {
            editor,
            channels: Vec::new(),
            unreadable: Vec::new(),
        };
        for target in desk.editor.target_names() {
            let Some(name) = manifest_channel(&target) else {
                continue;
            };
            match desk.read_channel(&target, name) {
                Ok(manifest) => desk.channels.extend(manifest),
                Err(error) => {
                    let why = format!("{error:#}");
                    output::notice(&format!(
                        "warning: channel '{}' cannot be read: {why}",
                        output::sanitize(name)
                    ));
                    desk.unreadable.push((name.to_owned(), why));
                }
            }
        }
        desk
    }

    fn read_channel(&self, target: &str, name: &str) -> anyhow::Result<Option<Manifest>> {
        let channel: Name = name.parse()?;
        let bytes = self.editor.read_target(target)?;
        Ok(bytes
            .map(|bytes| Manifest::parse_to_edit(&bytes, &channel))
            .transpose()?)
    }

    /// Channels that cannot be read, and why.
    pub(crate) fn unreadable(&self) -> &[(String, String)] {
        &self.unreadable
    }

    /// All channels, by name.
    pub(crate) fn channels(&self) -> &[Manifest] {
        &self.channels
    }

    /// One channel.
    pub(crate) fn channel(&self, name: &Name) -> anyhow::Result<&Manifest> {
        self.check_readable(name)?;
        let found = self.channels.iter().find(|one| one.channel == *name);
        found.with_context(|| {
            let known: Vec<&str> = (self.channels.iter().map(|one| one.channel.as_str())).collect();
            match known.as_slice() {
                [] => format!("there is no channel '{name}': the repository has none yet"),
                known => format!(
                    "there is no channel '{name}'; there are {}",
                    known.join(", ")
                ),
            }
        })
    }

    fn check_readable(&self, name: &Name) -> anyhow::Result<()> {
        match self.unreadable.iter().find(|(one, _)| one == name.as_str()) {
            Some((_, why)) => bail!("channel '{name}' cannot be read: {why}"),
            None => Ok(()),
        }
    }

    /// The channel that has a release: the one that was said, or the only one.
    pub(crate) fn channel_of(&self, release: &Name, said: Option<&Name>) -> anyhow::Result<Name> {
        let has = |manifest: &&Manifest| {
            manifest
                .releases
                .iter()
                .any(|one| one.id() == release.as_str())
        };
        if let Some(said) = said {
            let manifest = self.channel(said)?;
            ensure!(has(&manifest), "{}", unknown(release, &[manifest]));
            return Ok(said.clone());
        }
        let with: Vec<&Manifest> = self.channels.iter().filter(has).collect();
        match with.as_slice() {
            [one] => Ok(one.channel.clone()),
            [] => bail!(unknown(release, &self.channels.iter().collect::<Vec<_>>())),
            several => {
                let names: Vec<&str> = several.iter().map(|one| one.channel.as_str()).collect();
                bail!(Usage(format!(
                    "channels {} all have a release {release}; say --channel",
                    names.join(", ")
                )))
            }
        }
    }

    /// Says which roles end soon.
    pub(crate) fn warn(&self, repository: &Path, now: Timestamp) {
        for warning in warnings(&self.editor.expiries(), repository, now) {
            output::notice(&warning);
        }
    }

    /// Makes sure of a channel that gets a release: a name that the repository does not have has to be
    /// meant. The first one always is.
    pub(crate) fn has_channel(&mut self, name: &Name, new: bool) -> anyhow::Result<()> {
        // A new one would replace what only cannot be read.
        self.check_readable(name)?;
        if self.channels.iter().any(|one| one.channel == *name) {
            return Ok(());
        }
        if !new && !self.channels.is_empty() {
            let error = self.channel(name).err().map(|error| error.to_string());
            bail!(Usage(format!(
                "{}; --new makes it",
                error.unwrap_or_default()
            )));
        }
        let mut manifest = Manifest::empty(name.clone());
        manifest.gone = gone::read(&self.editor, name)?;
        self.channels.push(manifest);
        Ok(())
    }

    /// Makes sure of models that get a system: those that no release has had have to be meant.
    pub(crate) fn has_models(&self, models: &[Name], new: bool) -> anyhow::Result<()> {
        let releases = self.channels.iter().flat_map(|manifest| &manifest.releases);
        let known: BTreeSet<&Name> = releases
            .filter_map(|listed| match listed {
                Listed::Known(release) => Some(release.systems.keys()),
                Listed::Other(_) => None,
            })
            .flatten()
            .collect();
        match models.iter().find(|model| !known.contains(model)) {
            Some(model) if !new && !known.is_empty() => {
                let known: Vec<&str> = known.iter().map(|model| model.as_str()).collect();
                bail!(Usage(format!(
                    "no release has a system for model '{model}' yet; there are {}; --new makes it",
                    known.join(", ")
                )))
            }
            _ => Ok(()),
        }
    }

    /// Puts a closure index beside the manifests.
    pub(crate) fn put_index(&mut self, target: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
        Ok(self.editor.put_target(target, bytes)?)
    }

    /// Lists a closure index beside the manifest that names it, unless it is listed there. What is missing
    /// keeps nobody from a pause or a recall.
    fn keep_listed(&mut self, index: &str, target: &str) {
        let why = match self.editor.keep_listed(index, target) {
            Ok(true) => return,
            Ok(false) => "the repository does not have it".to_owned(),
            Err(error) => error.to_string(),
        };
        output::notice(&format!(
            "warning: {target} names {}, and robots cannot fetch that: {}",
            output::sanitize(index),
            output::sanitize(&why)
        ));
    }

    /// A manifest that is going to change.
    pub(crate) fn manifest(&mut self, channel: &Name) -> anyhow::Result<&mut Manifest> {
        self.channel(channel)?;
        let mut channels = self.channels.iter_mut();
        channels
            .find(|manifest| manifest.channel == *channel)
            .context("it was just there")
    }

    /// A release that is going to change.
    pub(crate) fn release(
        &mut self,
        channel: &Name,
        release: &Name,
    ) -> anyhow::Result<&mut Release> {
        let releases = self.manifest(channel)?.releases.iter_mut();
        known(
            releases
                .into_iter()
                .find(|one| one.id() == release.as_str()),
            release,
        )
    }

    /// Signs and writes the manifest of a channel, or drafts it; nothing for a dry run.
    pub(crate) fn save(
        &mut self,
        channel: &Name,
        now: Timestamp,
        end: &EndArgs,
    ) -> anyhow::Result<Ended> {
        let manifest = self.channel(channel)?;
        let bytes = manifest.to_bytes()?;
        ensure!(
            bytes.len() as u64 <= MAX_MANIFEST_BYTES,
            "the manifest of channel '{channel}' would have {} bytes, robots read at most \
             {MAX_MANIFEST_BYTES}; take old releases out: surefoot retire --channel {channel}",
            bytes.len()
        );
        let target = manifest_target(channel);
        let indexes: Vec<String> = manifest.indexes().into_iter().map(Into::into).collect();
        for index in indexes {
            self.keep_listed(&index, &target);
        }
        self.editor.put_target(&target, bytes)?;
        end.end(&mut self.editor, now)
    }

    /// What signs, to change it otherwise.
    pub(crate) const fn editor_mut(&mut self) -> &mut Editor {
        &mut self.editor
    }

    /// What signs.
    pub(crate) const fn editor(&self) -> &Editor {
        &self.editor
    }
}

/// The closure indexes that a target names, if it is a manifest: those that robots may ask for.
pub(crate) fn named(target: &str, bytes: &[u8]) -> Vec<String> {
    let channel = manifest_channel(target).and_then(|name| name.parse().ok());
    let Some(manifest) = channel.and_then(|channel| Manifest::parse(bytes, &channel).ok()) else {
        return Vec::new();
    };
    let offered = manifest.releases.iter().filter(|it| !it.is_recalled());
    offered.flat_map(Listed::indexes).map(Into::into).collect()
}

/// The manifests of a repository in a directory that can be read; silent about the rest.
pub(crate) fn manifests_in(dir: &Path) -> Vec<Manifest> {
    let Ok(editor) = Editor::look(dir) else {
        return Vec::new();
    };
    manifests(&editor).filter_map(Result::ok).collect()
}

/// The manifests of a repository, as robots read them.
///
/// # Errors
/// One of them cannot be read, or is not there.
pub(crate) fn manifests(editor: &Editor) -> impl Iterator<Item = anyhow::Result<Manifest>> {
    let targets = editor.target_names().into_iter();
    targets.filter_map(|target| {
        let channel = manifest_channel(&target)?;
        let read = || {
            let bytes = editor.read_target(&target)?;
            let bytes = bytes.context("it is not in the repository")?;
            anyhow::Ok(Manifest::parse(&bytes, &channel.parse()?)?)
        };
        Some(read().with_context(|| target.clone()))
    })
}

/// The releases of manifests, by what people call them.
pub(crate) fn released(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Listed> {
    let manifests = files.iter().filter_map(|(target, bytes)| {
        let channel = manifest_channel(target)?.parse().ok()?;
        Manifest::parse(bytes, &channel).ok()
    });
    manifests
        .flat_map(|manifest| {
            let Manifest {
                channel, releases, ..
            } = manifest;
            let name = move |one: Listed| (format!("release {} of {channel}", one.id()), one);
            releases.into_iter().map(name)
        })
        .collect()
}

/// A release that can be read here.
fn known<'a>(listed: Option<&'a mut Listed>, release: &Name) -> anyhow::Result<&'a mut Release> {
    match listed {
        Some(Listed::Known(known)) => Ok(known),
        Some(Listed::Other(_)) => bail!(
            "release {release} is written in a way that this program does not know; update Surefoot first"
        ),
        None => bail!("there is no release {release}"),
    }
}

fn unknown(release: &Name, channels: &[&Manifest]) -> String {
    let all = channels
        .iter()
        .flat_map(|manifest| manifest.releases.iter());
    let newest: Vec<&str> = all.rev().map(Listed::id).take(3).collect();
    let place = match channels {
        [one] => format!("channel {} has", one.channel),
        _ => "the repository has".to_owned(),
    };
    match newest.as_slice() {
        [] => format!("there is no release {release}: {place} none"),
        newest => format!(
            "there is no release {release}; {place} {}, …",
            newest.join(", ")
        ),
    }
}
