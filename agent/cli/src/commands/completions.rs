//! `surefoot completions`: what shells complete.

use crate::output::print;
use clap_complete::Shell;

/// Print the completions for a shell.
///
/// For bash: surefoot completions bash > /etc/bash_completion.d/surefoot
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// Runs it, for a command line that is described by `root`.
pub(super) fn run(args: &CompletionsArgs, mut root: clap::Command) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut root, "surefoot", &mut text);
    print(&String::from_utf8_lossy(&text))
}
