//! Files of the store that a power cut has emptied: what is valid is read again, and comes anew.

use crate::lab::{BIG, Lab, block_on, run};
use anyhow::{Context, Result};
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, sync::Mutex};
use surefoot_core::Sha256;
use surefoot_store::{
    Error, Kind, fetch,
    nix_daemon::{Connection, PATIENCE, ValidPath},
    progress::{Progress, Status},
    repair::{self, Outcome, Repair},
    request::{FetchRequest, Verification},
    verify::Verified,
};

/// Empties the big file, as a power cut does.
fn damage(lab: &Lab, request: &FetchRequest) -> Result<PathBuf> {
    let big = &lab.index.paths[lab.big()].path;
    let mut look = vec![request.store_dir.join(big.base_name())];
    while let Some(at) = look.pop() {
        let data = fs::symlink_metadata(&at)?;
        if data.is_dir() {
            for entry in fs::read_dir(&at)? {
                look.push(entry?.path());
            }
        } else if data.is_file() && data.len() >= BIG as u64 {
            fs::set_permissions(&at, fs::Permissions::from_mode(0o644))?;
            fs::write(&at, "")?;
            fs::set_permissions(&at, fs::Permissions::from_mode(0o444))?;
            return Ok(at);
        }
    }
    None.context("the big path has no big file")
}

fn verification() -> Option<Verification> {
    Some(Verification {
        verified: Verified::default(),
        pace: Default::default(),
        running: vec![],
    })
}

/// The most bytes that were to be verified.
#[derive(Default)]
struct Most(Mutex<u64>);

impl Progress for Most {
    fn update(&self, status: &Status) {
        let mut most = self.0.lock().expect("nobody has panicked");
        *most = status.verify_bytes.max(*most);
    }
}

#[test]
fn a_valid_path_that_is_damaged_comes_anew() -> Result<()> {
    let lab = Lab::new("none")?;
    let mut request = lab.request(&format!("file://{}", lab.cache.display()));
    run(&request)?;
    let file = damage(&lab, &request)?;
    assert_eq!(run(&request)?.fetched, 0, "what is valid is believed");
    request.verify = verification();
    let seen = Most::default();
    let report = block_on(fetch::run(&request, &seen))?;
    assert_eq!(report.fetched, 1, "{report:?}");
    assert_eq!(fs::metadata(&file)?.len(), BIG as u64);
    let all: u64 = lab.index.paths.iter().map(|info| info.nar_size).sum();
    assert_eq!(*seen.0.lock().unwrap(), all);
    lab.check_fetched(&request)?;
    // What is known to be good is not read again.
    let seen = Most::default();
    let report = block_on(fetch::run(&request, &seen))?;
    assert_eq!((report.fetched, *seen.0.lock().unwrap()), (0, 0));
    Ok(())
}

#[test]
fn what_runs_is_not_replaced_but_told() -> Result<()> {
    let lab = Lab::new("none")?;
    let mut request = lab.request(&format!("file://{}", lab.cache.display()));
    run(&request)?;
    let file = damage(&lab, &request)?;
    request.verify = verification();
    if let Some(verify) = &mut request.verify {
        verify.running = vec![request.gc_root.clone()];
    }
    let error = run(&request).unwrap_err();
    let big = lab.index.paths[lab.big()].path.to_string();
    assert!(error.to_string().starts_with(&big), "{error}");
    assert!(matches!(error, Error::Damaged(_)), "{error}");
    assert_eq!(error.kind(), Kind::Disk);
    assert_eq!(fs::metadata(&file)?.len(), 0);
    Ok(())
}

#[test]
fn another_build_of_the_same_path_is_no_damage() -> Result<()> {
    let lab = Lab::new("none")?;
    let cache = format!("file://{}", lab.cache.display());
    run(&lab.request(&cache))?;
    let big = lab.big();
    let mut request = lab.request_with(&cache, |index| {
        index.paths[big].nar_hash = Sha256([7; 32]);
    });
    request.verify = verification();
    assert_eq!(run(&request)?.fetched, 0);
    Ok(())
}

/// What the store knows of the big path, and what a repair of it does.
fn repair(
    lab: &Lab,
    request: &FetchRequest,
    running: &[PathBuf],
    stop: impl Future<Output = ()>,
) -> Result<Repair> {
    let big = &lab.index.paths[lab.big()].path;
    block_on(async {
        let mut daemon = Connection::open(&request.daemon_socket, PATIENCE).await?;
        let known: ValidPath = daemon.path_info(big).await?.expect("it is valid");
        repair::run(request, (big, &known), running, stop).await
    })
    .map_err(Into::into)
}

#[test]
fn a_damaged_path_that_nothing_uses_is_written_anew() -> Result<()> {
    let lab = Lab::new("xz")?;
    let request = lab.request(&format!("file://{}", lab.cache.display()));
    run(&request)?;
    let file = damage(&lab, &request)?;
    let root = fs::read_link(&request.gc_root)?;
    let done = repair(&lab, &request, &[], std::future::pending())?;
    assert!(done.wire_bytes > 0 && done.wasted_bytes == 0, "{done:?}");
    assert_eq!(done.outcome?, Outcome::Repaired);
    assert_eq!(fs::metadata(&file)?.len(), BIG as u64);
    assert_eq!(fs::read_link(&request.gc_root)?, root, "no root is touched");
    lab.check_fetched(&request)
}

#[test]
fn what_runs_or_what_no_cache_has_is_not_written_anew() -> Result<()> {
    let lab = Lab::new("none")?;
    let cache = format!("file://{}", lab.cache.display());
    let request = lab.request(&cache);
    run(&request)?;
    let file = damage(&lab, &request)?;
    let never = std::future::pending;
    let running = [request.gc_root.clone()];
    let done = repair(&lab, &request, &running, never())?;
    assert_eq!(done.outcome?, Outcome::InUse);
    let empty = tempfile::tempdir()?;
    let nowhere = lab.request(&format!("file://{}", empty.path().display()));
    let done = repair(&lab, &nowhere, &[], never())?;
    assert_eq!((done.outcome?, done.wire_bytes), (Outcome::Nowhere, 0));
    let done = repair(&lab, &request, &[], std::future::ready(()))?;
    assert_eq!(done.outcome?, Outcome::Stopped);
    assert_eq!(fs::metadata(&file)?.len(), 0, "nothing was written");
    // What the cache has for it is not what came once.
    let path = &lab.index.paths[lab.big()].path;
    let info = lab.cache.join(format!("{}.narinfo", path.hash_part()));
    let text = fs::read_to_string(&info)?;
    fs::write(&info, text.replace("NarSize: 3", "NarSize: 4"))?;
    let done = repair(&lab, &request, &[], never())?;
    assert_eq!(done.outcome?, Outcome::Nowhere);
    assert_eq!(fs::metadata(&file)?.len(), 0);
    Ok(())
}

#[test]
fn what_a_process_uses_is_in_use() -> Result<()> {
    let lab = Lab::new("none")?;
    let request = lab.request(&format!("file://{}", lab.cache.display()));
    run(&request)?;
    let big = &lab.index.paths[lab.big()].path;
    let used = || {
        block_on(async {
            let mut daemon = Connection::open(&request.daemon_socket, PATIENCE).await?;
            repair::in_use(&[], &mut daemon).await
        })
    };
    assert!(!used()?.contains(big), "its root alone is no use");
    // A process that names it in its environment counts for Nix.
    let mut user = std::process::Command::new("sleep")
        .arg("1000")
        .env("USES", big.to_string())
        .spawn()?;
    let found = used();
    user.kill()?;
    user.wait()?;
    assert!(found?.contains(big));
    Ok(())
}
