//! `surefoot doctor`: what was found, for people and for programs.

use crate::{
    agent::{socket::SocketArgs, standalone},
    errors::AlreadyPrinted,
    output::{Output, Style, sanitize},
};
use serde_json::json;
use surefoot_api::{
    CallError,
    finding::{Finding, Level, worst},
    method,
};

/// Look the robot over: would it come back from a bad system, can it be updated?
///
/// Nothing is changed. Exit status 1 if something does not work; warnings do not count. If no
/// agent answers, root can still have the robot looked over; what only the agent knows is
/// missing then.
#[derive(Debug, clap::Args)]
#[command(after_long_help = r"Examples:
  Would it come back from a bad system?:
      surefoot doctor
  Read all that is kept in the store as well:
      sudo surefoot doctor --deep")]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// Read every path of the confirmed system and of those to fall back to, as well; takes root
    #[arg(long)]
    deep: bool,
}

/// Has the robot looked over and says what was found.
///
/// # Errors
/// [`AlreadyPrinted`] if something does not work; else why nobody could look.
pub(super) fn run(args: &DoctorArgs, output: Output) -> anyhow::Result<()> {
    let mut findings = match args.socket.call(&method::Doctor {}) {
        Ok(reply) => reply.findings,
        Err(silence @ (CallError::NotThere { .. } | CallError::Gone { .. })) => {
            standalone::doctor(silence)?
        }
        Err(error) => return Err(error.into()),
    };
    if args.deep {
        findings.extend(standalone::deep_doctor()?);
    }
    let worst = worst(&findings);
    output.result(&json!({ "worst": worst, "findings": findings }), |style| {
        describe(&findings, style)
    })?;
    match worst {
        Level::Fail => Err(AlreadyPrinted.into()),
        Level::Ok | Level::Warn => Ok(()),
    }
}

/// The findings, one subject after the other, and their number.
fn describe(findings: &[Finding], style: Style) -> String {
    let mut findings: Vec<&Finding> = findings.iter().collect();
    findings.sort_by(|a, b| a.subject.cmp(&b.subject));
    let mut lines = Vec::new();
    let mut last = None;
    for finding in &findings {
        if last != Some(&finding.subject) {
            lines.push(style.strong(&sanitize(&finding.subject.to_string())));
            last = Some(&finding.subject);
        }
        let level = match finding.severity() {
            Level::Ok => style.good("ok  "),
            Level::Warn => style.busy("warn"),
            Level::Fail => style.bad("FAIL"),
        };
        let (what, found) = (sanitize(&finding.what), sanitize(&finding.found));
        lines.push(format!("  {level}  {what}: {found}"));
        if let Some(advice) = &finding.advice {
            let advice = style.faint(&format!("> {}", sanitize(advice)));
            lines.push(format!("        {advice}"));
        }
    }
    let count = |level| findings.iter().filter(|f| f.severity() == level).count();
    lines.push(format!(
        "{} ok, {} warnings, {} failures",
        count(Level::Ok),
        count(Level::Warn),
        count(Level::Fail)
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_api::finding::Subject;

    #[test]
    fn findings_are_grouped_and_safe_to_show() {
        let findings = [
            Finding::ok(Subject::Loader, "boot partition", "/boot can be written"),
            Finding::warn(Subject::Watchdog, "device", "there is none", "get one"),
            Finding::fail(
                Subject::Loader,
                "default",
                "it starts \u{1b}[31mx",
                "put it back",
            ),
        ];
        insta::assert_snapshot!("doctor", describe(&findings, Style::PLAIN));
    }
}
