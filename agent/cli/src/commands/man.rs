//! `surefoot man`: manual pages, for packages.

use anyhow::Context as _;
use std::path::{Path, PathBuf};

/// Write the man pages into a directory.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// The directory; made if it is not there.
    dir: PathBuf,
}

/// Runs it, for a command line that is described by `root`.
pub(super) fn run(args: &ManArgs, mut root: clap::Command) -> anyhow::Result<()> {
    let dir = &args.dir;
    std::fs::create_dir_all(dir).with_context(|| format!("{}", dir.display()))?;
    root.build();
    pages(&root, dir)
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
