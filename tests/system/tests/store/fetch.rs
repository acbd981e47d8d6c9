//! The good way.

use crate::lab::{self, Lab, run, staged, wait_unlocked};
use anyhow::Result;
use std::sync::Arc;
use surefoot_core::closure::{Compression, SignaturePolicy};
use surefoot_store::{
    Error, Kind, fetch,
    nix_daemon::{Connection, PATIENCE, offer},
    progress::Status,
};
use surefoot_tests::{Farm, Fault, Faulty, Nginx, Toplevel};
use tokio::sync::watch;

fn nginx(lab: &Lab) -> Result<Nginx> {
    Nginx::start(&format!("location / {{ root {}; }}", lab.cache.display()))
}

#[test]
fn every_compression_reaches_the_store() -> Result<()> {
    for (name, compression) in [
        ("xz", Compression::Xz),
        ("zstd", Compression::Zstd),
        ("none", Compression::None),
    ] {
        let lab = Lab::new(name)?;
        assert!(
            lab.index
                .paths
                .iter()
                .all(|info| info.download.compression == compression)
        );
        let server = nginx(&lab)?;
        let request = lab.request(&server.url());
        let plan = lab::block_on(fetch::plan(&request))?;
        assert_eq!(plan.missing.len(), lab.index.paths.len());
        assert_eq!(plan.nar_bytes, lab.index.nar_size());

        let report = run(&request)?;
        lab.check_fetched(&request)?;
        assert_eq!(report.fetched, lab.index.paths.len() as u64);
        // What was said is what was moved, to the byte.
        assert_eq!(report.wire_bytes, plan.wire_bytes());
        let requests = server.requests_after(plan.missing.len())?;
        assert_eq!(
            requests.len(),
            plan.missing.len(),
            "one request for each path"
        );
        assert_eq!(
            requests.iter().map(|r| r.bytes).sum::<u64>(),
            plan.wire_bytes()
        );

        // Again: nothing is asked for.
        let report = run(&request)?;
        assert_eq!((report.fetched, report.wire_bytes), (0, 0));
        assert_eq!(server.requests()?.len(), plan.missing.len());
    }
    Ok(())
}

#[test]
fn a_cache_that_does_not_say_digests_serves_too() -> Result<()> {
    for compression in ["xz", "none"] {
        let lab = Lab::new(compression)?;
        let server = nginx(&lab)?;
        let request = lab.request_with(&server.url(), |index| {
            for info in &mut index.paths {
                (info.download.file_hash, info.download.file_size) = (None, None);
            }
        });
        run(&request)?;
        lab.check_fetched(&request)?;
    }
    Ok(())
}

#[test]
fn only_what_is_missing_is_fetched() -> Result<()> {
    let lab = Lab::new("zstd")?;
    let request = lab.request(&format!("file://{}", lab.cache.display()));
    run(&request)?;
    // Another generation with the same kernel and initrd.
    let other = Toplevel::named("fetched-next").build(&Farm::shared())?;
    Farm::shared().push(
        &other,
        &lab.cache,
        "zstd",
        Some(&lab.daemon.directory().join("key")),
    )?;
    let mut next = request.clone();
    next.index = Arc::new(lab::index_of(&lab.cache, &other)?);
    let plan = lab::block_on(fetch::plan(&next))?;
    let shared = lab.index.paths.len() as u64 - 2; // not the big path and the toplevel
    assert_eq!(plan.already_present, shared);
    assert_eq!(plan.missing.len(), 1);
    let report = run(&next)?;
    assert_eq!((report.fetched, report.wire_bytes), (1, plan.wire_bytes()));
    // The root moved on: the old one may go now.
    lab.daemon.collect_garbage()?;
    let valid = lab.daemon.valid_paths()?;
    assert!(valid.contains(&other) && !valid.contains(&lab.toplevel));
    Ok(())
}

#[test]
fn nix_signatures_count_unless_the_manifest_does() -> Result<()> {
    let mut lab = Lab::new("zstd")?;
    let cache = format!("file://{}", lab.cache.display());
    // Unsigned, and signed by a key that the robot does not know.
    for signature in [None, Some("other-1:AAAA".to_owned())] {
        let request = lab.request_with(&cache, |index| {
            for info in &mut index.paths {
                info.signatures = signature.iter().cloned().collect();
            }
        });
        let error = run(&request).unwrap_err();
        assert_eq!(error.kind(), Kind::Wrong, "{error}");
        assert!(error.to_string().contains("lacks a signature"), "{error}");
        lab.check_clean(&request)?;
    }
    let mut request = lab.request_with(&cache, |index| {
        for info in &mut index.paths {
            info.signatures.clear();
        }
    });
    request.signatures = SignaturePolicy::Manifest;
    let report = run(&request)?;
    // The refused tries had downloaded all of it: none of it came again.
    assert_eq!(report.wire_bytes, 0);
    lab.index = Arc::clone(&request.index);
    lab.check_fetched(&request)
}

#[test]
fn what_is_fetched_is_safe_from_the_collector_before_it_has_a_root() -> Result<()> {
    let lab = Lab::new("xz")?;
    let server = Faulty::start(&lab.cache)?;
    server.fail(lab.big_url(), [Fault::Hold(1000)]);
    let mut request = lab.request(&server.url());
    request.http.stall_timeout = std::time::Duration::from_secs(60);
    std::thread::scope(|scope| {
        let fetching = scope.spawn(|| run(&request));
        server.wait_held(1)?;
        // The big path is still on its way, and the toplevel refers to it; the others go in,
        // unrooted.
        surefoot_tests::rig::wait_for("the imports", || {
            let valid = lab.daemon.valid_paths()?;
            Ok((valid.len() + 2 >= lab.index.paths.len()).then_some(()))
        })?;
        lab.daemon.collect_garbage()?;
        assert_eq!(lab.daemon.valid_paths()?.len() + 2, lab.index.paths.len());
        server.release();
        let report = fetching.join().expect("no panic")?;
        assert_eq!(report.fetched, lab.index.paths.len() as u64);
        lab.check_fetched(&request)
    })
}

#[test]
fn a_cancelled_fetch_goes_on_where_it_was() -> Result<()> {
    let lab = Lab::new("xz")?;
    let server = Faulty::start(&lab.cache)?;
    let at = lab.big_size() / 2;
    server.fail(lab.big_url(), [Fault::Hold(at)]);
    let mut request = lab.request(&server.url());
    request.http.stall_timeout = std::time::Duration::from_secs(60);
    let (progress, mut seen) = watch::channel(Status::default());
    lab::block_on(async {
        // What came before the pause has been written, but for the last run or two.
        let held = seen.wait_for(|status| {
            status.paths_done + 2 == status.paths && status.downloaded > at - (600 << 10)
        });
        tokio::select! {
            result = fetch::run(&request, &progress) => panic!("it ended: {result:?}"),
            held = held => assert!(held.is_ok()),
        }
    });
    lab.check_clean(&request)?;
    wait_unlocked(&request)?;
    assert!(!staged(&request)?.is_empty());

    let report = run(&request)?;
    lab.check_fetched(&request)?;
    assert_eq!(report.fetched, 2, "the big path and the toplevel");
    assert!(report.resumed_bytes > at / 2, "{report:?}");
    assert_eq!(report.wasted_bytes, 0);
    assert_eq!(
        report.wire_bytes + report.resumed_bytes,
        report.download_bytes
    );
    let seen = server.seen();
    let last = seen.iter().rfind(|seen| seen.path.contains(lab.big_url()));
    let last = last.expect("a request");
    let part = report.download_bytes - report.wire_bytes;
    assert!(last.range.as_ref().is_some_and(|range| {
        let from = range.trim_start_matches("bytes=").trim_end_matches('-');
        from.parse()
            .is_ok_and(|from: u64| from > at / 2 && from <= part)
    }));
    assert!(last.if_range.is_some());
    Ok(())
}

#[test]
fn little_room_in_staging_is_enough() -> Result<()> {
    let lab = Lab::new("none")?;
    let mut request = lab.request(&format!("file://{}", lab.cache.display()));
    request.staging_limit = 1;
    run(&request)?;
    lab.check_fetched(&request)
}

#[test]
fn no_room_is_said_before_the_first_byte() -> Result<()> {
    let lab = Lab::new("zstd")?;
    let server = Faulty::start(&lab.cache)?;
    let mut request = lab.request(&server.url());
    request.reserve = 1 << 60;
    let error = run(&request).unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert!(error.is_retryable());
    assert_eq!(server.seen(), []);
    lab.check_clean(&request)
}

#[test]
fn what_was_staged_for_something_else_is_removed() -> Result<()> {
    let lab = Lab::new("zstd")?;
    let request = lab.request(&format!("file://{}", lab.cache.display()));
    std::fs::create_dir(&request.staging)?;
    let old = request
        .staging
        .join(format!("{}.nar.xz.part", "0".repeat(64)));
    std::fs::write(&old, "left by an older release")?;
    run(&request)?;
    assert!(!old.exists());
    lab.check_fetched(&request)
}

#[test]
fn what_the_daemon_has_is_offered_again_only_to_see_which_signatures_it_believes() -> Result<()> {
    let lab = Lab::new("zstd")?;
    run(&lab.request(&surefoot_store::cache::place(&lab.cache.to_string_lossy())))?;
    let before = lab.daemon.valid_paths()?;
    let path = &lab.index.paths[lab.top()].path;
    let offered = |signatures: Option<&str>, policy| {
        lab::block_on(async {
            let mut daemon = Connection::open(&lab.daemon.socket(), PATIENCE).await?;
            let mut known = daemon.path_info(path).await?.expect("it is valid");
            if let Some(other) = signatures {
                known.signatures = vec![other.to_owned()];
            }
            offer(&mut daemon, policy, path, known).await?;
            // Everything was read.
            daemon.valid_paths(&[path]).await
        })
    };
    assert!(offered(None, SignaturePolicy::Nix)?.contains(path));
    let other = format!("fleet-1:{}==", "A".repeat(86));
    let refused = offered(Some(&other), SignaturePolicy::Nix).unwrap_err();
    assert!(refused.to_string().contains("signature"), "{refused}");
    assert!(offered(Some(&other), SignaturePolicy::Manifest)?.contains(path));
    assert_eq!(lab.daemon.valid_paths()?, before);
    lab.daemon.verify()
}
