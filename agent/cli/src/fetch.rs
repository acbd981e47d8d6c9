//! `surefoot fetch`.

/// Arguments of `surefoot fetch`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs it.
pub(crate) fn run(_args: Args, _json: bool) -> anyhow::Result<()> {
    anyhow::bail!("not built yet")
}
