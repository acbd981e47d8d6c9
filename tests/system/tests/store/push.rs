//! A repository is pushed to other machines: to an S3 server that checks signatures, and by rsync over ssh.

use crate::{access::S3, lab};
use anyhow::{Context as _, Result};
use std::{path::Path, process::Command};
use surefoot_http::access::{Access, By};
use surefoot_tests::{rig, toplevel::built};

/// A desk: a directory to type `surefoot` in, and what else its commands find in their environment.
struct Desk<'a> {
    home: &'a Path,
    environment: Vec<(&'static str, String)>,
}

impl Desk<'_> {
    fn surefoot(&self, words: &[&str]) -> Result<serde_json::Value> {
        let mut command = Command::new(built("surefoot")?);
        command.current_dir(self.home).args(words).arg("--json");
        let output = command.envs(self.environment.iter().cloned()).output()?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn copy(&self, from: &str, to: &str) -> Result<()> {
        let mut copy = Command::new("cp");
        rig::run(copy.current_dir(self.home).args(["-r", from, to]))?;
        Ok(())
    }
}

#[test]
fn a_repository_is_pushed_to_a_private_bucket() -> Result<()> {
    let Some(python) = lab::python() else {
        return Ok(());
    };
    let home = tempfile::tempdir()?;
    std::fs::create_dir(home.path().join("empty"))?;
    let s3 = S3::start(&python, &home.path().join("empty"), home.path())?;
    let credentials = home.path().join("aws");
    std::fs::write(&credentials, &s3.credentials)?;
    let place = format!("{}/served", s3.url);
    let access = format!("{}={}", s3.url, credentials.display());
    let desk = Desk {
        home: home.path(),
        environment: Vec::new(),
    };
    let surefoot = |words: &[&str]| desk.surefoot(words);
    let signed = ["--s3-credentials", &access, "--s3-region", "eu-central-1"];
    let push = || surefoot(&[&["repo", "push", "fleet", &place], &signed[..]].concat());
    surefoot(&["repo", "init", "fleet"])?;
    // Not with another secret.
    let stranger = home.path().join("stranger");
    std::fs::write(&stranger, s3.wrong_secret())?;
    let wrong = format!("{}={}", s3.url, stranger.display());
    let wrong = [
        &["repo", "push", "fleet", &place, "--s3-credentials", &wrong],
        &signed[2..],
    ]
    .concat();
    let refused = surefoot(&wrong)?;
    assert!(refused["error"].to_string().contains("403"), "{refused}");
    let first = push()?;
    assert_eq!(
        (&first["written"], &first["error"], &first["guarded"]),
        (&first["files"], &serde_json::Value::Null, &true.into())
    );
    assert_eq!(push()?["written"], 0);
    // A week later, from here; and from a desk whose copy is older.
    desk.copy("fleet", "old")?;
    surefoot(&["repo", "refresh", "fleet"])?;
    let second = push()?;
    assert_eq!(
        (&second["written"], &second["guarded"]),
        (&1.into(), &true.into())
    );
    let old = surefoot(&[&["repo", "push", "old", &place], &signed[..]].concat())?;
    assert!(
        old["error"]
            .to_string()
            .contains("somebody else has pushed"),
        "{old}"
    );
    let anchor = ["--anchor", "fleet/metadata/1.root.json"];
    let there = surefoot(&[&["repo", "verify", &place], &anchor[..], &signed[..]].concat())?;
    let here = surefoot(&["repo", "verify", "fleet"])?;
    assert_eq!(there["versions"], here["versions"]);
    // What never changes may be kept, the timestamp may not.
    let by = By::S3 {
        credentials,
        region: "eu-central-1".to_owned(),
    };
    let http = surefoot_http::Http::new(surefoot_http::Options {
        access: vec![Access {
            url: s3.url.clone(),
            by,
        }],
        ..surefoot_http::Options::default()
    });
    for (file, caching) in [
        ("timestamp.json", "no-cache"),
        ("1.root.json", "public, max-age=31536000, immutable"),
    ] {
        let url: surefoot_http::Url = format!("{place}/metadata/{file}").parse()?;
        let answer = lab::block_on(http.head(url.clone(), url.as_str()))?;
        assert_eq!(answer.headers()["cache-control"], caching, "{file}");
    }
    Ok(())
}

/// An sshd of its own for each connection, which lets in who has its key: what an ssh takes for its
/// `ProxyCommand`, and all else that it has to be told.
fn sshd(home: &Path) -> Result<String> {
    let at = |name: &str| home.join(name).display().to_string();
    for key in ["host", "admin"] {
        let mut make = Command::new("ssh-keygen");
        rig::run(make.args(["-q", "-t", "ed25519", "-N", "", "-f", &at(key)]))?;
    }
    // Debian's sshd wants it, where no systemd made it.
    std::fs::create_dir_all("/run/sshd")?;
    let config = format!(
        "HostKey {}\nAuthorizedKeysFile {}.pub\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n",
        at("host"),
        at("admin")
    );
    std::fs::write(home.join("sshd_config"), config)?;
    let proxy = format!("/usr/sbin/sshd -i -f {}", at("sshd_config"));
    let told = [
        format!("ProxyCommand {proxy}"),
        format!("IdentityFile {}", at("admin")),
        format!("UserKnownHostsFile {}", at("known")),
        "StrictHostKeyChecking accept-new".into(),
        "BatchMode yes".into(),
        "LogLevel ERROR".into(),
    ];
    let config = told.join("\n");
    std::fs::write(home.join("ssh_config"), config)?;
    Ok(format!("ssh -F {}", at("ssh_config")))
}

#[test]
fn a_repository_is_pushed_over_ssh_and_shows_no_half_of_it() -> Result<()> {
    let home = tempfile::tempdir()?;
    let home = home.path();
    let mut desk = Desk {
        home,
        environment: vec![("RSYNC_RSH", sshd(home)?)],
    };
    let served = home.join("served by whom");
    let place = format!("root@web:{}", served.display());
    desk.surefoot(&["repo", "init", "fleet"])?;
    let targets = home.join("fleet/targets");
    std::fs::create_dir_all(&targets)?;
    std::fs::write(home.join("elsewhere"), "it")?;
    std::os::unix::fs::symlink(home.join("elsewhere"), targets.join("link"))?;
    let push = ["repo", "push", "fleet", &place];
    let dry = desk.surefoot(&[&push[..], &["--dry-run"]].concat())?;
    assert_eq!(dry["written"], dry["files"], "{dry}");
    assert!(!served.exists());
    let first = desk.surefoot(&push)?;
    assert_eq!(first["written"], first["files"], "{first}");
    assert_eq!(first["guarded"], false);
    assert_eq!(desk.surefoot(&push)?["written"], 0);
    assert_eq!(std::fs::read(served.join("targets/link"))?, b"it");
    let whole = desk.surefoot(&["repo", "verify", &served.to_string_lossy()])?;
    assert_eq!(whole["problems"], serde_json::json!([]), "{whole}");

    // A week later, from here; and from a desk whose copy is older.
    desk.copy("fleet", "old")?;
    desk.surefoot(&["repo", "refresh", "fleet"])?;
    assert_eq!(desk.surefoot(&push)?["written"], 1);
    let newest = std::fs::read(served.join("metadata/timestamp.json"))?;
    let old = desk.surefoot(&["repo", "push", "old", &place])?;
    let error = old["error"].to_string();
    assert!(error.contains("somebody else has pushed"), "{error}");
    assert_eq!(
        std::fs::read(served.join("metadata/timestamp.json"))?,
        newest
    );

    // It breaks off at the worst moments: what lists something comes after that, the timestamp last.
    let rotate = ["repo", "rotate", "fleet", "--role", "targets"];
    desk.surefoot(&rotate)?;
    let breaks = home.join("breaks");
    let ssh = desk.environment[0].1.clone();
    let script = |connections: usize| {
        format!(
            "#!/bin/sh\necho >>{0}.count\n[ $(wc -l <{0}.count) -le {connections} ] || exit 1\nexec {ssh} \"$@\"\n",
            breaks.display()
        )
    };
    let mut tries = 0;
    let last = loop {
        let _ = std::fs::remove_file(breaks.with_extension("count"));
        std::fs::write(&breaks, script(tries))?;
        rig::run(Command::new("chmod").arg("+x").arg(&breaks))?;
        desk.environment = vec![("RSYNC_RSH", breaks.display().to_string())];
        let said = desk.surefoot(&push)?;
        let anchor = home.join("fleet/metadata/1.root.json");
        let robot = ["--anchor", &anchor.to_string_lossy()].map(ToOwned::to_owned);
        let robot = robot.each_ref().map(String::as_str);
        let whole =
            desk.surefoot(&[&["repo", "verify", &served.to_string_lossy()], &robot[..]].concat())?;
        assert_eq!(whole["problems"], serde_json::json!([]), "{tries}: {whole}");
        if said["error"].is_null() {
            break whole;
        }
        tries += 1;
    };
    let here = desk.surefoot(&["repo", "verify", "fleet"])?;
    assert_eq!(last["versions"], here["versions"]);
    assert!(tries > 3, "{tries}");
    Ok(())
}
