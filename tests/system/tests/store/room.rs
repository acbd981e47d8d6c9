//! Room in the store: what nothing keeps goes where it is missing, and no more of it than that.

use crate::lab::{Lab, block_on, run};
use anyhow::Result;
use std::{fs, os::unix::fs::symlink, path::Path, sync::Mutex};
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

/// Puts a file into the store that nothing keeps.
fn add(lab: &Lab, name: &str) -> Result<String> {
    let file = lab.daemon.directory().join(name);
    fs::write(&file, vec![7; SIZE])?;
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
    let lab = Lab::new("none")?;
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
    let none = block_on(collect::make_room(&request, before.bytes + 1, &gone))?;
    assert_eq!((none, *gone.0.lock().unwrap()), (Dead::default(), None));
    assert_eq!(look()?, before);
    let some = block_on(collect::make_room(&request, SIZE as u64 + 1, &gone))?;
    assert_eq!(*gone.0.lock().unwrap(), Some(some));
    assert_eq!(some.paths, 2, "{some:?}");
    let left = dead.iter().filter(|path| there(&lab, path)).count();
    assert_eq!(left, 2);
    assert!(there(&lab, &kept));
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
