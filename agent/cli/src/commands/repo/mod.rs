//! `surefoot repo …`: making and keeping a signed repository.

mod delegate;
mod draft;
mod finish;
mod init;
mod keys;
mod new_keys;
mod prune;
mod push;
mod refresh;
mod review;
mod revoke;
mod rotate;
mod sign;
mod values;
mod verify;

use crate::output::Output;
use clap::Subcommand;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum RepoCommand {
    /// Make a new repository and the keys that sign it.
    Init(init::InitArgs),
    /// Sign again what is valid for a short time, so that robots know that no news is held back.
    ///
    /// Run it from a timer, several times in the lifetime of timestamp.json.
    Refresh(refresh::RefreshArgs),
    /// Look at the whole repository as a robot would, and at every file it offers.
    Verify(verify::VerifyArgs),
    /// Take away metadata that was replaced long ago, and files that only such metadata lists.
    ///
    /// Every root stays, and what is in force: a robot that was off for years needs no more. Needs
    /// no keys.
    Prune(prune::PruneArgs),
    /// Write a repository to where robots are served from, so that they never see half of a release.
    ///
    /// Targets go first, the timestamp last. What is there is skipped; what this copy lacks is said before anything
    /// is written.
    Push(push::PushArgs),
    /// List who may sign what.
    Keys(keys::KeysArgs),
    /// Replace, add or take away keys, or change how many must sign.
    Rotate(rotate::RotateArgs),
    /// Sign a draft, of a root or of releases, where its keys are, away from the repository.
    Sign(sign::SignArgs),
    /// Put a draft of releases into force that has all its signatures.
    Finish(finish::FinishArgs),
    /// Put a channel into the hands of others, with keys of their own.
    Delegate(delegate::DelegateArgs),
    /// Take a channel back from those whom `delegate` gave it to.
    Revoke(revoke::RevokeArgs),
}

/// Runs one.
///
/// # Errors
/// It did not end well.
pub(crate) fn run(command: RepoCommand, output: Output) -> anyhow::Result<()> {
    match command {
        RepoCommand::Init(args) => init::run(&args, output),
        RepoCommand::Refresh(args) => refresh::run(&args, output),
        RepoCommand::Verify(args) => verify::run(&args, output),
        RepoCommand::Prune(args) => prune::run(&args, output),
        RepoCommand::Push(args) => push::run(&args, output),
        RepoCommand::Keys(args) => keys::run(&args, output),
        RepoCommand::Rotate(args) => rotate::run(&args, output),
        RepoCommand::Sign(args) => sign::run(&args, output),
        RepoCommand::Finish(args) => finish::run(&args, output),
        RepoCommand::Delegate(args) => delegate::run(&args, output),
        RepoCommand::Revoke(args) => revoke::run(&args, output),
    }
}
