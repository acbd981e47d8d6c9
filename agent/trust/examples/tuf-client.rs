//! The command line that the public conformance suite for TUF clients speaks
//! (theupdateframework/tuf-conformance, `CLIENT-CLI.md`), over the same library as the daemon's.
//!
//! What is believed lies in `METADATA_DIR/.state`; after each run it is written out as the suite
//! wants to see it, one file a role.

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use jiff::Timestamp;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};
use surefoot_trust::{Client, Config, file_names::quote};

#[derive(Debug, Parser)]
struct Cli {
    #[arg(long)]
    metadata_dir: PathBuf,
    #[arg(long)]
    metadata_url: Option<String>,
    #[arg(long)]
    target_name: Vec<String>,
    #[arg(long)]
    target_base_url: Option<String>,
    #[arg(long)]
    target_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take up a trust anchor.
    Init { trusted_root: PathBuf },
    /// Bring the metadata up to date.
    Refresh,
    /// Bring targets.
    Download,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(&cli)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tuf-client: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> anyhow::Result<()> {
    let anchor = cli.metadata_dir.join(".anchor");
    if let Command::Init { trusted_root } = &cli.command {
        fs::copy(trusted_root, &anchor)?;
        fs::copy(trusted_root, cli.metadata_dir.join("root.json"))?;
        return Ok(());
    }
    let url = cli.metadata_url.as_deref().context("--metadata-url")?;
    let mut config = Config::new(url, fs::read(anchor)?, cli.metadata_dir.join(".state"));
    config.metadata_url = Some(url.to_owned());
    config.targets_url = cli.target_base_url.clone();
    let mut client = Client::new(config)?;
    let result = work(cli, &mut client).await;
    export(&client, &cli.metadata_dir)?;
    result
}

async fn work(cli: &Cli, client: &mut Client) -> anyhow::Result<()> {
    client.refresh(Timestamp::now()).await?;
    if matches!(cli.command, Command::Download) {
        let dir = cli.target_dir.as_deref().context("--target-dir")?;
        if cli.target_name.is_empty() {
            bail!("--target-name");
        }
        for name in &cli.target_name {
            let bytes = client.target(name, 64 << 20).await?;
            let path = dir.join(quote(name));
            if fs::read(&path).ok().as_deref() != Some(&bytes) {
                fs::write(path, bytes)?;
            }
        }
    }
    Ok(())
}

/// Writes out what is believed, and takes away what is not any more.
fn export(client: &Client, dir: &Path) -> anyhow::Result<()> {
    let stored = client.trusted().to_stored();
    let mut files = BTreeMap::from([("root".to_owned(), Some(stored.root))]);
    files.insert("timestamp".into(), stored.timestamp);
    files.insert("snapshot".into(), stored.snapshot);
    files.insert("targets".into(), stored.targets);
    for (role, bytes) in stored.delegated {
        files.insert(quote(&role), Some(bytes));
    }
    for (role, bytes) in files {
        let path = dir.join(format!("{role}.json"));
        match bytes {
            Some(bytes) => fs::write(path, bytes)?,
            None if path.exists() => fs::remove_file(path)?,
            None => {}
        }
    }
    Ok(())
}
