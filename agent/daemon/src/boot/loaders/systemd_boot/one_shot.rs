//! Starting an entry once.
//!
//! For the trial the entry gets a count of one try (the Automatic Boot Assessment of systemd): the
//! loader writes it down when it starts it, so a one-shot that the firmware lost can be told from a
//! system that did not come up.

use super::{
    entry::{counted, identity},
    menu::Menu,
    variables::set_one_shot,
};
use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};
use surefoot_base::file::sync_parent;
use surefoot_core::StorePath;

/// What has to be remembered of an aim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The entry's file as it was made for the trial: the loader renames it when it starts it.
    entry: PathBuf,
    /// Its name before.
    before: PathBuf,
}

/// Has the next boot start this system's entry.
///
/// # Errors
/// There is none, it cannot be renamed, or the firmware does not keep the one-shot.
pub(super) fn aim(menu: &Menu, system: &StorePath) -> anyhow::Result<Mark> {
    let entry = menu
        .entries()?
        .into_iter()
        .find(|entry| entry.system.as_ref() == Some(system) && !entry.spare)
        .with_context(|| format!("no boot entry has init={system}/init"))?;
    let before = entry.path.clone();
    let stem = before.file_stem().and_then(|stem| stem.to_str());
    let counting = match stem {
        Some(stem) if counted(stem).is_none() => {
            let counting = before.with_file_name(format!("{stem}+1.conf"));
            fs::rename(&before, &counting)
                .with_context(|| format!("cannot rename {}", before.display()))?;
            sync_parent(&counting)?;
            counting
        }
        // It is counted already.
        _ => before.clone(),
    };
    nix::unistd::sync();
    set_one_shot(&entry.id)?;
    match menu.variables.one_shot() {
        Some(id) if id == entry.id => {}
        found => bail!(
            "the firmware did not keep the one-shot: it says {found:?} instead of {:?}",
            entry.id
        ),
    }
    Ok(Mark {
        entry: counting,
        before,
    })
}

/// Whether the loader has started the entry.
pub(super) fn started(mark: &Mark) -> bool {
    // The loader counts the try down by renaming the entry.
    !mark.entry.exists()
}

/// Clears the one-shot, and gives the entry its name back.
///
/// # Errors
/// The partition or the firmware's variables cannot be written.
pub(super) fn take_back(menu: &Menu, mark: Option<&Mark>) -> anyhow::Result<()> {
    if menu.variables.one_shot().is_some() {
        set_one_shot("")?;
    }
    mark.map_or(Ok(()), |mark| rename_back(menu, &mark.before))
}

/// Gives an entry that was started its name back before NixOS' installer runs: the builders up to 25.11
/// cannot read a counted name, so they leave that file and take away its kernel, or write another beside it.
///
/// # Errors
/// The partition cannot be written.
pub(super) fn put_right(menu: &Menu, mark: &Mark) -> anyhow::Result<()> {
    // Until it is started, its name says that it was not.
    if started(mark) {
        rename_back(menu, &mark.before)?;
    }
    Ok(())
}

fn rename_back(menu: &Menu, before: &Path) -> anyhow::Result<()> {
    let Some(id) = before.file_name().and_then(|name| identity(name.to_str()?)) else {
        return Ok(());
    };
    for entry in menu.entries()? {
        if entry.id != id || entry.path == before {
            continue;
        }
        if before.exists() {
            fs::remove_file(&entry.path)?;
        } else {
            fs::rename(&entry.path, before)?;
        }
        sync_parent(before)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::tests::robot, *};

    #[test]
    fn a_counted_try_tells_a_start_from_a_lost_one_shot() {
        let (root, menu) = robot(&[("nixos-generation-2+1.conf", 'b')], "x");
        let entries = root.path().join("boot/loader/entries");
        let mark = Mark {
            entry: entries.join("nixos-generation-2+1.conf"),
            before: entries.join("nixos-generation-2.conf"),
        };
        assert!(!started(&mark));
        put_right(&menu, &mark).unwrap();
        assert!(!started(&mark));
        fs::rename(
            entries.join("nixos-generation-2+1.conf"),
            entries.join("nixos-generation-2+0-1.conf"),
        )
        .unwrap();
        assert!(started(&mark));
        put_right(&menu, &mark).unwrap();
        assert!(entries.join("nixos-generation-2.conf").exists());
        assert!(started(&mark));
        // An installer wrote it anew meanwhile.
        fs::write(entries.join("nixos-generation-2+0-1.conf"), "").unwrap();
        take_back(&menu, Some(&mark)).unwrap();
        assert!(entries.join("nixos-generation-2.conf").exists());
        assert!(!entries.join("nixos-generation-2+0-1.conf").exists());
    }

    #[test]
    fn its_mark_lies_on_the_disk_as_ever() {
        let mark = Mark {
            entry: "/boot/a+1.conf".into(),
            before: "/boot/a.conf".into(),
        };
        let text = r#"{"entry":"/boot/a+1.conf","before":"/boot/a.conf"}"#;
        assert_eq!(serde_json::to_string(&mark).unwrap(), text);
        assert_eq!(serde_json::from_str::<Mark>(text).unwrap(), mark);
    }
}
