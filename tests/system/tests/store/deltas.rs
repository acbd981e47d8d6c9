//! Deltas: an update costs what changed, and a bad delta costs itself and the NAR.

use crate::lab::{self, Lab, run, staged};
use anyhow::{Context, Result, ensure};
use sha2::Digest as _;
use std::{fs, path::Path, process::Command, sync::Arc};
use surefoot_core::{
    Sha256,
    closure::{ClosureIndex, Delta},
};
use surefoot_delta::{Codec, Tree, make};
use surefoot_store::{fetch, index, plan::FetchPlan, request::FetchRequest};
use surefoot_tests::{
    Farm, Nginx, Toplevel,
    toplevel::{built, etc},
};

/// Bytes of the file that is nearly the same in both.
const SIZE: u32 = 1 << 20;

/// A robot with one system, and the next one in the cache, with a delta of its largest path.
struct Update {
    lab: Lab,
    /// The system that the robot has.
    old: String,
    server: Nginx,
    at: usize,
    /// The delta as it was made.
    file: Vec<u8>,
    delta: Delta,
}

fn generation(name: &str, change: &str) -> Result<String> {
    let words = (0..SIZE / 8).map(|n| format!("{:07x}{}", n.wrapping_mul(0x9e37_79b1) >> 4, '\n'));
    let text = format!("{}{change}", words.collect::<String>());
    let files = etc(&[("words", &text)])?;
    Toplevel::named(name)
        .etc(files.path())
        .build(&Farm::shared())
}

fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

impl Update {
    fn new() -> Result<Self> {
        let (old, new) = (generation("old", "1")?, generation("new", "22")?);
        let mut lab = Lab::with(&old, "xz")?;
        let cache = format!("file://{}", lab.cache.display());
        let mut request = lab.request(&cache);
        // Not the root that the update moves.
        request.gc_root = lab.daemon.directory().join("old");
        run(&request)?;
        let before = Arc::clone(&lab.index);
        Farm::shared().push(
            &new,
            &lab.cache,
            "xz",
            Some(&lab.daemon.directory().join("key")),
        )?;
        (lab.index, lab.toplevel) = (Arc::new(lab::index_of(&lab.cache, &new)?), new);
        let largest = |index: &ClosureIndex, other: &ClosureIndex| {
            let shared = |at: &usize| {
                let path = &index.paths[*at].path;
                other.paths.iter().any(|info| info.path == *path)
            };
            let own = (0..index.paths.len()).filter(|at| !shared(at));
            own.max_by_key(|&at| index.paths[at].nar_size)
        };
        let at = largest(&lab.index, &before).context("nothing is new")?;
        let base = largest(&before, &lab.index).context("nothing is old")?;
        let (base, info) = (&before.paths[base], &lab.index.paths[at]);
        assert!(info.nar_size > u64::from(SIZE));
        let tree = |path: &surefoot_core::StorePath| {
            let store = Farm::shared().root().join("nix/store");
            Tree::new(&store.join(path.base_name()))
        };
        let mut file = Vec::new();
        let header = make(
            &tree(&base.path)?,
            &tree(&info.path)?,
            Codec::Predict,
            &mut file,
        )?;
        let delta = Delta {
            base: base.path.clone(),
            base_nar_hash: base.nar_hash,
            codec: header.codec.name().into(),
            memory: header.memory,
            url: String::new(),
            sha256: Sha256([0; 32]),
            size: 0,
        };
        let server = Nginx::start(&format!("location / {{ root {}; }}", lab.cache.display()))?;
        Ok(Self {
            lab,
            old,
            server,
            at,
            file,
            delta,
        })
    }

    /// A request for the new system, whose largest path has this delta; `served` lies in the cache.
    fn request(&self, file: &[u8], delta: &Delta, served: Option<&[u8]>) -> Result<FetchRequest> {
        let digest = sha256(file);
        let url = format!("deltas/{}.delta", digest.hex());
        if let Some(bytes) = served {
            let place = self.lab.cache.join(&url);
            fs::create_dir_all(place.parent().unwrap_or(Path::new("/")))?;
            fs::write(place, bytes)?;
        }
        let listed = Delta {
            url,
            sha256: digest,
            size: file.len() as u64,
            ..delta.clone()
        };
        Ok(self.lab.request_with(&self.server.url(), |index| {
            index.paths[self.at].deltas = vec![listed];
        }))
    }

    fn plan(request: &FetchRequest) -> Result<FetchPlan> {
        Ok(lab::block_on(fetch::plan(request))?)
    }

    /// The new system goes, and the next try is the first again.
    fn forget(&self, request: &FetchRequest) -> Result<()> {
        fs::remove_file(&request.gc_root)?;
        self.lab.daemon.collect_garbage()
    }
}

#[test]
fn an_update_costs_what_the_delta_has() -> Result<()> {
    let update = Update::new()?;
    let request = update.request(&update.file, &update.delta, Some(&update.file))?;
    let mut whole = request.clone();
    whole.deltas = false;
    let (small, large) = (Update::plan(&request)?, Update::plan(&whole)?);
    assert_eq!((small.deltas, large.deltas), (1, 0));
    assert_eq!(
        small.download_bytes + small.saved_bytes,
        large.download_bytes
    );
    assert!(
        small.download_bytes * 10 < large.download_bytes,
        "{small:?}"
    );

    // What is collected meanwhile is not the base.
    fs::remove_file(update.lab.daemon.directory().join("old"))?;
    let report = run(&request)?;
    update.lab.check_fetched(&request)?;
    assert_eq!(report.wire_bytes, small.download_bytes);
    assert_eq!(report.wasted_bytes, 0);
    let requests = update.server.requests_after(small.missing.len())?;
    let bytes: u64 = requests.iter().map(|request| request.bytes).sum();
    assert_eq!(bytes, small.download_bytes);
    let deltas = requests
        .iter()
        .filter(|one| one.uri.starts_with("/deltas/"));
    assert_eq!(deltas.count(), 1);
    // Its base is gone by now: the whole path comes.
    update.forget(&request)?;
    assert_eq!(Update::plan(&request)?.deltas, 0);
    run(&request)?;
    update.lab.check_fetched(&request)
}

#[test]
fn what_is_wrong_with_a_delta_costs_one_delta_and_brings_the_nar() -> Result<()> {
    let update = Update::new()?;
    let (good, file) = (&update.delta, &update.file);
    let flipped = {
        let mut flipped = file.clone();
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        flipped
    };
    let other = {
        let mut other = Vec::new();
        let store = update.lab.daemon.root().join("nix/store");
        let base = Tree::new(&store.join(good.base.base_name()))?;
        make(&base, &vec![0; 32 << 20], Codec::ZstdPatch, &mut other)?;
        other
    };
    let mut elsewhere = good.clone();
    elsewhere.base_nar_hash = Sha256([3; 32]);
    let longer = [file, &b"."[..]].concat();
    let cut = &file[..file.len() / 2];
    let future = {
        let mut future = file.clone();
        future[8 + 1 + "predict-".len()] = b'9';
        future
    };
    for (what, listed, delta, served) in [
        ("it is not there", b"nowhere".as_slice(), good, None),
        ("the cache has another", file, good, Some(&flipped[..])),
        (
            "it was damaged before it was signed",
            &flipped,
            good,
            Some(&flipped),
        ),
        ("it ends in the middle", cut, good, Some(cut)),
        ("it makes far more", &other, good, Some(&other)),
        ("it is for another base", &longer, &elsewhere, Some(&longer)),
        ("its codec is of the future", &future, good, Some(&future)),
    ] {
        let request = update.request(listed, delta, served)?;
        let plan = Update::plan(&request)?;
        assert_eq!(plan.deltas, 1, "{what}");
        let report = run(&request).with_context(|| what)?;
        let valid = update.lab.daemon.valid_paths()?;
        assert!(valid.contains(&update.lab.toplevel), "{what}");
        // At most one delta and one NAR, however often it was asked for; nothing but what is remembered stays.
        let most = plan.download_bytes + plan.saved_bytes + 2 * listed.len() as u64;
        assert!(report.wire_bytes <= most, "{what}: {report:?}");
        assert_eq!(staged(&request)?, ["deltas.json"], "{what}");
        // Not after a restart either. The robot that knows of three of one system has it whole by now.
        update.forget(&request)?;
        let plan = Update::plan(&request)?;
        assert_eq!(plan.deltas, 0, "{what}");
        run(&request)?;
        update.forget(&request)?;
    }
    // What this robot cannot use is not even asked for.
    let mut unknown = good.clone();
    unknown.codec = "predict-9".into();
    let mut hungry = good.clone();
    hungry.memory = 1 << 40;
    for delta in [&unknown, &hungry] {
        let request = update.request(file, delta, Some(file))?;
        assert_eq!(Update::plan(&request)?.deltas, 0);
    }
    update.lab.daemon.verify()
}

#[test]
fn deltas_are_made_at_the_desk_pushed_listed_and_taken_away() -> Result<()> {
    let update = Update::new()?;
    let desk = tempfile::tempdir()?;
    let surefoot = |words: &[&str]| -> Result<serde_json::Value> {
        let mut command = Command::new(built("surefoot")?);
        command.current_dir(desk.path()).args(words).arg("--json");
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{words:?}: {said}");
        serde_json::from_slice(&output.stdout).with_context(|| said.into_owned())
    };
    let cache = update.lab.cache.to_string_lossy().into_owned();
    let put = |system: &str, release: &str, more: &[&str]| {
        let fixed = [
            "publish",
            "--repo=repo",
            "--channel=stable",
            "--model=picker",
            "--local-cache",
            "--any-closure",
            "--no-store",
            "--cache",
            &cache,
            release,
            system,
        ];
        surefoot(&[&fixed, more].concat())
    };
    let publish = |system: &str, release: &str, more: &[&str]| {
        put(system, &format!("--release={release}"), more)
    };
    let deltas = |said: &serde_json::Value| said["systems"]["picker"]["deltas"].clone();
    let pushing = ["--push-deltas", &cache, "--delta-cache=made"];
    surefoot(&["repo", "init", "repo"])?;
    // There is nothing before the first one; and nobody is surprised by deltas.
    assert!(deltas(&publish(&update.old, "1", &pushing)?).is_null());
    let new = &update.lab.toplevel;
    let dry = publish(new, "2", &[&pushing[..], &["--dry-run"]].concat())?;
    let folder = update.lab.cache.join("deltas");
    assert!(!folder.exists() && deltas(&dry)["deltas"] != 0, "{dry}");
    let said = publish(new, "2", &pushing)?;
    let brought = deltas(&said);
    assert_eq!(brought, deltas(&dry));
    let number = |value: &serde_json::Value| value.as_u64().unwrap_or_default();
    let (with, without) = (
        number(&brought["downloadBytes"]),
        number(&brought["wholeBytes"]),
    );
    assert!(with > 0 && with * 5 < without, "{said}");
    let diff = surefoot(&["diff", "1", "2", "--repo=repo"])?;
    assert_eq!(
        (&diff["download"], &diff["whole"]),
        (&with.into(), &without.into())
    );

    // A robot takes what is signed.
    let name = said["systems"]["picker"]["index"]
        .as_str()
        .context("no index")?;
    let name = name.strip_prefix("closures/").context("another name")?;
    let place = desk.path().join("repo/targets/closures");
    let mut signed = None;
    for file in fs::read_dir(place)? {
        let file = file?;
        if file.file_name().to_string_lossy().ends_with(name) {
            signed = Some(index::unpack(&fs::read(file.path())?)?);
        }
    }
    let signed = signed.context("the index is not there")?;
    let request = update
        .lab
        .request_with(&update.server.url(), |index| *index = signed);
    let plan = Update::plan(&request)?;
    assert_eq!((plan.download_bytes, plan.deltas > 0), (with, true));
    let report = run(&request)?;
    assert_eq!((report.wire_bytes, report.wasted_bytes), (with, 0));
    update.lab.check_fetched(&request)?;

    // What is listed stays. A release loses its deltas where they are not wanted any more, and the files go.
    let prune = || surefoot(&["repo", "prune", "repo", "--keep=1d", "--deltas", &cache]);
    let there = || Ok::<_, anyhow::Error>(fs::read_dir(&folder)?.count());
    let count = there()?;
    for file in fs::read_dir(&folder)? {
        let file = fs::File::options().write(true).open(file?.path())?;
        file.set_modified(std::time::SystemTime::UNIX_EPOCH)?;
    }
    prune()?;
    assert_eq!(there()?, count);
    let again = |more: &[&str]| put(new, "--replace-index=2", more);
    again(&[])?;
    let diff = surefoot(&["diff", "1", "2", "--repo=repo"])?;
    assert_eq!(diff["download"], without);
    prune()?;
    assert_eq!(there()?, 0);
    // They come back from where they were made.
    again(&pushing)?;
    let diff = surefoot(&["diff", "1", "2", "--repo=repo"])?;
    assert_eq!((&diff["download"], there()?), (&with.into(), count));
    Ok(())
}
