//! The commands, each in a file of its own: its help, its arguments, and what it does.

mod completions;
mod delta;
mod diff;
mod doctor;
mod fetch;
mod history;
mod hold;
mod keep;
mod lease;
mod man;
mod promote;
mod publish;
mod recall;
mod releases;
mod repo;
mod report;
mod resume;
mod retire;
mod rollback;
mod rollout;
mod show;
mod status;
mod systems;
mod unblock;
mod update;
mod watch;

use crate::output::Output;

pub(crate) use completions::answer as answer_shell;

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Status(status::StatusArgs),
    Watch(watch::WatchArgs),
    Systems(systems::SystemsArgs),
    Update(update::UpdateArgs),
    Rollback(rollback::RollbackArgs),
    Hold(hold::HoldArgs),
    Resume(resume::ResumeArgs),
    Lease(lease::LeaseArgs),
    Keep(keep::KeepArgs),
    Unblock(unblock::UnblockArgs),
    History(history::HistoryArgs),
    Doctor(doctor::DoctorArgs),
    Report(report::ReportArgs),
    Fetch(Box<fetch::FetchArgs>),
    Publish(Box<publish::PublishArgs>),
    Releases(releases::ReleasesArgs),
    Show(show::ShowArgs),
    Diff(diff::DiffArgs),
    Rollout(Box<rollout::RolloutArgs>),
    Recall(Box<recall::RecallArgs>),
    Promote(Box<promote::PromoteArgs>),
    Retire(Box<retire::RetireArgs>),
    /// Make and keep a signed repository: a directory of static files.
    #[command(subcommand)]
    Repo(repo::RepoCommand),
    /// Make and apply deltas between store paths, NARs and files.
    #[command(subcommand)]
    Delta(delta::DeltaCommand),
    Completions(completions::CompletionsArgs),
    #[command(hide = true)]
    Man(man::ManArgs),
}

/// Runs one; `root` describes the whole command line.
///
/// # Errors
/// It did not end well; [`crate::errors`] knows the exit code.
pub(crate) fn run(
    command: Command,
    root: impl FnOnce() -> clap::Command,
    output: Output,
) -> anyhow::Result<()> {
    match command {
        Command::Status(args) => status::run(&args, output),
        Command::Watch(args) => watch::run(&args, output),
        Command::Systems(args) => systems::run(&args, output),
        Command::Update(args) => update::run(&args, output),
        Command::Rollback(args) => rollback::run(args, output),
        Command::Hold(args) => hold::run(args, output),
        Command::Resume(args) => resume::run(&args, output),
        Command::Lease(args) => lease::run(args, output),
        Command::Keep(args) => keep::run(args, output),
        Command::Unblock(args) => unblock::run(args, output),
        Command::History(args) => history::run(&args, output),
        Command::Doctor(args) => doctor::run(&args, output),
        Command::Report(args) => report::run(&args, output),
        Command::Fetch(args) => fetch::run(*args, output),
        Command::Publish(args) => publish::run(*args, output),
        Command::Releases(args) => releases::run(&args, output),
        Command::Show(args) => show::run(&args, output),
        Command::Diff(args) => diff::run(&args, output),
        Command::Rollout(args) => rollout::run(&args, output),
        Command::Recall(args) => recall::run(&args, output),
        Command::Promote(args) => promote::run(&args, output),
        Command::Retire(args) => retire::run(&args, output),
        Command::Repo(command) => repo::run(command, output),
        Command::Delta(command) => delta::run(command, output),
        Command::Completions(args) => completions::run(&args, &root()),
        Command::Man(args) => man::run(&args, root()),
    }
}
