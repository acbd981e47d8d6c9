//! Room in the store: what nothing keeps goes where it is missing, and no more of it than that.

use crate::lab::{Lab, block_on, run};
use anyhow::Result;
use nix::sys::statvfs::statvfs;
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};
use surefoot_store::{
    Error, collect, fetch,
    nix_daemon::{Connection, PATIENCE},
    progress::{Dead, Progress, Status},
};
use surefoot_tests::rig;

const SIZE: usize = 2 << 20;

/// Hears what was removed.
#[derive(Default)]
struct Gone(Mutex<Option<Dead>>);

impl Progress for Gone {
    fn update(&self, _: &Status) {}

    fn collected(&self, gone: Dead) {
        *self.0.lock().expect("nobody has panicked") = Some(gone);
    }
}

/// A store on a disk of its own, so that nobody else takes or frees room.
struct Disk(PathBuf);

impl Disk {
    fn of(lab: &mut Lab) -> Result<Self> {
        let store = lab.daemon.root().join("nix/store");
        // The daemon sees mounts as they are when it starts.
        lab.daemon.stop();
        rig::run(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", "size=64M", "tmpfs"])
                .arg(&store),
        )?;
        lab.daemon.resume()?;
        Ok(Self(store))
    }

    fn free(&self) -> Result<u64> {
        let stat = statvfs(&self.0)?;
        Ok(stat.blocks_available() * stat.fragment_size())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = rig::run(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

/// Puts a file into the store that nothing keeps.
fn add(lab: &Lab, name: &str) -> Result<String> {
    add_filled(lab, name, name.len() as u8)
}

fn add_filled(lab: &Lab, name: &str, filling: u8) -> Result<String> {
    let file = lab.daemon.directory().join(name);
    fs::write(&file, vec![filling; SIZE])?;
    let mut nix = rig::nix("nix-store");
    nix.env(
        "NIX_REMOTE",
        format!("unix://{}", lab.daemon.socket().display()),
    );
    Ok(rig::run(nix.arg("--add").arg(file))?.trim().to_owned())
}

fn there(lab: &Lab, path: &str) -> bool {
    let name = Path::new(path).file_name().unwrap_or_default();
    lab.daemon.root().join("nix/store").join(name).exists()
}

#[test]
fn only_what_nothing_keeps_goes_and_only_as_much_as_is_needed() -> Result<()> {
    let mut lab = Lab::new("none")?;
    let disk = Disk::of(&mut lab)?;
    let request = lab.request(&format!("file://{}", lab.cache.display()));
    run(&request)?;
    let dead: Vec<String> = (0..4)
        .map(|n| add(&lab, &format!("dead-{n}")))
        .collect::<Result<_>>()?;
    let kept = add(&lab, "kept")?;
    let root = lab.daemon.root().join("nix/var/nix/gcroots/kept");
    symlink(&kept, root)?;
    let look = || {
        block_on(async {
            let mut daemon = Connection::open(&request.daemon_socket, PATIENCE).await?;
            collect::look(&mut daemon).await
        })
    };
    let before = look()?;
    assert_eq!(before.paths, 4);
    assert!(before.bytes >= 4 * SIZE as u64, "{before:?}");
    // More than all of it: none goes.
    let gone = Gone::default();
    let too_much = before.bytes + SIZE as u64;
    let none = block_on(collect::make_room(&request, too_much, &gone))?;
    assert_eq!((none, *gone.0.lock().unwrap()), (Dead::default(), None));
    assert_eq!(look()?, before);
    let free = disk.free()?;
    let some = block_on(collect::make_room(&request, SIZE as u64 + 1, &gone))?;
    assert_eq!(*gone.0.lock().unwrap(), Some(some));
    assert_eq!(some.bytes, disk.free()? - free);
    assert_eq!(some.paths, 2, "{some:?}");
    let left = dead.iter().filter(|path| there(&lab, path)).count();
    assert_eq!(left, 2);
    assert!(there(&lab, &kept));
    lab.check_fetched(&request)
}

#[test]
fn what_paths_share_is_freed_with_the_last_of_them_and_counts_no_sooner() -> Result<()> {
    let mut lab = Lab::new("none")?;
    let disk = Disk::of(&mut lab)?;
    let request = lab.request(&format!("file://{}", lab.cache.display()));
    run(&request)?;
    // Three that share one file, as in a store that is optimised, beside one that is like no other.
    for n in 0..3 {
        add_filled(&lab, &format!("shared-{n}"), 1)?;
    }
    add_filled(&lab, "alone", 2)?;
    let mut nix = rig::nix("nix-store");
    nix.env(
        "NIX_REMOTE",
        format!("unix://{}", lab.daemon.socket().display()),
    );
    rig::run(nix.arg("--optimise"))?;
    let size = SIZE as u64;
    let gone = Gone::default();
    // Sizes of paths would say that this is there.
    let none = block_on(collect::make_room(&request, 3 * size, &gone))?;
    assert_eq!((none, *gone.0.lock().unwrap()), (Dead::default(), None));
    let free = disk.free()?;
    let all = block_on(collect::make_room(&request, 2 * size, &gone))?;
    assert_eq!((all.paths, all.bytes), (4, disk.free()? - free), "{all:?}");
    assert!(all.bytes >= 2 * size, "{all:?}");
    lab.check_fetched(&request)
}

#[test]
fn a_fetch_without_room_removes_nothing_unless_it_may_and_that_helps() -> Result<()> {
    let lab = Lab::new("none")?;
    let mut request = lab.request(&format!("file://{}", lab.cache.display()));
    let dead = add(&lab, "dead")?;
    request.reserve = u64::MAX / 2;
    for collect in [false, true] {
        request.collect = collect;
        let gone = Gone::default();
        let error = block_on(fetch::run(&request, &gone)).unwrap_err();
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
        assert_eq!(*gone.0.lock().unwrap(), None);
        assert!(there(&lab, &dead));
    }
    Ok(())
}
