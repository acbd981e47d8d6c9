//! What the command line offers to shells and packages: completions and man pages.

use crate::output::print;
use anyhow::Context;
use clap_complete::Shell;
use std::path::{Path, PathBuf};

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Print the completions for a shell.
    ///
    /// For bash: surefoot completions bash > /etc/bash_completion.d/surefoot
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write the man pages into a directory.
    #[command(hide = true)]
    Man {
        /// The directory; made if it is not there.
        dir: PathBuf,
    },
}

/// Runs one, for a command line that is described by `root`.
pub(crate) fn run(command: Command, mut root: clap::Command) -> anyhow::Result<()> {
    match command {
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut root, "surefoot", &mut text);
            print(&String::from_utf8_lossy(&text))
        }
        Command::Man { dir } => {
            std::fs::create_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
            root.build();
            pages(&root, &dir)
        }
    }
}

/// One page for a command and for each in it: `surefoot-repo-init.1`.
fn pages(command: &clap::Command, dir: &Path) -> anyhow::Result<()> {
    let name = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned();
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut text)?;
    let path = dir.join(format!("{name}.1"));
    std::fs::write(&path, text).with_context(|| format!("{}", path.display()))?;
    command
        .get_subcommands()
        .filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
        .try_for_each(|inner| pages(inner, dir))
}
