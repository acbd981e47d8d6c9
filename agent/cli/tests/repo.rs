//! Keys of a fleet, changed as people would type it: lost, moved apart, encrypted, or behind a
//! program. A robot with the first anchor believes the repository after each step.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use assert_cmd::{Command, assert::Assert};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A place to type commands at, with a repository `fleet` and its `fleet-keys`.
struct Desk(TempDir);

impl Desk {
    fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn new(init: &[&str]) -> Self {
        let desk = Self::empty();
        desk.does(&[&["init", "fleet"], init].concat());
        desk
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// Runs a command, with the passphrase that lies here, if one does.
    fn says(&self, command: &[&str]) -> Assert {
        let mut surefoot = Command::new(env!("CARGO_BIN_EXE_surefoot"));
        surefoot.env_remove("SUREFOOT_PASSPHRASE_FILE");
        if self.path("passphrase").exists() {
            surefoot.env("SUREFOOT_PASSPHRASE_FILE", "passphrase");
        }
        surefoot.current_dir(self.0.path()).arg("repo");
        surefoot.args(command).assert()
    }

    /// A command that succeeds, and what it says in JSON.
    fn does(&self, command: &[&str]) -> Value {
        let assert = self.says(&[command, &["--json"]].concat()).success();
        serde_json::from_slice(&assert.get_output().stdout).unwrap()
    }

    /// A command that fails, and what it complains of.
    fn fails(&self, command: &[&str]) -> String {
        let assert = self.says(command).failure();
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    }

    /// That the repository is whole, looked at from its first root on.
    fn is_whole(&self) -> Value {
        let found = self.does(&["verify", "fleet"]);
        assert_eq!(found["problems"], Value::Array(Vec::new()));
        found["versions"].clone()
    }

    fn keys(&self, role: &str) -> Vec<String> {
        let roles = self.does(&["keys", "fleet"]);
        let keys = roles["roles"][role]["keys"].as_array().unwrap().clone();
        let id = |key: &Value| key["id"].as_str().unwrap().to_owned();
        keys.iter().map(id).collect()
    }

    fn take(&self, file: &str, to: &str) {
        let to = self.path(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::rename(self.path(file), to).unwrap();
    }
}

/// Runs OpenSSL, which `tests/run` installs.
fn openssl(at: &Path, args: &[&str]) {
    let out = Command::new("openssl").current_dir(at).args(args).output();
    assert!(out.unwrap().status.success(), "{args:?}");
}

#[test]
fn a_root_is_signed_where_its_keys_are() {
    let desk = Desk::new(&["--threshold", "root=2"]);
    desk.take("fleet-keys/root/root-2.pem", "safe/root-2.pem");
    let targets = desk.keys("targets");
    let error = desk.fails(&["rotate", "fleet", "--role", "targets"]);
    assert!(error.contains("with --draft FILE"), "{error}");
    let role = ["rotate", "fleet", "--role", "targets"];
    let draft = desk.does(&[&role[..], &["--draft", "root.json"]].concat());
    assert_eq!(draft["complete"], false);
    // Not in force yet, whoever tries.
    desk.fails(&["rotate", "fleet", "--finish", "root.json"]);
    assert_eq!(desk.is_whole()["root"], 1);
    // Elsewhere: nothing but the draft and a key.
    let safe = Desk::empty();
    fs::copy(desk.path("root.json"), safe.path("root.json")).unwrap();
    fs::rename(desk.path("safe"), safe.path("safe")).unwrap();
    let signed = safe.does(&["sign", "root.json", "--keys-dir", "safe"]);
    assert_eq!(signed["complete"], true);
    let error = safe.fails(&["sign", "safe/root-2.pem", "--keys-dir", "safe"]);
    assert!(error.contains("root-2.pem"), "{error}");
    fs::copy(safe.path("root.json"), desk.path("root.json")).unwrap();
    desk.does(&["rotate", "fleet", "--finish", "root.json"]);
    assert_eq!(desk.is_whole()["root"], 2);
    assert_ne!(desk.keys("targets"), targets);
}

#[test]
fn the_end_of_a_root_is_said_before_and_after_with_the_command_that_helps() {
    let desk = Desk::new(&["--expires", "root=20d"]);
    let said = desk.says(&["refresh", "fleet"]).success();
    let said = String::from_utf8(said.get_output().stdout.clone()).unwrap();
    assert!(said.contains("days left"), "{said}");
    let later = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 18)).to_string();
    let error = desk.fails(&["verify", "fleet", "--at", &later]);
    assert!(
        error.contains("repo refresh"),
        "the timestamp is over: {error}"
    );
    let desk = Desk::new(&["--expires", "root=1s"]);
    let over = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(1);
    while jiff::Timestamp::now() <= over {
        std::thread::yield_now();
    }
    let error = desk.fails(&["refresh", "fleet"]);
    assert!(
        error.contains("root has EXPIRED") && error.contains("repo rotate"),
        "{error}"
    );
    let error = desk.fails(&["verify", "fleet"]);
    assert!(
        error.contains("repo rotate") && error.contains("keys of root"),
        "{error}"
    );
    desk.does(&["rotate", "fleet"]);
}

#[test]
fn a_lost_root_key_is_replaced_and_the_threshold_raised() {
    let desk = Desk::new(&["--threshold", "root=2", "--keys", "root=3"]);
    fs::remove_file(desk.path("fleet-keys/root/root-3.pem")).unwrap();
    let lost = &desk.keys("root")[2];
    let root = ["rotate", "fleet", "--role", "root"];
    desk.does(&[&root[..], &["--remove", lost, "--new", "1"]].concat());
    assert!(!desk.keys("root").contains(lost));
    let error = desk.fails(&[&root[..], &["--threshold", "4"]].concat());
    assert!(error.contains('4') && error.contains("root"), "{error}");
    desk.does(&[&root[..], &["--threshold", "3"]].concat());
    assert_eq!(desk.is_whole()["root"], 3);
    // Two of the three do not do any more.
    fs::remove_file(desk.path("fleet-keys/root/root-1.pem")).unwrap();
    let error = desk.fails(&["rotate", "fleet"]);
    assert!(error.contains("the keys at hand cannot sign"), "{error}");
    assert_eq!(desk.is_whole()["root"], 3);
}

#[test]
fn encrypted_keys_sign_by_their_passphrase_alone() {
    let desk = Desk::empty();
    fs::write(desk.path("passphrase"), "sesame\n").unwrap();
    desk.does(&["init", "fleet", "--encrypt"]);
    for key in ["root/root-1", "targets/targets-1", "online/timestamp-1"] {
        let pem = fs::read_to_string(desk.path(&format!("fleet-keys/{key}.pem"))).unwrap();
        assert!(pem.contains("BEGIN ENCRYPTED PRIVATE KEY"), "{key}");
    }
    fs::write(desk.path("passphrase"), "mustard\n").unwrap();
    let error = desk.fails(&["refresh", "fleet"]);
    assert!(
        error.contains("does not open with this passphrase"),
        "{error}"
    );
    desk.take("passphrase", "elsewhere");
    let error = desk.fails(&["refresh", "fleet"]);
    assert!(error.contains("SUREFOOT_PASSPHRASE_FILE"), "{error}");
    assert_eq!(desk.is_whole()["timestamp"], 1);
    fs::write(desk.path("passphrase"), "sesame\n").unwrap();
    desk.does(&["refresh", "fleet"]);
    assert_eq!(desk.is_whole()["timestamp"], 2);
}

#[test]
fn openssl_signs_for_a_root_key_that_it_holds() {
    let desk = Desk::new(&[]);
    let hsm = desk.path("hsm");
    fs::create_dir(&hsm).unwrap();
    openssl(
        &hsm,
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            "key",
        ],
    );
    openssl(
        &hsm,
        &["pkey", "-in", "key", "-pubout", "-out", "root-hsm.pub"],
    );
    let root = desk.path("fleet-keys/root");
    fs::copy(hsm.join("root-hsm.pub"), root.join("root-hsm.pub")).unwrap();
    let key = hsm.join("key");
    let command = ["openssl", "dgst", "-sha256", "-sign", key.to_str().unwrap()];
    let signer = serde_json::json!({ "publicKey": "root-hsm.pub", "command": command });
    fs::write(root.join("hsm.signer.json"), signer.to_string()).unwrap();
    let change = [
        "--role",
        "root",
        "--remove",
        "all",
        "--add-key",
        "hsm/root-hsm.pub",
    ];
    desk.does(&[&["rotate", "fleet"], &change[..]].concat());
    assert_eq!(desk.keys("root").len(), 1);
    // From now on nobody else can.
    fs::remove_file(root.join("root-1.pem")).unwrap();
    desk.does(&["rotate", "fleet", "--role", "timestamp"]);
    assert_eq!(desk.is_whole()["root"], 3);
    desk.take("hsm/key", "gone");
    let error = desk.fails(&["rotate", "fleet"]);
    assert!(error.contains("openssl"), "{error}");
    assert_eq!(desk.is_whole()["root"], 3);
}

#[test]
fn a_team_has_a_channel_until_it_is_taken_back() {
    let desk = Desk::new(&[]);
    let night = ["delegate", "fleet", "night-team", "--channel", "nightly"];
    desk.does(&[&night[..], &["--threshold", "2"]].concat());
    let roles = desk.does(&["keys", "fleet"]);
    let team = &roles["roles"]["night-team"];
    assert_eq!(
        (&team["threshold"], team["keys"].as_array().unwrap().len()),
        (&2.into(), 2)
    );
    assert_eq!(team["paths"][0], "channels/nightly.json");
    assert!(desk.path("fleet-keys/night-team/night-team-2.pem").exists());
    desk.is_whole();
    desk.does(&["revoke", "fleet", "night-team"]);
    assert!(desk.does(&["keys", "fleet"])["roles"]["night-team"].is_null());
    let error = desk.fails(&["revoke", "fleet", "night-team"]);
    assert!(error.contains("night-team"), "{error}");
    desk.is_whole();
}

#[test]
fn what_was_bent_is_named() {
    let desk = Desk::new(&[]);
    let file = desk.path("fleet/metadata/1.targets.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    let error = desk.fails(&["verify", "fleet"]);
    assert!(
        error.contains("targets.json is not what was signed"),
        "{error}"
    );
}
