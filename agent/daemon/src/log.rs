//! The log: what the machine says has happened, in words.

use surefoot_core::{
    events::{Kind, Occurrence},
    gate,
};

/// Writes one occurrence down, where the log is the place for it: milestones, holds and leases stand
/// in the history and in the status.
pub(crate) fn write(occurrence: &Occurrence) {
    match &occurrence.kind {
        Kind::StateChanged { from, to, release } => {
            let release = release.as_ref().map(|release| release.as_str());
            tracing::info!(from, to, release, "{from} -> {to}");
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
        Kind::LeaseOrphaned { name, loss } => {
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
