//! The admin's desk, for tests that type commands at it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![allow(dead_code, reason = "each test takes what it needs")]

use assert_cmd::{Command, assert::Assert};
use serde_json::Value;
use sha2::Digest as _;
use std::{fs, path::PathBuf};
use surefoot_core::release::{Listed, Manifest, Release};
use tempfile::TempDir;

/// A place to type commands at, with a repository `fleet`, its keys, and a binary cache `cache` that has
/// the systems `a` to `d`.
pub(crate) struct Desk(pub(crate) TempDir);

impl Desk {
    pub(crate) fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        desk.does(&["repo", "init", "fleet"]);
        let cache = desk.path("cache");
        fs::create_dir(&cache).unwrap();
        fs::write(cache.join("nix-cache-info"), "StoreDir: /nix/store\n").unwrap();
        for c in ['a', 'b', 'c', 'd'] {
            desk.caches(
                c,
                &format!("nar/{c}.nar"),
                &["bin/switch-to-configuration", "nixos-version"],
            );
        }
        desk
    }

    /// Puts a system into the cache that has these files, as this file of the cache.
    pub(crate) fn caches(&self, c: char, url: &str, files: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, c.to_string()).unwrap();
        }
        let mut nar = Vec::new();
        surefoot_store::nar::write(dir.path(), &mut nar).unwrap();
        let info = format!(
            "StorePath: {}\nURL: {url}\nCompression: none\nNarHash: {}\nNarSize: {}\nReferences: \n",
            system(c),
            surefoot_core::Sha256(sha2::Sha256::digest(&nar).into()),
            nar.len(),
        );
        let cache = self.path("cache");
        fs::create_dir_all(cache.join("nar")).unwrap();
        fs::write(cache.join(url), nar).unwrap();
        let hash = c.to_string().repeat(32);
        fs::write(cache.join(format!("{hash}.narinfo")), info).unwrap();
    }

    /// Copies a directory.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        let copied = std::process::Command::new("cp")
            .current_dir(self.0.path())
            .args(["-r", from, to])
            .status();
        assert!(copied.unwrap().success());
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    pub(crate) fn says(&self, command: &[&str]) -> Assert {
        let mut surefoot = Command::new(env!("CARGO_BIN_EXE_surefoot"));
        surefoot.current_dir(self.0.path());
        surefoot.args(command).assert()
    }

    /// A command that succeeds, and what it says in JSON.
    pub(crate) fn does(&self, command: &[&str]) -> Value {
        let assert = self.says(&[command, &["--json"]].concat()).success();
        serde_json::from_slice(&assert.get_output().stdout).unwrap()
    }

    /// A command about the repository that succeeds.
    pub(crate) fn does_at(&self, command: &[&str]) -> Value {
        self.does(&[command, &["--repo", "fleet"]].concat())
    }

    /// A command about the repository that succeeds, and what it says to people.
    pub(crate) fn tells(&self, command: &[&str]) -> String {
        let assert = self
            .says(&[command, &["--repo", "fleet"]].concat())
            .success();
        String::from_utf8(assert.get_output().stdout.clone()).unwrap()
    }

    /// A command about the repository that fails, and what it complains of.
    pub(crate) fn fails(&self, command: &[&str]) -> String {
        let before = self.version();
        let assert = self
            .says(&[command, &["--repo", "fleet"]].concat())
            .failure();
        assert_eq!(self.version(), before, "{command:?} wrote something");
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    }

    pub(crate) fn publish<'a>(&self, release: &'a str, c: char, more: &[&'a str]) -> Vec<String> {
        let words = ["publish", "--no-store", "--local-cache", "--cache", "cache"];
        let words = words.into_iter().chain(["--release", release]);
        let mut words: Vec<String> = words.map(ToOwned::to_owned).collect();
        if !more.contains(&"--channel") {
            words.extend(["--channel".into(), "stable".into()]);
        }
        if !more.contains(&"--model") {
            words.extend(["--model".into(), "picker".into()]);
        }
        words.extend(more.iter().map(|word| (*word).to_owned()));
        words.push(system(c));
        words
    }

    pub(crate) fn publishes(&self, release: &str, c: char, more: &[&str]) -> Value {
        let words = self.publish(release, c, more);
        self.does_at(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    pub(crate) fn publish_fails(&self, release: &str, c: char, more: &[&str]) -> String {
        let words = self.publish(release, c, more);
        self.fails(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The version of the timestamp: whether anything was written.
    pub(crate) fn version(&self) -> Value {
        let found = self.does(&["repo", "verify", "fleet"]);
        assert_eq!(found["problems"], Value::Array(Vec::new()));
        found["versions"]["timestamp"].clone()
    }

    /// A release as robots read it.
    pub(crate) fn release(&self, channel: &str, id: &str) -> Release {
        let channel = channel.parse().unwrap();
        let dir = self.path("fleet/targets/channels");
        let mut files: Vec<PathBuf> = (fs::read_dir(dir).unwrap())
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
        let manifests = files.iter().rev();
        let mut manifests =
            manifests.filter_map(|path| Manifest::parse(&fs::read(path).unwrap(), &channel).ok());
        let releases = manifests.next().unwrap().releases;
        let mut known = releases.into_iter().filter_map(|listed| match listed {
            Listed::Known(release) => Some(*release),
            Listed::Other(_) => None,
        });
        known.find(|release| release.id.as_str() == id).unwrap()
    }
}

/// The store path of a system of the cache.
pub(crate) fn system(c: char) -> String {
    format!(
        "/nix/store/{}-nixos-system-picker-1",
        c.to_string().repeat(32)
    )
}
