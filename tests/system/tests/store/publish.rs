//! Closure indexes from stores and caches, and the two commands.

use crate::lab::{self, Lab};
use anyhow::Result;
use std::{path::Path, process::Command};
use surefoot_core::closure::ClosureIndex;
use surefoot_http::Http;
use surefoot_store::{
    Error,
    cache::{Cache, place},
    index,
    nix_daemon::{Connection, PATIENCE},
};
use surefoot_tests::{Fault, Faulty, rig, toplevel::built};

/// The index, from the store of the lab's daemon and the cache.
fn from_store(lab: &Lab) -> Result<ClosureIndex, Error> {
    lab::block_on(async {
        let mut daemon = Connection::open(&lab.daemon.socket(), PATIENCE).await?;
        let cache = Cache::new(&place(&lab.cache.to_string_lossy()))?;
        let toplevel = lab.toplevel.parse().expect("a store path");
        index::from_store(&mut daemon, &cache, &Http::default(), &toplevel).await
    })
}

fn narinfo(lab: &Lab, at: usize) -> std::path::PathBuf {
    let hash = lab.index.paths[at].path.hash_part();
    lab.cache.join(format!("{hash}.narinfo"))
}

#[test]
fn store_and_cache_must_agree() -> Result<()> {
    let lab = Lab::new("xz")?;
    assert!(matches!(from_store(&lab), Err(Error::NotInStore(_))));
    lab::run(&lab.request(&place(&lab.cache.to_string_lossy())))?;
    let index = from_store(&lab)?;
    assert_eq!(index, *lab.index, "both ways give the same");
    let packed = index::pack(&index)?;
    assert_eq!(index::unpack(&packed.bytes)?, index);

    let file = narinfo(&lab, lab.top());
    let text = std::fs::read_to_string(&file)?;
    let hash = index.paths[lab.top()].nar_hash.to_string();
    let other = lab.index.paths[0].nar_hash.to_string();
    for (from, to, field) in [
        (hash.as_str(), other.as_str(), "NAR hash"),
        ("NarSize: ", "NarSize: 1", "NAR size"),
        ("References: ", "References:\nX: ", "references"),
        (
            "StorePath: /nix/store/",
            "StorePath: /nix/store/0",
            "narinfo",
        ),
        (
            lab.index.paths[lab.top()].path.name(),
            "another-name",
            "store path",
        ),
    ] {
        std::fs::write(&file, text.replacen(from, to, 1))?;
        let error = from_store(&lab).unwrap_err().to_string();
        assert!(error.contains(field), "{field}: {error}");
    }
    std::fs::remove_file(&file)?;
    assert!(matches!(from_store(&lab), Err(Error::Missing { .. })));
    Ok(())
}

#[test]
fn a_cache_that_answers_badly_gives_no_index() -> Result<()> {
    let lab = Lab::new("xz")?;
    let server = Faulty::start(&lab.cache)?;
    let build = || {
        let cache = Cache::new(&server.url())?;
        let toplevel = lab.toplevel.parse().expect("a store path");
        lab::block_on(index::from_cache(&cache, &Http::default(), &toplevel))
    };
    let name = narinfo(&lab, 0);
    let name = name.file_name().expect("a name").to_string_lossy();
    for fault in [
        Fault::Status(404, vec![]),
        Fault::Status(500, vec![]),
        Fault::Hangup,
        Fault::Drop(50),
        Fault::Short(120),
        Fault::Other(vec![0xff; 3000]),
        Fault::Other(vec![b'\n'; 3 << 20]),
        Fault::Other(std::fs::read(narinfo(&lab, 1))?),
    ] {
        server.heal();
        server.always(&name, fault.clone());
        let error = build().unwrap_err();
        assert!(!error.to_string().is_empty(), "{fault:?}");
    }
    server.heal();
    build()?;
    Ok(())
}

struct Cli {
    directory: tempfile::TempDir,
}

impl Cli {
    fn run(&self, lab: &Lab, arguments: &[&str]) -> Result<serde_json::Value> {
        let mut command = Command::new(built("surefoot")?);
        command
            .current_dir(self.directory.path())
            .env("NIX_DAEMON_SOCKET_PATH", lab.daemon.socket())
            .args(arguments)
            .arg("--json");
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let value = serde_json::from_str(&text);
        value.map_err(|error| {
            anyhow::anyhow!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
        })
    }
}

#[test]
fn what_is_published_can_be_fetched() -> Result<()> {
    let lab = Lab::new("zstd")?;
    let cli = Cli {
        directory: tempfile::tempdir()?,
    };
    let cache = lab.cache.to_string_lossy();
    cli.run(&lab, &["repo", "init", "repo"])?;
    let publish = |more: &[&str]| {
        let mut arguments = vec!["publish", "--repo", "repo", "--channel", "stable"];
        arguments.extend([
            "--model",
            "picker",
            "--cache",
            &cache,
            "--local-cache",
            "--any-closure",
        ]);
        arguments.push(&lab.toplevel);
        arguments.extend(more);
        cli.run(&lab, &arguments)
    };
    // The store does not have it yet.
    let refused = publish(&[])?;
    assert_eq!(refused["exit"], 1);
    assert!(
        refused["error"]
            .as_str()
            .is_some_and(|e| e.contains("not valid in the local"))
    );
    let first = publish(&["--no-store"])?;
    assert_eq!(first["systems"]["picker"]["comparedWithStore"], false);
    assert_eq!(first["systems"]["picker"]["unsigned"], 0);

    let fetch = |more: &[&str]| {
        let mut arguments = vec!["fetch", "--repo", "repo", "--channel", "stable"];
        arguments.extend(["--model", "picker", "--root", "repo/metadata/1.root.json"]);
        arguments.extend(["--staging", "staging", "--gc-root", "root"]);
        arguments.extend(more);
        cli.run(&lab, &arguments)
    };
    let plan = fetch(&["--dry-run"])?;
    assert_eq!(plan["release"], first["release"]);
    assert_eq!(plan["missing"], lab.index.paths.len());
    let report = fetch(&[])?;
    assert_eq!(report["wireBytes"], plan["wireBytes"]);
    assert_eq!(report["fetched"], lab.index.paths.len());
    let root = cli.directory.path().join("root");
    assert_eq!(std::fs::read_link(&root)?, Path::new(&lab.toplevel));
    lab.daemon.collect_garbage()?;
    lab.daemon.verify()?;
    assert!(lab.daemon.valid_paths()?.contains(&lab.toplevel));

    // Now with the store, and under a name of its own, but never twice.
    let second = publish(&[
        "--release",
        "summer",
        "--reboot",
        "always",
        "--notes",
        "warm",
    ])?;
    assert_eq!(second["systems"]["picker"]["comparedWithStore"], true);
    let twice = publish(&["--release", "summer"])?;
    assert!(
        twice["error"]
            .as_str()
            .is_some_and(|e| e.contains("already")),
        "{twice}"
    );
    let third = publish(&[])?;
    assert_ne!(third["release"], first["release"]);

    // Signatures may be demanded.
    let secret = std::fs::File::open(lab.daemon.directory().join("key"))?;
    let public = rig::run(
        rig::nix("nix")
            .args(["key", "convert-secret-to-public"])
            .stdin(secret),
    )?;
    publish(&["--trusted-public-key", &public])?["release"]
        .as_str()
        .expect("it was signed by this key");
    let stranger = "other-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=";
    let unsigned = publish(&["--trusted-public-key", stranger])?;
    assert!(
        unsigned["error"]
            .as_str()
            .is_some_and(|e| e.contains("not signed")),
        "{unsigned}"
    );

    // By hand, without a repository.
    let by_hand = cli.run(
        &lab,
        &[
            "fetch",
            &lab.toplevel,
            "--from",
            &cache,
            "--staging",
            "staging",
            "--gc-root",
            "root",
        ],
    )?;
    assert_eq!(by_hand["fetched"], 0);
    Ok(())
}
