//! Which robot this is: its id, and its hardware's own number.

use super::read;
use crate::config::Config;
use std::path::Path;
use surefoot_base::file;
use surefoot_core::{identity, release::Name};

pub(crate) use surefoot_core::identity::Identity;

/// The machine id (`machine-id(5)`).
const MACHINE_ID: &str = "etc/machine-id";

/// Where the hardware says its own number, below the root of the file system: a PC's firmware, the
/// device tree, and the chip that a small board starts from.
const HARDWARE: [&str; 4] = [
    "sys/class/dmi/id/product_uuid",
    "sys/firmware/devicetree/base/serial-number",
    "sys/block/mmcblk0/device/cid",
    "sys/block/mmcblk1/device/cid",
];

/// The file in the state directory with the id that was derived once.
const KEPT: &str = "robot-id";

/// Who the robot is, by its configuration and its state directory.
pub(crate) fn of(config: &Config) -> Identity {
    find(config.id.as_ref(), &config.state_dir, Path::new("/"))
}

/// Keeps the id for the day on which the machine id is another one: a root that forgets everything has
/// a new one with each boot.
pub(crate) fn keep(config: &Config) {
    keep_in(&of(config), config.id.as_ref(), &config.state_dir);
}

fn find(set: Option<&Name>, state_dir: &Path, root: &Path) -> Identity {
    let kept = || read(&state_dir.join(KEPT))?.trim().parse().ok();
    let derived = || identity::of_machine(&read(&root.join(MACHINE_ID))?);
    Identity {
        id: set.cloned().or_else(kept).or_else(derived),
        hardware: HARDWARE
            .iter()
            .find_map(|path| identity::of_hardware(&read(&root.join(path))?)),
    }
}

fn keep_in(identity: &Identity, set: Option<&Name>, state_dir: &Path) {
    let path = state_dir.join(KEPT);
    let Some(id) = identity.id.as_ref().filter(|_| set.is_none()) else {
        return;
    };
    if read(&path).is_some_and(|kept| kept.trim() == id.as_str()) {
        return;
    }
    if let Err(error) = file::replace(&path, format!("{id}\n").as_bytes(), 0o644) {
        tracing::warn!("the robot's id is not kept: {}: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn an_id_that_was_known_once_outlives_its_machine_id() {
        let dir = tempfile::tempdir().unwrap();
        let (root, state) = (dir.path().join("root"), dir.path().join("state"));
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(&state).unwrap();
        let find = |set: Option<&Name>| super::find(set, &state, &root);
        assert_eq!(find(None), Identity::default());
        let machine = |id: &str| fs::write(root.join(MACHINE_ID), format!("{id}\n")).unwrap();
        machine("b642b4217b34b1e8d3bd915fc65c4452");
        let first = find(None);
        assert!(first.id.is_some());
        let set: Name = "hall-3-robot-7".parse().unwrap();
        let chosen = find(Some(&set));
        assert_eq!(chosen.id.as_ref(), Some(&set));
        keep_in(&chosen, Some(&set), &state);
        assert!(!state.join(KEPT).exists(), "a setting is kept where it is");
        keep_in(&first, None, &state);
        machine("00000000000000000000000000000001");
        assert_eq!(find(None), first);
        // What cannot be an id is not one.
        fs::write(state.join(KEPT), "a/b").unwrap();
        assert_ne!(find(None), first);
    }

    #[test]
    fn one_image_on_two_boards_is_two_robots() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(HARDWARE[1]);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let number = |text: &str| {
            fs::write(&path, text).unwrap();
            find(None, dir.path(), dir.path()).hardware
        };
        let (one, two) = (number("1420921055555\0"), number("1420921055556\0"));
        assert!(one.is_some() && two.is_some() && one != two);
        assert_eq!(number("1420921055555\n"), one);
        // What boards say that nobody has given a number.
        for nobody in ["", "\0", "00000000-0000-0000-0000-000000000000", "FFFFFFFF"] {
            assert_eq!(number(nobody), None, "{nobody:?}");
        }
    }
}
