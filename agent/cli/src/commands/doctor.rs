//! `surefoot doctor`: what was found, for people and for programs.

use crate::{
    errors::Told,
    output::{Style, clean, print, print_json},
    standalone,
};
use serde_json::json;
use std::{fmt::Write, path::Path};
use surefoot_api::{
    CallError, Client,
    finding::{Finding, Level, Subject, worst},
    method::Doctor,
};

/// Has the robot looked over and says what was found.
///
/// # Errors
/// [`Told`] if something does not work; else why nobody could look.
pub(super) fn run(socket: &Path, json: bool) -> anyhow::Result<()> {
    let asked = Client::connect(socket).and_then(|mut agent| agent.call(&Doctor {}));
    let findings = match asked {
        Ok(reply) => reply.findings,
        Err(silence @ (CallError::NotThere { .. } | CallError::Gone { .. })) => {
            standalone::doctor(silence)?
        }
        Err(error) => return Err(error.into()),
    };
    if json {
        print_json(&json!({ "worst": worst(&findings), "findings": findings }))?;
    } else {
        print(&show(&findings, Style::detect()))?;
    }
    match worst(&findings) {
        Level::Fail => Err(Told.into()),
        Level::Ok | Level::Warn => Ok(()),
    }
}

/// The findings, one subject after the other, and their number.
pub(super) fn show(findings: &[Finding], style: Style) -> String {
    let mut findings: Vec<&Finding> = findings.iter().collect();
    findings.sort_by_key(|finding| finding.subject);
    let mut text = String::new();
    let mut last: Option<Subject> = None;
    for finding in &findings {
        if last != Some(finding.subject) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}", style.strong(&finding.subject.to_string()));
            last = Some(finding.subject);
        }
        let level = match finding.level {
            Level::Ok => style.good("ok  "),
            Level::Warn => style.busy("warn"),
            Level::Fail => style.bad("FAIL"),
        };
        let (what, found) = (clean(&finding.what), clean(&finding.found));
        let _ = writeln!(text, "  {level}  {what}: {found}");
        if let Some(advice) = &finding.advice {
            let _ = writeln!(
                text,
                "        {}",
                style.faint(&format!("> {}", clean(advice)))
            );
        }
    }
    let count = |level| findings.iter().filter(|f| f.level == level).count();
    let _ = writeln!(
        text,
        "{} ok, {} warnings, {} failures",
        count(Level::Ok),
        count(Level::Warn),
        count(Level::Fail)
    );
    text
}
