//! `surefoot completions`: what shells complete, names of releases, channels and models among it.

use crate::{desk::manifests_in, output::print};
use anyhow::Context as _;
use clap_complete::{
    CompleteEnv, Shell,
    engine::{ArgValueCompleter, CompletionCandidate},
    env::Shells,
};
use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
};
use surefoot_api::{Client, SOCKET, StatusInfo, method};
use surefoot_core::release::{Listed, Manifest};

/// The variable by which a shell's script asks this program.
const ASKED: &str = "SUREFOOT_COMPLETE";

/// Print the completions for a shell.
///
/// For bash: surefoot completions bash > /etc/bash_completion.d/surefoot
///
/// What it prints asks this program with each use, so that it also knows the releases, channels and models
/// of the repository that --repo names, and on a robot what the agent lists.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  For bash:
      surefoot completions bash")]
pub(crate) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Runs it, for a command line that is described by `root`.
pub(super) fn run(args: &CompletionsArgs, root: &clap::Command) -> anyhow::Result<()> {
    let shell = args.shell.to_string();
    let shells = Shells::builtins();
    let completer = shells.completer(&shell).context("no such shell")?;
    let mut text = Vec::new();
    let name = root.get_name();
    completer.write_registration(ASKED, name, name, name, &mut text)?;
    print(&String::from_utf8_lossy(&text))
}

/// Answers a shell that asks, and ends the program then.
pub(crate) fn answer(root: fn() -> clap::Command) {
    CompleteEnv::with_factory(|| with_names(root()))
        .var(ASKED)
        .complete();
}

/// The commands, with what completes the names of releases, channels, models and systems.
fn with_names(command: clap::Command) -> clap::Command {
    let name = command.get_name().to_owned();
    let command = command.mut_args(|arg| match names(&name, arg.get_id().as_str()) {
        Some(names) => arg.add(ArgValueCompleter::new(move |typed: &OsStr| {
            let typed = typed.to_string_lossy();
            let fitting = names()
                .into_iter()
                .filter(|name| is_plain(name) && name.starts_with(&*typed));
            fitting.map(CompletionCandidate::new).collect::<Vec<_>>()
        })),
        None => arg,
    });
    command.mut_subcommands(with_names)
}

/// Whether a shell takes a word as it is. Names come from repositories that nobody has checked here, and a
/// shell's script does not quote them: `3;reboot` would be two commands.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+/-".contains(c);
    name.chars().all(plain) && !name.starts_with('-')
}

/// What can stand for an argument of a command.
fn names(command: &str, arg: &str) -> Option<fn() -> BTreeSet<String>> {
    Some(match (command, arg) {
        ("unblock", "what") => blocked,
        ("rollback", "to") => kept,
        (_, "channel") | ("promote", "from" | "to") => channels,
        (_, "model") => models,
        ("show" | "rollout" | "recall" | "promote", "release")
        | ("recall", "to")
        | ("diff", "old" | "new")
        | ("publish", "come_from" | "replace_index") => releases,
        _ => return None,
    })
}

/// The value of an option of the command line that is being typed.
fn typed(option: &str) -> Option<String> {
    let words: Vec<String> = env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let with_value = format!("{option}=");
    words.iter().enumerate().find_map(|(at, word)| {
        // bash parts --repo=DIR into three words.
        let next = || words[at + 1..].iter().find(|word| *word != "=").cloned();
        let same = word.strip_prefix(&with_value).map(ToOwned::to_owned);
        same.or_else(|| (word == option).then(next).flatten())
    })
}

/// The manifests of the repository that was named; none where it cannot be read: a shell that completes says
/// nothing of errors.
fn manifests() -> Vec<Manifest> {
    let repository = typed("--repo").map(PathBuf::from);
    repository.map(|dir| manifests_in(&dir)).unwrap_or_default()
}

fn channels() -> BTreeSet<String> {
    let manifests = manifests().into_iter();
    manifests.map(|it| it.channel.to_string()).collect()
}

fn releases() -> BTreeSet<String> {
    let channel = typed("--channel");
    let all = manifests().into_iter();
    let all = all.filter(|it| {
        channel
            .as_ref()
            .is_none_or(|one| one == it.channel.as_str())
    });
    let all = all.flat_map(|it| it.releases);
    all.map(|one| one.id().to_owned()).collect()
}

fn models() -> BTreeSet<String> {
    let all = manifests().into_iter().flat_map(|it| it.releases);
    let systems = all.flat_map(|one| match one {
        Listed::Known(release) => release.systems.into_keys().collect(),
        Listed::Other(_) => Vec::new(),
    });
    systems.map(|model| model.to_string()).collect()
}

/// What the agent says of its robot.
fn status() -> Option<StatusInfo> {
    let socket = typed("--socket").unwrap_or_else(|| SOCKET.to_owned());
    let mut client = Client::connect(Path::new(&socket)).ok()?;
    Some(client.call(&method::Status {}).ok()?.status)
}

fn blocked() -> BTreeSet<String> {
    let blocked = status()
        .map(|it| it.blocked)
        .unwrap_or_default()
        .into_iter();
    blocked.map(|it| it.release.to_string()).collect()
}

fn kept() -> BTreeSet<String> {
    let kept = status()
        .map(|it| it.fallbacks)
        .unwrap_or_default()
        .into_iter();
    kept.map(|it| match it.release {
        Some(release) => release.to_string(),
        None => it.system.to_string(),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_offered_that_a_shell_would_read_otherwise() {
        for name in ["2026.11", "stable", "/nix/store/x-y+1.2_3"] {
            assert!(is_plain(name), "{name}");
        }
        for name in [
            "3;reboot",
            "$(reboot)",
            "--force",
            "a b",
            "a\nb",
            "\u{1b}[2J",
            "*",
            "~root",
            "ä",
        ] {
            assert!(!is_plain(name), "{name:?}");
        }
    }
}
