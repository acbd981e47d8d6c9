//! How a command ends: exit 0 done, 1 failed, 2 wrong usage, 3 refused by a gate or policy.

use crate::output::{self, Output};
use serde_json::json;
use std::{
    os::unix::process::ExitStatusExt as _,
    process::{ExitCode, ExitStatus},
};
use surefoot_api::CallError;

/// Refused by a gate or a policy, not by a fault: exit 3.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(pub(crate) String);

/// Wrong usage that the argument parser could not see: exit 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// It did not end well, and everything about that has been printed: exit 1.
#[derive(Debug, thiserror::Error)]
#[error("")]
pub(crate) struct AlreadyPrinted;

/// A command that was run in between ended like this: exit as it did.
#[derive(Debug, thiserror::Error)]
#[error("exit status {0}")]
pub(crate) struct ChildExited(pub(crate) u8);

impl ChildExited {
    /// As a shell says it: 128 and the signal, if one ended it.
    pub(crate) fn of(status: ExitStatus) -> Self {
        let code = status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal));
        Self(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
    }
}

/// Prints the error of a command that did not end well and gives its exit code.
///
/// With `--json`, standard output gets `{"error": …, "exit": N}`; people read standard error.
pub(crate) fn report(result: anyhow::Result<()>, output: Output) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    if let Some(ChildExited(code)) = error.downcast_ref() {
        return ExitCode::from(*code);
    }
    let code = code(&error);
    if !error.is::<AlreadyPrinted>() {
        // Where standard output takes nothing, standard error and the exit code still tell.
        let _ = output.object(&json!({ "error": format!("{error:#}"), "exit": code }));
        output::notice(&format!("{error:#}"));
    }
    ExitCode::from(code)
}

/// What may not be done is refused by policy, whoever says so.
fn code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(CallError::NotAuthorized(_) | CallError::Refused(_)) => 3,
        Some(CallError::Invalid(_)) => 2,
        _ if error.is::<Refused>() => 3,
        _ if error.is::<Usage>() => 2,
        _ => 1,
    }
}
