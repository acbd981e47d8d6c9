//! The fetcher is killed: what came is not fetched again, and what it cost is said.

use crate::lab::Lab;
use anyhow::{Context, Result};
use std::{
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};
use surefoot_tests::{Fault, Faulty, rig};

/// The numbers that a fetch ends with.
fn numbers(command: &mut Command) -> Result<impl Fn(&str) -> u64 + use<>> {
    let said = rig::run(command)?;
    let report: serde_json::Value = serde_json::from_str(&said)?;
    Ok(move |key: &str| {
        report[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key}: {report}"))
    })
}

/// Bytes of the big path's file that lie in staging.
fn part(lab: &Lab) -> u64 {
    let part = format!("staging/{}.part", lab.big_key());
    std::fs::metadata(lab.daemon.directory().join(part)).map_or(0, |data| data.len())
}

/// The same, and of the toplevel's, which waits for the big path: the others are in the store.
fn staged(lab: &Lab) -> u64 {
    let top = &lab.index.paths[lab.top()].download;
    part(lab) + top.file_size.unwrap_or(0)
}

/// Begins a fetch, and kills it when everything but the big path is in the store, and of that one
/// what the server had sent.
fn killed(lab: &Lab, server: &Faulty, at: u64) -> Result<()> {
    server.fail(lab.big_url(), [Fault::Hold(at)]);
    let mut process = lab
        .fetch_by_hand([server.url()])?
        .stdout(Stdio::null())
        .spawn()?;
    server.wait_held(1)?;
    rig::wait_for("what came before the kill", || {
        let imported = lab.daemon.valid_paths()?.len() + 2 == lab.index.paths.len();
        Ok((imported && part(lab) > at / 2).then_some(()))
    })?;
    process.kill()?;
    assert_eq!(process.wait()?.signal(), Some(9));
    server.release();
    Ok(())
}

/// How often each file of the cache was asked for.
fn asked(server: &Faulty, url: &str) -> usize {
    let seen = server.seen();
    seen.iter().filter(|seen| seen.path.contains(url)).count()
}

#[test]
fn a_killed_fetch_goes_on_at_the_byte_and_wastes_nothing() -> Result<()> {
    let lab = Lab::new("xz")?;
    let server = Faulty::start(&lab.cache)?;
    killed(&lab, &server, lab.big_size() / 2)?;
    let (here, all) = (part(&lab), staged(&lab));

    let number = numbers(&mut lab.fetch_by_hand([server.url()])?)?;
    assert_eq!(number("resumedBytes"), all);
    assert_eq!(number("wastedBytes"), 0);
    assert_eq!(number("wireBytes"), number("downloadBytes") - all);
    for (at, info) in lab.index.paths.iter().enumerate() {
        let times = if at == lab.big() { 2 } else { 1 };
        assert_eq!(asked(&server, &info.download.url), times, "{}", info.path);
    }
    let last = server
        .seen()
        .into_iter()
        .rfind(|seen| seen.path.contains(lab.big_url()));
    let range = last.and_then(|seen| seen.range).context("no range")?;
    assert_eq!(range, format!("bytes={here}-"));
    lab.check_fetched(&lab.request(&server.url()))
}

#[test]
fn a_killed_fetch_goes_on_at_another_mirror() -> Result<()> {
    let lab = Lab::new("xz")?;
    let (first, second) = (Faulty::start(&lab.cache)?, Faulty::start(&lab.cache)?);
    killed(&lab, &first, lab.big_size() / 2)?;
    let here = staged(&lab);

    // The first is gone; the second was never asked before, and has another idea of the file's tag.
    first.always("nar/", Fault::Hangup);
    second.always(lab.big_url(), Fault::NewTag);
    let number = numbers(&mut lab.fetch_by_hand([first.url(), second.url()])?)?;
    assert_eq!((number("resumedBytes"), number("wastedBytes")), (here, 0));
    assert_eq!(number("wireBytes"), number("downloadBytes") - here);
    lab.check_fetched(&lab.request(&second.url()))
}

#[test]
fn what_a_killed_fetch_wasted_is_counted() -> Result<()> {
    let lab = Lab::new("xz")?;
    let server = Faulty::start(&lab.cache)?;
    killed(&lab, &server, lab.big_size() / 2)?;
    let (here, all) = (part(&lab), staged(&lab));

    // The server cannot go on in the middle: what was there of the big path comes again.
    server.always(lab.big_url(), Fault::NoRanges);
    let number = numbers(&mut lab.fetch_by_hand([server.url()])?)?;
    assert_eq!(number("resumedBytes"), all - here);
    assert_eq!(number("wastedBytes"), here);
    assert_eq!(number("wireBytes"), number("downloadBytes") - (all - here));
    lab.check_fetched(&lab.request(&server.url()))
}
