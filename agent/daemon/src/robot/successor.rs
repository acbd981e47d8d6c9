//! The agent of a system that may be tried, and the configuration that it would have on this robot.
//!
//! Another version has other keys and ranges, and a robot has drop-ins of its own: whether the two fit
//! together is asked of the program that would have to start with them, and before anything is touched.

use super::{
    nix_conf,
    process::{self, Failed},
    transient::How,
};
use crate::{
    config::{self, ConfigError, What},
    repository,
};
use anyhow::{Context as _, bail};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};
use surefoot_base::{
    environment,
    file::{self, ReadError},
    text,
};
use surefoot_core::StorePath;
use surefoot_store::nix_daemon::ValidPath;

const ETC: &str = "/etc";
const UNIT: &str = "surefootd.service";

/// NixOS links what a system has in /etc by way of this (nixpkgs
/// `nixos/modules/system/etc/setup-etc.pl`).
const STATIC: &str = "static";

/// How long the look at a configuration may take: the program may have to be read from a slow disk.
const LIMIT: Duration = Duration::from_secs(20);

/// The exit status that says that the configuration is refused.
const REFUSED: i32 = 1;

/// So many lines of a refusal are shown, and so many characters of them.
const LINES: usize = 5;
const WIDTH: usize = 600;

/// Why the configuration that a system would have on this robot must not become its configuration, if
/// so: the system's own agent refuses it, or it leads the robot elsewhere and `moves` does not say that
/// this is meant. `room` is a directory that may be made anew.
///
/// A program that does not start, takes too long or does not know the question says nothing about
/// the configuration. It is logged.
///
/// # Errors
/// The robot's present configuration is refused as well, by this agent: that is not the fault of any
/// system. Or the question cannot be put.
pub(crate) async fn refuses(
    new: &StorePath,
    current: &StorePath,
    moves: bool,
    room: &Path,
) -> anyhow::Result<Option<String>> {
    let layers = Layers::after(new, current);
    let units = layers.new.join("systemd/system");
    let unit = units.to_str().map(|units| [units]);
    let Some((program, arguments)) = unit.and_then(|units| environment::exec_of_unit(&units, UNIT))
    else {
        return Ok(None);
    };
    let there =
        file::exists(&program).with_context(|| format!("cannot look at {}", program.display()))?;
    if !there || program.is_dir() {
        return Ok(Some(format!(
            "the agent of {new} is to be {}, and there is no such program: the robot could not be updated any \
             more",
            text::shown(program.display())
        )));
    }
    let named = named(&arguments);
    let laid = match named.strip_prefix(ETC) {
        Ok(within) => match layers.of(within)? {
            Ok(files) => {
                readable(&files)?;
                lay(&files, room).with_context(|| format!("cannot use {}", room.display()))?
            }
            Err(why) => return judged(config::load(&named), &named, new, why),
        },
        Err(_) => named.clone(),
    };
    let exec = [
        program.display().to_string(),
        "--check-config".to_owned(),
        "--config".to_owned(),
        laid.display().to_string(),
    ];
    // Looked at before and afterwards: somebody may be at work on it.
    let before = config::load(&named);
    let asked = process::run("check-config", &exec, LIMIT).await;
    let elsewhere = if moves {
        None
    } else {
        leads_elsewhere(&named, &laid, |path| layers.will_be(path))
    };
    let anchorless = anchorless(&named, &laid, &layers)?;
    let _ = fs::remove_dir_all(room);
    let Some(said) = asked.err().and_then(|failed| refusal(&failed)) else {
        let elsewhere = elsewhere.map(|where_to| {
            format!(
                "the configuration of {new} leads this robot elsewhere: {where_to}; if that is meant, publish \
                 it with --moves"
            )
        });
        return Ok(elsewhere.or(anchorless));
    };
    // As it will be called, and not as it was laid out.
    let said = match (laid.parent(), named.parent()) {
        (Some(from), Some(to)) => said.replace(&*from.to_string_lossy(), &to.to_string_lossy()),
        _ => said,
    };
    judged(before, &named, new, said)
}

/// What of a robot's place the new configuration changes, if anything. Both are read in the same way,
/// from the disk: what somebody wrote there and did not load yet is nobody's change but theirs. What of
/// them only another version understands does not count.
fn leads_elsewhere(
    present: &Path,
    new: &Path,
    will_be: impl Fn(&Path) -> PathBuf,
) -> Option<String> {
    let (present, _) = config::salvage(present).ok()?;
    let (new, _) = config::salvage(new).ok()?;
    let anchors = (super::read(&present.root), super::read(&will_be(&new.root)));
    let mut changed: Vec<String> = place(&present)
        .into_iter()
        .zip(place(&new))
        .filter(|((_, old), (_, new))| old != new)
        .map(|((key, old), (_, new))| {
            let (old, new) = (text::shown(old), text::shown(new));
            format!("{key} '{new}' instead of '{old}'")
        })
        .collect();
    if anchors.0.is_some() && anchors.0 != anchors.1 {
        let word = anchors.1.map_or("no", |_| "another");
        changed.push(format!("{word} trust anchor ({})", new.root.display()));
    }
    (!changed.is_empty()).then(|| changed.join(", "))
}

/// Why the agent of a new system could not begin with the trust anchor that it will find, if so, whether or
/// not another one is meant: the system brings one that cannot be used, or takes away the present one. What
/// is the robot's own is no fault of any system.
///
/// # Errors
/// The disk says no.
fn anchorless(present: &Path, new: &Path, layers: &Layers) -> anyhow::Result<Option<String>> {
    let (Ok((present, _)), Ok((new, _))) = (config::salvage(present), config::salvage(new)) else {
        return Ok(None);
    };
    let (root, will_be) = (&new.root, layers.will_be(&new.root));
    if let Err(error) = file::exists(&will_be) {
        return Err(error).with_context(|| format!("cannot look at {}", will_be.display()));
    }
    if will_be != *root {
        let unusable = repository::usable_anchor(&will_be).err();
        return Ok(unusable.map(|why| {
            format!("it brings a trust anchor that no agent could begin with: {why:#}")
        }));
    }
    let stays = layers.stays(root) || repository::usable_anchor(&present.root).is_err();
    Ok((!stays).then(|| {
        format!(
            "the trust anchor {} came with the present system, and the new one has none",
            root.display()
        )
    }))
}

/// What says which releases a robot gets.
fn place(config: &config::Config) -> [(&'static str, String); 3] {
    [
        ("repository", config.repository.as_str().to_owned()),
        ("channel", config.channel.to_string()),
        ("model", config.model.to_string()),
    ]
}

/// What an agent says against a configuration, if that is how it ended.
fn refusal(failed: &Failed) -> Option<String> {
    if failed.how != How::Exit(REFUSED) {
        tracing::warn!(
            "cannot ask the new agent what it thinks of its configuration: {}",
            failed.how
        );
        return None;
    }
    let lines = failed.lines.iter().map(|line| line.trim());
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).take(LINES).collect();
    Some(lines.join("; "))
}

/// Why a Nix daemon with the new system's `nix.conf` would import nothing more for this fleet, if so:
/// it could not read its keys, or none of them signed this very system, although one of the present
/// keys did. `moves`: keys that are all new are meant.
pub(crate) fn unbelieving(
    new: &StorePath,
    current: &StorePath,
    known: &ValidPath,
    moves: bool,
) -> Option<String> {
    let layers = Layers::after(new, current);
    let file = Path::new(ETC).join("nix/nix.conf");
    let present = nix_conf::keys(&file, Path::to_owned)?;
    let keys = nix_conf::keys(&file, |path| layers.will_be(path))?;
    if let (None, Some(key)) = (present.malformed(), keys.malformed()) {
        return Some(format!(
            "the trusted-public-keys of {new} hold '{key}', which is not a key: its Nix daemon would import nothing"
        ));
    }
    let lost =
        !moves && known.ca.is_none() && present.believe(new, known) && !keys.believe(new, known);
    lost.then(|| {
        format!(
            "none of the trusted-public-keys of {new} signed {new} itself: its Nix daemon would import nothing \
             that is signed as this release is; if that is meant, publish it with --moves"
        )
    })
}

/// A refusal, unless this agent refuses what is there now as well.
fn judged(
    before: Result<config::Config, ConfigError>,
    named: &Path,
    new: &StorePath,
    why: String,
) -> anyhow::Result<Option<String>> {
    if let Err(problems) = before.and_then(|_| config::load(named)) {
        bail!(
            "the configuration of this robot is refused by its present agent too; put it right first: {}",
            problems.brief()
        );
    }
    Ok(Some(format!(
        "the agent of {new} refuses the configuration that it would have on this robot: {}",
        text::shown_within(why, WIDTH)
    )))
}

/// The configuration that a unit's arguments name.
fn named(arguments: &[String]) -> PathBuf {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if let Some(file) = argument.strip_prefix("--config=") {
            return file.into();
        }
        if argument == "--config"
            && let Some(file) = arguments.next()
        {
            return file.into();
        }
    }
    config::FILE.into()
}

/// What /etc will consist of.
struct Layers {
    etc: PathBuf,
    /// That of the new system.
    new: PathBuf,
    /// That of the system that runs.
    current: PathBuf,
}

/// The configuration file, and its drop-ins by name.
type Files = (PathBuf, BTreeMap<OsString, PathBuf>);

impl Layers {
    /// What it will be once this system runs in place of that one.
    fn after(new: &StorePath, current: &StorePath) -> Self {
        let etc = |system: &StorePath| Path::new(&system.to_string()).join("etc");
        Self {
            etc: ETC.into(),
            new: etc(new),
            current: etc(current),
        }
    }

    /// The configuration of this name, with its drop-ins, or what is wrong with the new ones: those
    /// of the new system, and what is the robot's own.
    ///
    /// # Errors
    /// The robot's own drop-ins cannot be listed.
    fn of(&self, file: &Path) -> anyhow::Result<Result<Files, String>> {
        let directory = file.with_file_name(config::DROP_INS);
        let mut drop_ins = BTreeMap::new();
        let own = config::drop_ins(&self.etc.join(&directory))
            .map_err(|what| anyhow::anyhow!("{}: {what}", self.etc.join(&directory).display()))?;
        let new = match config::drop_ins(&self.new.join(&directory)) {
            Ok(new) => new,
            Err(What::Unreadable(error)) if file::is_of_the_machine(&error) => {
                return Err(error).with_context(|| self.new.join(&directory).display().to_string());
            }
            Err(what) => return Ok(Err(format!("{}: {what}", directory.display()))),
        };
        let within = |path: &Path| path.file_name().map(|name| directory.join(name));
        let own = own
            .into_iter()
            .filter(|path| within(path).is_some_and(|within| self.is_own(&within)));
        for path in own.chain(new) {
            if let Some(name) = path.file_name() {
                drop_ins.insert(name.to_owned(), path.clone());
            }
        }
        let fresh = self.new.join(file);
        let main = if fresh.exists() {
            fresh
        } else {
            self.etc.join(file)
        };
        Ok(Ok((main, drop_ins)))
    }

    /// What will lie at a place in /etc; elsewhere, what lies there.
    fn will_be(&self, path: &Path) -> PathBuf {
        let fresh = path
            .strip_prefix(&self.etc)
            .map(|within| self.new.join(within));
        fresh
            .ok()
            .filter(|fresh| fresh.exists())
            .unwrap_or_else(|| path.to_owned())
    }

    /// Whether what lies at a place stays there without the present system.
    fn stays(&self, path: &Path) -> bool {
        (path.strip_prefix(&self.etc)).map_or(true, |within| self.is_own(within))
    }

    /// Whether a file in /etc is the robot's own: no system brought it, so none takes it away.
    fn is_own(&self, within: &Path) -> bool {
        let path = self.etc.join(within);
        if fs::read_link(&path).is_ok_and(|target| target.starts_with(self.etc.join(STATIC))) {
            return false;
        }
        // It may be a copy, or lie in a directory that is a link.
        let read = |path: &Path| file::read_start(path, config::MAX_FILE_BYTES).ok();
        let brought = read(&self.current.join(within));
        brought.is_none() || brought != read(&path)
    }
}

/// Whether the disk gives back what a configuration will consist of: what it does not is not the fault of
/// any system.
///
/// # Errors
/// It does not.
fn readable((main, drop_ins): &Files) -> anyhow::Result<()> {
    for path in drop_ins.values().chain([main]) {
        match file::read_start(path, config::MAX_FILE_BYTES) {
            Err(ReadError::Io(error)) if file::is_of_the_machine(&error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Lays files out as they will lie: links in a directory of their own, made anew.
fn lay((main, drop_ins): &Files, room: &Path) -> io::Result<PathBuf> {
    match fs::remove_dir_all(room) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let directory = room.join(config::DROP_INS);
    fs::create_dir_all(&directory)?;
    for (name, path) in drop_ins {
        symlink(path, directory.join(name))?;
    }
    let laid = room.join("config.toml");
    symlink(main, &laid)?;
    Ok(laid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_says_where_its_configuration_lies() {
        let of = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            named(&words)
        };
        assert_eq!(of(&[]), Path::new("/etc/surefoot/config.toml"));
        assert_eq!(of(&["--config"]), Path::new(config::FILE));
        assert_eq!(of(&["-v", "--config", "/x/y"]), Path::new("/x/y"));
        assert_eq!(of(&["--config=/x/z"]), Path::new("/x/z"));
    }

    #[test]
    fn another_repository_channel_or_model_is_another_place() {
        let dir = tempfile::tempdir().unwrap();
        let (present, new) = (dir.path().join("present.toml"), dir.path().join("new.toml"));
        let minimal = crate::config::tests::MINIMAL;
        fs::write(&present, minimal).unwrap();
        let of = |text: &str| {
            fs::write(&new, text).unwrap();
            leads_elsewhere(&present, &new, Path::to_owned)
        };
        assert_eq!(of(minimal), None);
        assert_eq!(
            of(&format!("{minimal}labels = ['site=x']\nlater = 3\n")),
            None
        );
        let said = of("repository = 'https://b.example/'\nchannel = 'night'\nmodel = 'crane'\n");
        let said = said.unwrap();
        let (anchor, other) = (dir.path().join("root.json"), dir.path().join("other.json"));
        fs::write(&anchor, "{}").unwrap();
        fs::write(&other, "{}").unwrap();
        let root = |path: &Path| format!("{minimal}root = {path:?}\n");
        fs::write(&present, root(&anchor)).unwrap();
        assert_eq!(of(&root(&other)), None);
        fs::write(&other, "{ }").unwrap();
        assert!(of(&root(&other)).unwrap().contains("another trust anchor"));
        fs::remove_file(&other).unwrap();
        assert!(of(&root(&other)).unwrap().contains("no trust anchor"));
        for words in ["b.example", "channel 'night' instead of", "model 'crane'"] {
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn a_trust_anchor_that_no_agent_could_begin_with_is_never_meant() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        let put = |path: &str, text: &str| {
            fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            fs::write(at(path), text).unwrap();
        };
        let layers = Layers {
            etc: at("etc"),
            new: at("new"),
            current: at("current"),
        };
        let (config, root) = (at("config.toml"), at("etc/root.json"));
        let text = format!("{}root = {root:?}\n", crate::config::tests::MINIMAL);
        put("config.toml", &text);
        let said = || anchorless(&config, &config, &layers).unwrap();
        // The robot's own, whatever it is: the new system is not to blame.
        assert_eq!(said(), None);
        put("etc/root.json", "<html>");
        assert_eq!(said(), None);
        // What the new system brings has to be one.
        put("new/root.json", "<html>");
        assert!(said().unwrap().contains("that no agent could begin with"));
        fs::remove_file(at("new/root.json")).unwrap();
        // What came with the present system goes with it, and was good.
        let good = include_str!("../../../../tests/recorded/0.2/repository/metadata/1.root.json");
        put("current/root.json", good);
        fs::remove_file(&root).unwrap();
        symlink(at("current"), at("etc/static")).unwrap();
        symlink(at("etc/static/root.json"), &root).unwrap();
        assert!(said().unwrap().contains("the new one has none"));
        put("new/root.json", good);
        assert_eq!(said(), None);
        // One that could not be used before is nobody's loss.
        fs::remove_file(at("new/root.json")).unwrap();
        put("current/root.json", "<html>");
        assert_eq!(said(), None);
    }

    #[test]
    fn only_a_refusal_counts_as_one() {
        let ended = |how| Failed {
            how,
            lines: ["", " a:1:2: no ", "b", "c", "d", "e", "f"]
                .map(str::to_owned)
                .into(),
        };
        let said = refusal(&ended(How::Exit(1)));
        assert_eq!(said.as_deref(), Some("a:1:2: no; b; c; d; e"));
        // It is an older one and does not know the question, it crashed, it hangs, it does not start.
        for how in [
            How::Exit(2),
            How::Exit(101),
            How::Signal(11),
            How::TooLate(LIMIT),
            How::Other("no such file".to_owned()),
        ] {
            assert_eq!(refusal(&ended(how)), None);
        }
    }

    #[test]
    fn what_the_new_system_has_lies_over_what_is_the_robots_own() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        let put = |path: &str, text: &str| {
            fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            fs::write(at(path), text).unwrap();
        };
        put("etc/surefoot/config.toml", "old");
        put("etc/surefoot/config.d/own.toml", "own");
        put("etc/surefoot/config.d/both.toml", "own");
        put("etc/surefoot/config.d/copied.toml", "old");
        put("etc/surefoot/config.d/edited.toml", "by hand");
        put("etc/surefoot/config.d/.hidden.toml", "");
        put("current/surefoot/config.d/linked.toml", "old");
        put("current/surefoot/config.d/copied.toml", "old");
        put("current/surefoot/config.d/edited.toml", "old");
        put("new/surefoot/config.d/both.toml", "new");
        symlink(at("current"), at("etc/static")).unwrap();
        symlink(
            at("etc/static/surefoot/config.d/linked.toml"),
            at("etc/surefoot/config.d/linked.toml"),
        )
        .unwrap();
        let layers = Layers {
            etc: at("etc"),
            new: at("new"),
            current: at("current"),
        };
        let laid = || {
            let files = layers.of(Path::new("surefoot/config.toml")).unwrap();
            let laid = lay(&files.unwrap(), &at("room")).unwrap();
            let drop_ins = config::drop_ins(&at("room/config.d")).unwrap();
            let read = |path: &PathBuf| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (name, fs::read_to_string(path).unwrap())
            };
            (
                fs::read_to_string(laid).unwrap(),
                drop_ins.iter().map(read).collect::<Vec<_>>(),
            )
        };
        let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let drop_ins = vec![
            pair("both.toml", "new"),
            pair("edited.toml", "by hand"),
            pair("own.toml", "own"),
        ];
        assert_eq!(laid(), ("old".to_owned(), drop_ins.clone()));
        // What an earlier look left does not count.
        put("room/config.d/left.toml", "left");
        put("new/surefoot/config.toml", "new");
        assert_eq!(laid(), ("new".to_owned(), drop_ins));

        for number in 0..300 {
            put(&format!("new/surefoot/config.d/{number}.toml"), "");
        }
        let refused = layers.of(Path::new("surefoot/config.toml")).unwrap();
        assert!(refused.unwrap_err().contains("more than 256 files"));
    }

    #[test]
    fn a_disk_that_does_not_read_a_configuration_is_held_against_no_release() {
        let dir = tempfile::tempdir().unwrap();
        // A regular file whose first byte nobody can read: EIO (proc(5)).
        let bad = PathBuf::from("/proc/self/mem");
        let good = dir.path().join("config.toml");
        fs::write(&good, "").unwrap();
        let with = |path: &Path| BTreeMap::from([("a.toml".into(), path.to_owned())]);
        readable(&(good.clone(), with(&good))).unwrap();
        readable(&(good.clone(), with(&bad))).unwrap_err();
        // What is missing is for the agent to judge.
        readable(&(dir.path().join("none"), with(&good))).unwrap();
    }
}
