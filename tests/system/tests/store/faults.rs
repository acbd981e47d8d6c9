//! What goes wrong: a clear error, nothing half done, and it goes on when the cause is gone.

use crate::lab::{Lab, block_on, run};
use anyhow::Result;
use std::{path::Path, process::Command};
use surefoot_core::{Sha256, closure::ClosureIndex, word::Word};
use surefoot_store::{
    Error, Kind, fetch,
    progress::{Progress, Status},
    request::FetchRequest,
};
use surefoot_tests::{Fault, Faulty, rig};

/// What one bad answer for the big path must lead to.
enum Then {
    /// It is repaired in the same fetch, without waste or with some.
    Repaired { wasted: bool },
    /// With nothing but such answers it fails like this.
    Fails(Kind, &'static str),
}

#[test]
fn a_misbehaving_cache_is_survived_or_named() -> Result<()> {
    use Then::{Fails, Repaired};
    let lab = Lab::new("xz")?;
    let server = Faulty::start(&lab.cache)?;
    let half = lab.big_size() / 2;
    let status = |code| Fault::Status(code, vec![]);
    let free = || Repaired { wasted: false };
    let cases = [
        (
            Fault::Hangup,
            free(),
            Fails(Kind::Network, "cannot be read"),
        ),
        (
            Fault::Drop(half),
            free(),
            Fails(Kind::Network, "cannot be read"),
        ),
        (
            Fault::Stall(half),
            free(),
            Fails(Kind::Network, "sent nothing"),
        ),
        (Fault::Short(half), free(), Fails(Kind::Network, "of")),
        (status(500), free(), Fails(Kind::Server, "answers 500")),
        (status(503), free(), Fails(Kind::Server, "answers 503")),
        (status(429), free(), Fails(Kind::Server, "answers 429")),
        (
            status(404),
            free(),
            Fails(Kind::Missing, "none of the caches"),
        ),
        (Fault::Long, free(), Fails(Kind::Wrong, "another file")),
        (
            Fault::Corrupt(half),
            Repaired { wasted: true },
            Fails(Kind::Wrong, "another file"),
        ),
        (
            Fault::Other(b"<html>please log in</html>".to_vec()),
            free(),
            Fails(Kind::Network, "this is a web page"),
        ),
    ];
    for (fault, once, always) in cases {
        // For ever: it is named, and nothing is half done.
        server.heal();
        server.always(lab.big_url(), fault.clone());
        let request = lab.request(&server.url());
        let error = run(&request).unwrap_err();
        if let Fails(kind, words) = always {
            assert_eq!(error.kind(), kind, "{fault:?}: {error}");
            assert!(error.to_string().contains(words), "{fault:?}: {error}");
        }
        lab.check_clean(&request)?;

        // Once, with a second cache that is another name of the first: then it is survived.
        server.heal();
        let _ = std::fs::remove_dir_all(&request.staging);
        server.fail(lab.big_url(), [fault.clone()]);
        let mut request = lab.request(&server.url());
        request.caches.push(format!("{}/", server.url()));
        let report = run(&request).map_err(|error| anyhow::anyhow!("{fault:?}: {error}"))?;
        if let Repaired { wasted } = once {
            assert_eq!(report.wasted_bytes > 0, wasted, "{fault:?}: {report:?}");
        }
        lab.check_fetched(&request)?;
        std::fs::remove_file(&request.gc_root)?;
        lab.daemon.collect_garbage()?;
    }
    Ok(())
}

#[test]
fn a_cache_that_asks_for_a_pause_gets_it() -> Result<()> {
    let lab = Lab::new("xz")?;
    let server = Faulty::start(&lab.cache)?;
    let pause = Fault::Status(503, vec![("retry-after", "3600".into())]);
    server.always("nar/", pause);
    let mut request = lab.request(&server.url());
    request.connections = 1;
    let error = run(&request).unwrap_err();
    assert_eq!(error.kind(), Kind::Server, "{error}");
    assert_eq!(server.seen().len(), 1, "it was asked again");
    // Another one helps out, without waiting.
    let other = Faulty::start(&lab.cache)?;
    request.caches.push(other.url());
    run(&request)?;
    assert_eq!(server.seen().len(), 2);
    lab.check_fetched(&request)
}

#[test]
fn what_came_wrong_is_not_fetched_again_before_it_changes() -> Result<()> {
    let lab = Lab::new("xz")?;
    let server = Faulty::start(&lab.cache)?;
    server.always(lab.big_url(), Fault::Corrupt(lab.big_size() / 2));
    let request = lab.request(&server.url());
    let asked = || {
        let seen = server.seen();
        seen.iter()
            .filter(|seen| seen.path.contains(lab.big_url()))
            .count()
    };
    let progress = Seen::default();
    let fetch = || block_on(fetch::run(&request, &progress)).unwrap_err();
    for wrong in 1..=2 {
        let error = fetch();
        assert!(error.to_string().contains("another file"), "{error}");
        assert_eq!(asked(), wrong, "it was asked again");
        assert!(progress.last().wasted >= lab.big_size());
    }
    for _ in 0..10 {
        let error = fetch();
        assert!(error.to_string().contains("came wrong before"), "{error}");
        assert_eq!(error.kind(), Kind::Wrong);
        assert_eq!(progress.last().wasted, 0);
    }
    // Repaired, it has another validator. Others need not wait for that.
    let mut elsewhere = request.clone();
    let other = Faulty::start(&lab.cache)?;
    elsewhere.caches.push(other.url());
    run(&elsewhere)?;
    lab.check_fetched(&request)?;
    std::fs::remove_file(&request.gc_root)?;
    lab.daemon.collect_garbage()?;
    server.always(lab.big_url(), Fault::NewTag);
    run(&request)?;
    lab.check_fetched(&request)
}

/// Keeps what was said last.
#[derive(Default)]
struct Seen(std::sync::Mutex<Status>);

impl Seen {
    fn last(&self) -> Status {
        *self.0.lock().expect("no panic elsewhere")
    }
}

impl Progress for Seen {
    fn update(&self, status: &Status) {
        *self.0.lock().expect("no panic elsewhere") = *status;
    }
}

#[test]
fn a_cache_that_compresses_anew_is_asked_where_the_files_are() -> Result<()> {
    let lab = Lab::new("xz")?;
    let server = Faulty::start(&lab.cache)?;
    let request = lab.request(&server.url());
    let info = &lab.index.paths[lab.big()];
    let narinfo = lab.cache.join(format!("{}.narinfo", info.path.hash_part()));
    let old = lab.cache.join(lab.big_url());
    let text = std::fs::read_to_string(&narinfo)?;
    let names = |url: &str, compression: &str| {
        let lines = text.lines().map(|line| match line.split_once(": ") {
            Some(("URL", _)) => format!("URL: {url}\n"),
            Some(("Compression", _)) => format!("Compression: {compression}\n"),
            Some(("FileHash" | "FileSize", _)) => String::new(),
            _ => format!("{line}\n"),
        });
        std::fs::write(&narinfo, lines.collect::<String>())
    };
    rig::run(
        Command::new("xz")
            .arg("--decompress")
            .arg("--keep")
            .arg(&old),
    )?;
    std::fs::rename(old.with_extension(""), lab.cache.join("nar/anew.nar"))?;
    std::fs::remove_file(&old)?;
    let small = &lab.index.paths[0].download.url;

    // A cache that names another path's file, or one that is nowhere, or elsewhere, gains nothing.
    for (url, compression, words) in [
        (small.as_str(), "xz", "was not imported"),
        ("nar/gone.nar", "none", "none of the caches"),
        ("../nar/anew.nar", "none", "none of the caches"),
    ] {
        names(url, compression)?;
        let error = run(&request).unwrap_err();
        assert!(error.to_string().contains(words), "{url}: {error}");
        lab.check_clean(&request)?;
    }

    names("nar/anew.nar", "none")?;
    run(&request)?;
    lab.check_fetched(&request)
}

#[test]
fn a_compression_of_another_version_keeps_only_the_paths_that_are_missing() -> Result<()> {
    let lab = Lab::new("xz")?;
    let server = Faulty::start(&lab.cache)?;
    let newer = |index: &mut ClosureIndex| {
        for info in &mut index.paths {
            info.download.compression = Word::Other("lz5".into());
            info.download.url.push_str(".lz5");
        }
    };
    // No cache names other files: it is refused before a byte is moved.
    let caches = |request: &FetchRequest| FetchRequest {
        caches: vec![format!("{}/elsewhere", server.url())],
        ..request.clone()
    };
    let request = lab.request_with(&server.url(), newer);
    let error = run(&caches(&request)).unwrap_err();
    assert!(error.to_string().contains("compressed as 'lz5'"), "{error}");
    assert!(!error.is_retryable());
    lab.check_clean(&request)?;
    // One that does is asked for these.
    run(&request)?;
    lab.check_fetched(&request)?;
    // What is in the store already needs no file.
    let report = run(&caches(&request))?;
    assert_eq!((report.fetched, report.wire_bytes), (0, 0));
    Ok(())
}

#[test]
fn a_changed_file_is_not_mixed_with_the_old_one() -> Result<()> {
    // Without a signed digest of the file, only the validator says whether the rest fits.
    let lab = Lab::new("none")?;
    let server = Faulty::start(&lab.cache)?;
    let half = lab.big_size() / 2;
    server.fail(lab.big_url(), [Fault::Drop(half), Fault::NewTag]);
    let request = lab.request_with(&server.url(), |index| {
        for info in &mut index.paths {
            (info.download.file_hash, info.download.file_size) = (None, None);
        }
    });
    let report = run(&request)?;
    assert!(report.wasted_bytes > 0, "{report:?}");
    lab.check_fetched(&request)
}

#[test]
fn servers_without_ranges_or_lengths_are_good_enough() -> Result<()> {
    for fault in [Fault::NoRanges, Fault::Chunked] {
        let lab = Lab::new("xz")?;
        let server = Faulty::start(&lab.cache)?;
        server.always(lab.big_url(), fault);
        server.fail(lab.big_url(), [Fault::Drop(lab.big_size() / 2)]);
        let request = lab.request(&server.url());
        let report = run(&request)?;
        assert!(report.wasted_bytes > 0);
        lab.check_fetched(&request)?;
    }
    Ok(())
}

#[test]
fn a_staged_file_is_checked_before_it_is_trusted() -> Result<()> {
    let lab = Lab::new("xz")?;
    let server = Faulty::start(&lab.cache)?;
    server.always(lab.big_url(), Fault::Drop(lab.big_size() - 1));
    server.fail(lab.big_url(), []);
    let request = lab.request(&server.url());
    run(&request).unwrap_err();
    // A power cut left zeros in it, or all of it under its last name.
    let part = request.staging.join(format!("{}.part", lab.big_key()));
    let mut bytes = std::fs::read(&part)?;
    bytes[5000..6000].fill(0);
    for name in [part.clone(), part.with_extension("")] {
        std::fs::write(&name, &bytes)?;
        server.heal();
        let report = run(&request)?;
        assert!(report.wasted_bytes >= bytes.len() as u64, "{report:?}");
        lab.check_fetched(&request)?;
        std::fs::remove_file(&request.gc_root)?;
        lab.daemon.collect_garbage()?;
    }
    Ok(())
}

#[test]
fn an_index_that_lies_brings_nothing_into_the_store() -> Result<()> {
    let lab = Lab::new("zstd")?;
    let cache = format!("file://{}", lab.cache.display());
    let (big, top) = (lab.big(), lab.top());
    let request = lab.request_with(&cache, |index| index.paths[big].nar_hash = Sha256([7; 32]));
    let error = run(&request).unwrap_err();
    assert!(error.to_string().contains("hash mismatch"), "{error}");
    assert_eq!(error.kind(), Kind::Wrong);
    lab.check_clean(&request)?;

    // Without a pinned file, it is noticed before the daemon has all of it.
    let request = lab.request_with(&cache, |index| {
        let info = &mut index.paths[big];
        info.nar_hash = Sha256([7; 32]);
        (info.download.file_hash, info.download.file_size) = (None, None);
    });
    let error = run(&request).unwrap_err();
    assert!(matches!(error, Error::NarHash { .. }), "{error}");
    lab.check_clean(&request)?;

    let request = lab.request_with(&cache, |index| index.paths[big].nar_size += 8);
    let error = run(&request).unwrap_err();
    assert!(matches!(error, Error::NarSize { .. }), "{error}");
    lab.check_clean(&request)?;

    // References are covered by Nix' signature.
    let request = lab.request_with(&cache, |index| index.paths[top].references.clear());
    let error = run(&request).unwrap_err();
    assert_eq!(error.kind(), Kind::Wrong, "{error}");
    lab.check_clean(&request)?;

    let request = lab.request_with(&cache, |index| drop(index.paths.remove(0)));
    assert!(matches!(run(&request), Err(Error::Index(_))));
    lab.check_clean(&request)
}

#[test]
fn garbage_under_the_right_digest_is_no_nar() -> Result<()> {
    use sha2::Digest;
    let lab = Lab::new("none")?;
    let big = lab.big();
    let garbage = vec![7; 5000];
    let digest = Sha256(sha2::Sha256::digest(&garbage).into());
    std::fs::write(lab.cache.join(lab.big_url()), &garbage)?;
    let mut request = lab.request_with(&format!("file://{}", lab.cache.display()), |index| {
        let info = &mut index.paths[big];
        (info.nar_hash, info.nar_size) = (digest, garbage.len() as u64);
        (info.download.file_hash, info.download.file_size) = (Some(digest), Some(5000));
    });
    request.signatures = surefoot_core::closure::SignaturePolicy::Manifest;
    let error = run(&request).unwrap_err();
    assert!(matches!(error, Error::Daemon(_)), "{error}");
    lab.check_clean(&request)
}

#[test]
fn a_daemon_that_is_gone_comes_back() -> Result<()> {
    let mut lab = Lab::new("zstd")?;
    let server = Faulty::start(&lab.cache)?;
    let mut request = lab.request(&server.url());
    request.http.stall_timeout = std::time::Duration::from_secs(60);

    // Before.
    lab.daemon.stop();
    let error = run(&request).unwrap_err();
    assert!(matches!(error, Error::DaemonGone { .. }), "{error}");
    assert!(error.is_retryable());
    assert!(error.to_string().contains("nix-daemon.socket"), "{error}");
    assert_eq!(server.seen(), []);

    // In the middle.
    lab.daemon.resume()?;
    server.fail(lab.big_url(), [Fault::Hold(1000)]);
    let error = std::thread::scope(|scope| {
        let fetching = scope.spawn(|| run(&request));
        server.wait_held(1)?;
        lab.daemon.stop();
        server.release();
        anyhow::Ok(fetching.join().expect("no panic").unwrap_err())
    })?;
    assert!(matches!(error, Error::DaemonGone { .. }), "{error}");

    // What was downloaded meanwhile is still there.
    lab.daemon.resume()?;
    lab.check_clean(&request)?;
    let report = run(&request)?;
    assert!(report.resumed_bytes > 0, "{report:?}");
    lab.check_fetched(&request)
}

/// A small file system of its own.
struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    fn mount(at: &'a Path, size: &str) -> Result<Self> {
        std::fs::create_dir_all(at)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]);
        rig::run(mount.arg(at))?;
        Ok(Self(at))
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_disk_that_fills_up_is_an_ordinary_error() -> Result<()> {
    let lab = Lab::new("none")?;
    let server = Faulty::start(&lab.cache)?;
    let half = lab.big_size() / 2;
    server.fail(lab.big_url(), [Fault::Hold(half)]);
    let mut request = lab.request(&server.url());
    request.http.stall_timeout = std::time::Duration::from_secs(60);
    let staging = request.staging.clone();
    let _disk = Tmpfs::mount(&staging, "4m")?;
    let filler = staging.join("somebody else's");
    let error = std::thread::scope(|scope| {
        let fetching = scope.spawn(|| run(&request));
        server.wait_held(1)?;
        // There was room when it began.
        rig::wait_for("the first half", || {
            let used = nix::sys::statvfs::statvfs(&staging)?;
            Ok((used.blocks() - used.blocks_free() > 256).then_some(()))
        })?;
        let _ = std::fs::write(&filler, vec![0; 4 << 20]);
        server.release();
        anyhow::Ok(fetching.join().expect("no panic").unwrap_err())
    })?;
    assert_eq!(error.kind(), Kind::Disk, "{error}");
    assert!(error.to_string().contains("No space left"), "{error}");
    assert!(error.is_retryable());
    lab.check_clean(&request)?;

    std::fs::remove_file(&filler)?;
    let report = run(&request)?;
    assert!(report.resumed_bytes >= half / 2, "{report:?}");
    lab.check_fetched(&request)
}

#[test]
fn a_store_that_is_full_is_an_ordinary_error() -> Result<()> {
    let mut lab = Lab::new("zstd")?;
    let cache = format!("file://{}", lab.cache.display());
    let mut request = lab.request(&cache);
    // The check before is looked away from: somebody else fills the disk later.
    request.store_dir = "/nowhere".into();
    lab.daemon.stop();
    let root = lab.daemon.root();
    let _ = std::fs::remove_dir_all(&root);
    {
        let _disk = Tmpfs::mount(&root, "2m")?;
        lab.daemon.resume()?;
        let error = run(&request).unwrap_err();
        assert_eq!(error.kind(), Kind::Disk, "{error}");
        assert!(error.is_retryable());
        lab.check_clean(&request)?;
        lab.daemon.stop();
    }
    lab.daemon.resume()?;
    run(&request)?;
    lab.check_fetched(&request)
}
