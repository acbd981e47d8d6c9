//! Evidence to take home: one archive of what support needs, without secrets.
//!
//! `collect` says what is in it, and `scrub` takes secrets out.

mod collect;
mod scrub;

use crate::agent::socket::SocketArgs;
use anyhow::Context as _;
use std::{fs::File, io::Write, path::Path};

pub(crate) use collect::Part;

/// Level of the compression, of zstd's 1 to 19.
const LEVEL: i32 = 6;

/// Collects it; `told` hears what comes next.
pub(crate) fn collect(root: &Path, socket: &SocketArgs, told: impl FnMut(&str)) -> Vec<Part> {
    let robot = collect::Robot {
        root: root.to_owned(),
        socket: socket.clone(),
    };
    collect::collect(&robot, told)
}

/// What is missing, a line each.
pub(crate) fn missing(parts: &[Part]) -> Vec<String> {
    let missing = parts.iter().filter_map(|part| {
        let why = part.content.as_ref().err()?;
        Some(format!("{} ({}): {why}", part.name, part.what))
    });
    missing.collect()
}

/// Writes the archive; all its files lie below `name`.
///
/// # Errors
/// It cannot be written: the disk or the stick is full, say.
pub(crate) fn write(parts: &[Part], name: &str, file: &File) -> anyhow::Result<()> {
    let packed = zstd::Encoder::new(file, LEVEL)?;
    let mut archive = tar::Builder::new(packed);
    let now = jiff::Timestamp::now().as_second().unsigned_abs();
    let mut add = |file: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        archive.append_data(&mut header, format!("{name}/{file}"), content)
    };
    for part in parts {
        if let Ok(content) = &part.content {
            add(&part.name, content).with_context(|| format!("cannot write {}", part.name))?;
        }
    }
    let missing = missing(parts).join("\n");
    if !missing.is_empty() {
        add("MISSING.txt", format!("{missing}\n").as_bytes())?;
    }
    let mut packed = archive.into_inner()?;
    packed.flush()?;
    packed.finish()?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeMap, fs, io::Read as _};

    /// A robot with canaries in every place where a secret can lie.
    fn robot() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in [
            (
                "etc/surefoot/config.toml",
                "[repository]\nurl = 'https://bob:CANARY-url@updates.example'\n\
                 [fetch]\nnetrc_file = '/secrets/netrc'\nclient_key = 'key.pem'\n\
                 [[fetch.access]]\nheaders = '/secrets/headers'\n\
                 [[gates.command]]\nname = 'docked'\nexec = ['/bin/docked', '-p', 'CANARY-argument']\n",
            ),
            (
                "etc/surefoot/config.d/10-site.toml",
                "[site]\nmqtt_password = 'CANARY-setting'\n",
            ),
            // What the agent does not read, and what it cannot.
            ("etc/surefoot/config.d/README", "see the wiki\n"),
            (
                "etc/surefoot/config.d/20-broken.toml",
                "[fetch\nnetrc_file = '/secrets/other'\n",
            ),
            ("secrets/other", "machine y login z password CANARY-other\n"),
            (
                "secrets/netrc",
                "machine cache.example login robot password CANARY-netrc\n",
            ),
            ("secrets/headers", "Authorization: Bearer CANARY-header\n"),
            (
                "run/credentials/surefootd.service/key.pem",
                "-----BEGIN PRIVATE KEY-----\nCANARY-key\n-----END PRIVATE KEY-----\n",
            ),
            (
                "var/lib/surefoot/journal.0",
                "surefoot 1\n{\"blocked\": [{\"log\": [\"login CANARY-netrc failed\", \"TOKEN=CANARY-log\"]}], \
                 \"history\": [{\"by\": \"alice\"}]}",
            ),
            ("var/lib/surefoot/journal.1", "damaged CANARY-journal"),
            (
                "var/lib/surefoot/switches/1.log",
                "arm: header CANARY-header\nleg: CANARY-other is wrong\nstarted arm.service\n",
            ),
            (
                "boot/loader/entries/nixos-generation-1.conf",
                "title NixOS\noptions init=/nix/store/x/init rd.luks.passphrase=CANARY-boot\n",
            ),
            ("root/.netrc", "machine x login y password CANARY-root\n"),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        dir
    }

    fn unpacked(parts: &[Part]) -> BTreeMap<String, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        write(parts, "report", file.as_file()).unwrap();
        let plain = zstd::Decoder::new(file.reopen().unwrap()).unwrap();
        let mut archive = tar::Archive::new(plain);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (name, String::from_utf8_lossy(&bytes).into_owned())
        });
        entries.collect()
    }

    #[test]
    fn no_secret_leaves_the_robot_and_what_support_needs_does() {
        let robot = robot();
        let socket = SocketArgs {
            socket: robot.path().join("nobody.socket"),
        };
        let parts = collect(robot.path(), &socket, |_| ());
        let files = unpacked(&parts);
        for (name, text) in &files {
            let found = text.find("CANARY").map(|at| &text[at.saturating_sub(60)..]);
            assert_eq!(found, None, "{name}");
        }
        let says = |name: &str, words: &str| {
            let text = &files[&format!("report/{name}")];
            assert!(text.contains(words), "{name}: {text}");
        };
        says("configuration.json", "updates.example");
        says("configuration.json", "it is not TOML");
        says("configuration.json", "/bin/docked");
        says("memory.json", "alice");
        says("switches.txt", "started arm.service");
        says("boot.txt", "init=/nix/store/x/init");
        says("files.txt", "journal.0");
        // What nobody answered is named.
        says("MISSING.txt", "status.json");
    }

    #[test]
    fn what_is_wrong_with_the_configuration_is_not_quoted() {
        let robot = robot();
        let config = robot.path().join("etc/surefoot/config.toml");
        fs::write(config, "password = CANARY\n").unwrap();
        let socket = SocketArgs {
            socket: robot.path().join("nobody.socket"),
        };
        let files = unpacked(&collect(robot.path(), &socket, |_| ()));
        assert!(files["report/configuration.json"].contains("is not TOML"));
        assert!(files.values().all(|text| !text.contains("= CANARY")));
    }
}
