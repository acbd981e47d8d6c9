//! `surefoot report`: evidence to take home.

use crate::{
    agent::socket::SocketArgs,
    output::{Output, Style, notice, sanitize},
    report::{self, Part},
};
use anyhow::Context as _;
use serde_json::json;
use std::path::{Path, PathBuf};
use surefoot_base::units::short_bytes;

/// Write one archive with what support needs to know of this robot, for root.
///
/// In it are: the status, the history, the systems, what `surefoot doctor` finds, the configuration, what
/// the agent remembers, what agent, switches and checks logged within seven days, the entries of the
/// boot loader, the generations, room, versions and the state of units. Secrets are taken out: what the
/// files with secrets hold that the configuration names, logins in URLs, what looks like a key or stands
/// behind a name such as "password", and the arguments of commands. Names of users who did something
/// stay. It takes two minutes at most, and says what is missing.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  What would be in it:
      sudo surefoot report --show
  Write it to a stick:
      sudo surefoot report --output /media/stick/report.tar.zst")]
pub(crate) struct ReportArgs {
    /// Where it is written. [default: surefoot-report-TIME.tar.zst, here]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// List what would be in it, and write nothing.
    #[arg(long, conflicts_with = "output")]
    show: bool,
    #[command(flatten)]
    socket: SocketArgs,
}

/// Runs it.
pub(super) fn run(args: &ReportArgs, output: Output) -> anyhow::Result<()> {
    anyhow::ensure!(
        nix::unistd::geteuid().is_root(),
        "only root can read all that belongs into a report: sudo surefoot report"
    );
    let parts = report::collect(Path::new("/"), &args.socket, |what| {
        if !output.is_json() {
            notice(&format!("collecting {what}"));
        }
    });
    let missing = report::missing(&parts);
    if args.show {
        return output.result(&object(&parts, None), |style| describe(&parts, style));
    }
    let name = jiff::Timestamp::now().strftime("surefoot-report-%Y%m%d-%H%M%S");
    let name = name.to_string();
    let path = (args.output.clone()).unwrap_or_else(|| format!("{name}.tar.zst").into());
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let cannot = || format!("cannot write {}", path.display());
    // It is there whole or not at all, and root's.
    let file = tempfile::NamedTempFile::new_in(directory).with_context(cannot)?;
    report::write(&parts, &name, file.as_file()).with_context(cannot)?;
    let file = file.persist(&path).with_context(cannot)?;
    let size = file.metadata().with_context(cannot)?.len();
    for missing in &missing {
        notice(&format!("missing: {missing}"));
    }
    output.result(&object(&parts, Some(&path)), |style| {
        let text = format!("{} written, {}", path.display(), short_bytes(size));
        style.good(&sanitize(&text))
    })
}

fn object(parts: &[Part], path: Option<&Path>) -> serde_json::Value {
    let files: Vec<_> = (parts.iter())
        .filter_map(|part| {
            let content = part.content.as_ref().ok()?;
            Some(json!({ "name": part.name, "what": part.what, "bytes": content.len() }))
        })
        .collect();
    json!({ "file": path, "files": files, "missing": report::missing(parts) })
}

fn describe(parts: &[Part], style: Style) -> String {
    let line = |part: &Part| match &part.content {
        Ok(content) => {
            format!(
                "{:<20} {:>9}  {}",
                part.name,
                short_bytes(content.len() as u64),
                part.what
            )
        }
        Err(why) => style.bad(&format!(
            "{:<20}   missing  {}: {}",
            part.name,
            part.what,
            sanitize(why)
        )),
    };
    let lines: Vec<String> = parts.iter().map(line).collect();
    lines.join("\n")
}
