//! Files of the store that a power cut has emptied: what is valid is read again, and comes anew.

use crate::lab::{BIG, Lab, block_on, run};
use anyhow::{Context, Result};
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, sync::Mutex};
use surefoot_core::Sha256;
use surefoot_store::{
    Error, Kind, fetch,
    progress::{Progress, Status},
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
