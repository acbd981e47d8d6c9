//! A Nix daemon that hangs, or waits for somebody itself: it is given up, and the next try goes on.

use crate::lab::{Lab, block_on, run};
use anyhow::Result;
use std::{fs::File, time::Duration};
use surefoot_store::{
    Error, Kind,
    nix_daemon::{Connection, PATIENCE},
};

#[test]
fn a_held_lock_is_named_with_its_holder_and_nothing_is_fetched_twice() -> Result<()> {
    let lab = Lab::new("xz")?;
    let mut request = lab.request(&format!("file://{}", lab.cache.display()));
    request.daemon_patience = Duration::from_secs(2);
    let big = &lab.index.paths[lab.big()].path;
    let name = format!("{}.lock", big.base_name());
    let lock = File::create(request.store_dir.join(&name))?;
    lock.lock()?;
    let error = run(&request).unwrap_err();
    assert!(matches!(error, Error::DaemonSilent { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Daemon);
    let said = error.to_string();
    let holder = format!("(process {}) holds ", std::process::id());
    assert!(said.contains(&holder) && said.ends_with(&name), "{said}");
    lab.check_clean(&request)?;

    lock.unlock()?;
    request.daemon_patience = PATIENCE;
    let report = run(&request)?;
    assert_eq!(report.wasted_bytes, 0, "{report:?}");
    assert!(report.resumed_bytes >= lab.big_size(), "{report:?}");
    lab.check_fetched(&request)
}

#[test]
fn a_stopped_daemon_is_given_up_and_asked_again_once_it_goes_on() -> Result<()> {
    let lab = Lab::new("none")?;
    let mut request = lab.request(&format!("file://{}", lab.cache.display()));
    request.daemon_patience = Duration::from_millis(300);
    lab.daemon.pause()?;
    let error = run(&request).unwrap_err();
    assert!(matches!(error, Error::DaemonSilent { .. }), "{error}");
    assert!(error.is_retryable());
    lab.daemon.go_on()?;
    request.daemon_patience = PATIENCE;
    run(&request)?;
    lab.check_fetched(&request)
}

#[test]
fn a_process_of_the_daemon_that_hangs_costs_its_connection_and_no_other() -> Result<()> {
    let lab = Lab::new("none")?;
    let top = &lab.index.toplevel;
    block_on(async {
        let socket = lab.daemon.socket();
        let open = |patience| Connection::open(&socket, patience);
        let mut hangs = open(Duration::from_secs(2)).await?;
        assert!(hangs.valid_paths(&[top]).await?.is_empty());
        lab.daemon.pause_children()?;
        let error = hangs.valid_paths(&[top]).await.unwrap_err();
        assert!(matches!(error, Error::DaemonSilent { .. }), "{error}");
        // Its answer may come yet: nobody takes it for another one's.
        let error = hangs.path_info(top).await.unwrap_err();
        assert!(error.to_string().contains("was not finished"), "{error}");
        assert_eq!(open(PATIENCE).await?.path_info(top).await?, None);
        Ok(())
    })
}
