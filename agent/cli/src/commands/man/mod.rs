//! `surefoot man`: manual pages, for packages.
//!
//! What stands on a page comes from the command's own help, so that the two cannot disagree; what all pages
//! share stands here.

use anyhow::Context as _;
use clap_mangen::{
    Man,
    roff::{Inline, Roff, bold, roman},
};
use std::path::{Path, PathBuf};

/// Write the man pages into a directory.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// The directory; made if it is not there.
    dir: PathBuf,
}

/// What stands above the examples in a command's help.
const EXAMPLES: &str = "Examples:";

/// Exit statuses, the same for all commands ([`crate::errors`]).
const EXITS: [(&str, &str); 4] = [
    ("0", "It was done."),
    (
        "1",
        "It failed, and standard error says why; or no agent answers.",
    ),
    ("2", "The command line was wrong."),
    (
        "3",
        "It was refused: by a hold, a gate or a policy, because there is nothing to do, or because the \
         caller may not do it.",
    ),
];

const ENVIRONMENT: [(&str, &str); 4] = [
    (
        "NO_COLOR",
        "If it is set and not empty, nothing is printed in colours.",
    ),
    (
        "SUREFOOT_PASSPHRASE_FILE",
        "A file whose first line is the passphrase of encrypted keys.",
    ),
    (
        "NIX_DAEMON_SOCKET_PATH",
        "Where the Nix daemon listens, if not at /nix/var/nix/daemon-socket/socket.",
    ),
    (
        "http_proxy, https_proxy, all_proxy, no_proxy",
        "The proxies by which web servers are reached, and what is reached without one.",
    ),
];

const FILES: [(&str, &str); 3] = [
    (
        "/run/surefoot/control.socket",
        "The agent's control socket.",
    ),
    (
        "/etc/surefoot/config.toml",
        "The robot's configuration: surefoot-config(5).",
    ),
    ("/etc/surefoot/root.json", "The robot's trust anchor."),
];

/// Pages that each page points to, beside those of its own commands.
const ALSO: [&str; 4] = [
    "surefoot(1)",
    "surefoot-config(5)",
    "surefoot-repository(7)",
    "surefootd(8)",
];

/// Runs it, for a command line that is described by `root`.
pub(super) fn run(args: &ManArgs, mut root: clap::Command) -> anyhow::Result<()> {
    let dir = &args.dir;
    std::fs::create_dir_all(dir).with_context(|| format!("{}", dir.display()))?;
    root.build();
    pages(&root, dir)
}

/// One page for a command and for each in it: `surefoot-repo-init.1`.
fn pages(command: &clap::Command, dir: &Path) -> anyhow::Result<()> {
    let path = dir.join(format!("{}.1", name(command)));
    std::fs::write(&path, page(command)?).with_context(|| format!("{}", path.display()))?;
    inner(command).try_for_each(|inner| pages(inner, dir))
}

fn name(command: &clap::Command) -> &str {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
}

fn inner(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
}

fn page(command: &clap::Command) -> std::io::Result<Vec<u8>> {
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    synopsis(command).to_writer(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if inner(command).next().is_some() {
        man.render_subcommands_section(&mut text)?;
    }
    let mut roff = Roff::new();
    examples(command, &mut roff);
    list("EXIT STATUS", &EXITS, &mut roff);
    list("ENVIRONMENT", &ENVIRONMENT, &mut roff);
    list("FILES", &FILES, &mut roff);
    see_also(command, &mut roff);
    roff.to_writer(&mut text)?;
    Ok(text)
}

/// As the help says it, which shows what has to be given.
fn synopsis(command: &clap::Command) -> Roff {
    let usage = command.clone().render_usage().to_string();
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([roman(usage.trim_start_matches("Usage: "))]);
    roff
}

/// As they stand in the help: what for, and below it what is typed.
fn examples(command: &clap::Command, roff: &mut Roff) {
    let help = command.get_after_long_help().map(ToString::to_string);
    let Some(help) = help.as_deref().and_then(|help| help.strip_prefix(EXAMPLES)) else {
        return;
    };
    roff.control("SH", ["EXAMPLES"]);
    for line in help.lines().filter(|line| !line.is_empty()) {
        if line.starts_with("      ") {
            roff.control("nf", []);
            roff.control("RS", []);
            roff.text([bold(line.trim_start())]);
            roff.control("RE", []);
            roff.control("fi", []);
        } else {
            roff.control("PP", []);
            roff.text([roman(line.trim_start())]);
        }
    }
}

fn list(title: &str, entries: &[(&str, &str)], roff: &mut Roff) {
    roff.control("SH", [title]);
    for (term, text) in entries {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*text)]);
    }
}

fn see_also(command: &clap::Command, roff: &mut Roff) {
    let own = format!("{}(1)", name(command));
    let below = inner(command).map(|inner| format!("{}(1)", name(inner)));
    let mut pages: Vec<String> = below
        .chain(ALSO.map(str::to_owned))
        .filter(|page| *page != own)
        .collect();
    pages.dedup();
    roff.control("SH", ["SEE ALSO"]);
    let last = pages.len() - 1;
    let inlines: Vec<Inline> = pages
        .iter()
        .enumerate()
        .flat_map(|(at, page)| {
            let (name, section) = page.split_at(page.len() - 3);
            let comma = if at == last { "" } else { ", " };
            [bold(name), roman(format!("{section}{comma}"))]
        })
        .collect();
    roff.text(inlines);
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser as _};

    fn each(command: &clap::Command, look: &mut impl FnMut(&clap::Command)) {
        look(command);
        inner(command).for_each(|inner| each(inner, look));
    }

    #[test]
    fn every_example_is_a_command_line_that_is_understood() {
        let mut root = crate::Cli::command();
        root.build();
        each(&root, &mut |command| {
            if command.has_subcommands() {
                return;
            }
            let help = command
                .get_after_long_help()
                .unwrap_or_default()
                .to_string();
            let lines: Vec<&str> = help
                .lines()
                .filter_map(|line| line.strip_prefix("      "))
                .collect();
            assert!(!lines.is_empty(), "{} has no example", name(command));
            for line in lines {
                let words = shlex::split(line).unwrap();
                let words = words.iter().skip_while(|word| *word == "sudo");
                if let Err(error) = crate::Cli::try_parse_from(words) {
                    panic!("{line}: {error}");
                }
                let own = name(command).replace('-', " ");
                assert!(line.contains(&own), "{line} stands with {own}");
            }
        });
    }

    #[test]
    fn every_page_says_what_it_is_how_it_ends_and_what_is_there_beside_it() {
        let mut root = crate::Cli::command();
        root.build();
        each(&root, &mut |command| {
            let page = String::from_utf8(page(command).unwrap()).unwrap();
            for section in [
                "NAME",
                "SYNOPSIS",
                "DESCRIPTION",
                "\"EXIT STATUS\"",
                "FILES",
                "\"SEE ALSO\"",
            ] {
                assert!(
                    page.contains(&format!(".SH {section}")),
                    "{section}: {page}"
                );
            }
            // A page's own line of names is what `man -k` finds.
            assert!(command.get_about().is_some(), "{}", name(command));
        });
    }
}
