//! The log: what the machine says has happened, in words.

use serde::Serialize;
use surefoot_core::{
    events::{Kind, Occurrence},
    gate,
    health::Check,
    journal::What,
};

/// The target of outcomes: they go to journald under the names of their fields as they are.
pub(crate) const OUTCOME: &str = "surefootd::outcome";

/// The `MESSAGE_ID` of the outcome of a trial. Programs search for it: it stays.
const TRIAL_ENDED: &str = "d07014035c42418da41c2502ca5309b7";

/// Writes one occurrence down, where the log is the place for it: milestones, holds and leases stand
/// in the history and in the status.
pub(crate) fn write(occurrence: &Occurrence) {
    match &occurrence.kind {
        Kind::StateChanged { from, to, release } => {
            let release = release.as_ref().map(|release| release.as_str());
            tracing::info!(from, to, release, "{from} -> {to}");
        }
        Kind::TrialEnded {
            system,
            release,
            outcome,
            evidence,
        } => {
            let named = release
                .as_ref()
                .map_or_else(|| system.to_string(), ToString::to_string);
            let mut message = match outcome {
                What::Confirmed => format!("the trial of {named} ended: it is confirmed"),
                What::Reverted => format!("the trial of {named} ended: the robot went back"),
                _ => format!("the trial of {named} ended without a verdict"),
            };
            if let Some(evidence) = evidence {
                message = format!("{message}: {}", evidence.message);
            }
            let mut failed = evidence.iter().flat_map(|evidence| &evidence.failures);
            tracing::info!(
                target: OUTCOME,
                message_id = TRIAL_ENDED,
                release = release.as_ref().map(|release| release.as_str()),
                %system,
                outcome = word(outcome),
                cause = evidence.as_ref().and_then(|evidence| word(&evidence.cause)),
                unit = failed.find_map(|failure| match &failure.check {
                    Check::Unit(name) => Some(name.as_str()),
                    _ => None,
                }),
                "{message}"
            );
        }
        Kind::Checked { release } => {
            let release = release.as_ref().map(ToString::to_string);
            tracing::debug!(release, "checked");
        }
        Kind::CheckFailed { why } => tracing::warn!("check failed: {why}"),
        Kind::GatesClosed { stage, closed } => {
            tracing::debug!(%stage, "waiting: {}", gate::summary(closed));
        }
        Kind::FetchFailed { why } => tracing::warn!("fetch failed: {why}"),
        Kind::PreparationFailed { why } => tracing::error!("{why}"),
        Kind::SwitchEnded { unit, outcome } => {
            tracing::info!(unit, %outcome, "switch ended: {outcome}");
        }
        Kind::Kept { system, by } => tracing::info!(%system, by, "kept"),
        Kind::KeepEnded { system, by } => tracing::info!(%system, by, "not kept any more"),
        Kind::LeaseOrphaned { name, loss, .. } => {
            tracing::warn!(
                lease = name.as_str(),
                "lease {name}: {loss}; the robot stays busy"
            );
        }
        Kind::Unhealthy { report } => tracing::warn!("unhealthy: {}", report.summary()),
        Kind::Milestone(_)
        | Kind::Blocked { .. }
        | Kind::Drifted { .. }
        | Kind::Held { .. }
        | Kind::HoldEnded { .. }
        | Kind::Leased { .. }
        | Kind::LeaseEnded { .. } => {}
    }
}

/// The word that the journal and the control socket have for this.
pub(crate) fn word(value: &impl Serialize) -> Option<String> {
    let value = serde_json::to_value(value).ok()?;
    value.as_str().map(str::to_owned)
}
