//! Looking the robot over: whether it would come back from a bad system, and whether it can be
//! updated at all.

mod agent;
mod disk;
mod panic;
mod store;
mod trust;
mod watchdog;

use crate::{boot, config::Config, fresh::Fresh, inputs::Inputs};

use std::sync::Arc;
use surefoot_api::finding::{Finding, Subject};
use surefoot_core::{StorePath, prune::Prune, release::Name};
use tokio::sync::watch;

/// Looks at everything, changing nothing.
async fn examine(inputs: &Inputs) -> Vec<Finding> {
    let settings = boot::Settings::new(&inputs.config);
    let (loader, watchdog, agent, store) = tokio::join!(
        boot::findings(
            settings,
            None,
            inputs.confirmed.clone(),
            inputs.prune.clone()
        ),
        watchdog::findings(inputs.config.boot.require_watchdog),
        agent::findings(inputs.status.is_some()),
        store::findings(inputs),
    );
    let mut findings = loader.unwrap_or_else(|error| {
        vec![Finding::fail(
            Subject::Loader,
            "boot loader",
            format!("it could not be looked at: {error:#}"),
            "ask again as root",
        )]
    });
    findings.extend(watchdog);
    findings.extend(panic::findings());
    findings.extend(store);
    findings.extend(trust::findings(inputs));
    findings.extend(agent);
    findings.extend(disk::findings(
        &inputs.config.state_dir,
        inputs.config.state_reserve.0,
        (inputs.status.as_ref()).and_then(|status| status.no_reserve.as_deref()),
    ));
    if let Some(why) = &inputs.refused {
        findings.push(Finding::fail(
            Subject::Agent,
            "configuration",
            format!("what is on the disk cannot be used: {why}"),
            "put that right, then `systemctl reload surefootd`; `surefootd --check-config` says everything \
             that is wrong",
        ));
    }
    if let Some(why) = &inputs.lost {
        findings.push(Finding::warn(
            Subject::Agent,
            "memory",
            why,
            "look at the disk; a new release ends this, and so does `surefoot update`",
        ));
    }
    if let Some(unheard) = &inputs.unheard {
        findings.push(Finding::warn(
            Subject::Agent,
            "request",
            unheard,
            "look at `surefoot status` whether it happened; `surefoot update` ends this",
        ));
    }
    if let Some(fault) = inputs
        .status
        .as_ref()
        .and_then(|status| status.fault.as_ref())
    {
        findings.push(Finding::fail(
            Subject::Agent,
            "decisions",
            format!("none are taken: {fault}"),
            "put that right; the agent goes on by itself then. `sudo surefoot rollback` works meanwhile",
        ));
    }
    findings.push(agent::disturbances(
        inputs.disturbed,
        inputs.config.trial.disturbances as usize,
    ));
    let gates = &inputs.config.gates;
    findings.push(agent::gates(gates.know_of_work(), gates.none));
    if let Some(status) = &inputs.status {
        let required: Vec<&Name> = gates.leases.iter().map(|lease| &lease.0.name).collect();
        findings.extend(agent::leases(&required, status));
        findings.extend(status.stalls.iter().map(agent::stall));
        findings.extend(agent::worse(status));
        findings.extend(agent::changed(status));
    }
    findings
}

/// Looks the robot over for whoever asks, one at a time.
#[derive(Debug, Clone)]
pub(crate) struct Doctor(Fresh<Finding>);

impl Doctor {
    /// For a robot of which this is known at any time.
    pub(crate) fn new(inputs: watch::Receiver<Option<Inputs>>) -> Self {
        Self(Fresh::new(inputs))
    }

    /// One that has looked already.
    #[cfg(test)]
    pub(crate) fn having_seen(findings: Vec<Finding>) -> Self {
        Self(Fresh::having_seen(findings))
    }

    /// What there is to find.
    pub(crate) async fn findings(&self) -> Arc<[Finding]> {
        self.0.get(async |inputs| examine(&inputs).await).await
    }
}

/// The same without an agent, as far as that goes: prints it as JSON.
///
/// # Errors
/// The findings cannot be written.
pub(crate) async fn without_agent(
    config: Arc<Config>,
    refused: Option<String>,
) -> anyhow::Result<()> {
    let findings = examine(&Inputs::without_agent(config, refused)).await;
    println!("{}", serde_json::to_string(&findings)?);
    Ok(())
}

/// Reads every path of the systems that are kept, and prints what was found as JSON.
///
/// # Errors
/// The Nix daemon does not answer, or the findings cannot be written.
pub(crate) async fn deep(config: Arc<Config>) -> anyhow::Result<()> {
    let inputs = Inputs::without_agent(config, None);
    let findings = store::deep(&inputs).await?;
    println!("{}", serde_json::to_string(&findings)?);
    Ok(())
}

/// What keeps a system from being tried as the robot stands now.
#[derive(Debug, Default)]
pub(crate) struct Obstacles {
    /// A boot on trial would not work; that is not its fault.
    pub(crate) boot: Option<String>,
    /// What it has put on the boot partition has no room, however it is tried.
    pub(crate) room: Option<String>,
}

/// What keeps this system from being tried here. `prune` says what may go for it.
pub(crate) async fn obstacles(
    config: &Config,
    system: &StorePath,
    previous: &StorePath,
    prune: Prune,
) -> Obstacles {
    let settings = boot::Settings::new(config);
    // What can be put right is, before it is an obstacle.
    boot::try_secure(&settings, false).await;
    let look = boot::findings(
        settings,
        Some(system.clone()),
        Some(previous.clone()),
        prune,
    );
    let mut findings = match look.await {
        Ok(findings) => findings,
        Err(error) => {
            return Obstacles {
                boot: Some(format!("{error:#}")),
                room: None,
            };
        }
    };
    if config.boot.require_watchdog {
        findings.extend(watchdog::findings(true).await);
    }
    let obstacle = surefoot_api::finding::obstacle;
    let boot = obstacle(&findings);
    findings.retain(|finding| finding.what == boot::EXTRA);
    Obstacles {
        boot,
        room: obstacle(&findings),
    }
}
