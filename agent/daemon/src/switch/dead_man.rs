//! The dead-man timer: it goes back to the system before, outside the agent, should that not answer.

use super::{LOOK_EVERY, forget};
use crate::robot::{
    systemd,
    units::{DEAD_MAN, DEAD_MAN_ANEW},
    world::is_armed,
};
use anyhow::Context as _;
use std::time::Duration;
use surefoot_base::environment;
use surefoot_core::StorePath;

/// How long a firing dead-man timer is waited for.
const FIRING: Duration = Duration::from_secs(60);

/// Ends whatever trial runs, goes back, and reboots if that fails.
const SCRIPT: &str = include_str!("dead-man.sh");

/// Arms the dead-man timer anew: after this time systemd goes back from `system` to `previous`, and
/// reboots if that fails or takes longer than `switch`, whatever has become of the agent.
///
/// # Errors
/// systemd refuses.
pub(crate) async fn arm(
    system: &StorePath,
    previous: &StorePath,
    after: Duration,
    switch: Duration,
) -> anyhow::Result<()> {
    disarm().await?;
    arm_as(DEAD_MAN, system, previous, after, switch).await
}

/// Has the dead-man timer act after this time, and not before. The robot is guarded all the while: another one
/// is armed, and then the one before it goes.
///
/// # Errors
/// systemd refuses; the one before is left.
pub(crate) async fn prolong(
    system: &StorePath,
    previous: &StorePath,
    after: Duration,
    switch: Duration,
) -> anyhow::Result<()> {
    let (old, new) = if is_armed(DEAD_MAN).await? {
        (DEAD_MAN, DEAD_MAN_ANEW)
    } else {
        (DEAD_MAN_ANEW, DEAD_MAN)
    };
    clear(new).await?;
    arm_as(new, system, previous, after, switch).await?;
    clear(old).await
}

async fn arm_as(
    name: &str,
    system: &StorePath,
    previous: &StorePath,
    after: Duration,
    switch: Duration,
) -> anyhow::Result<()> {
    let switch = switch.as_secs().to_string();
    let (system, previous) = (system.to_string(), previous.to_string());
    let (unit, delay, path) = (
        format!("--unit={name}"),
        format!("--on-active={}ms", after.as_millis()),
        format!("--setenv=PATH={previous}/sw/bin:{}", environment::PATH),
    );
    let options = [
        &unit,
        &delay,
        &path,
        "--timer-property=AccuracySec=100ms",
        "--setenv=NIXOS_NO_CHECK=1",
        "--description=Surefoot: goes back if the agent does not answer",
    ];
    let armed = async {
        let script = ["/bin/sh", "-c", SCRIPT, "sh"];
        let command = [&script[..], &[&previous, &switch, &system]].concat();
        systemd::run(&options, &command).await?;
        anyhow::ensure!(is_armed(name).await?, "systemd did not arm the timer");
        Ok(())
    };
    if let Err(error) = armed.await {
        // What was said to have failed must not fire later.
        if let Err(error) = clear(name).await {
            tracing::error!("{error:#}");
        }
        return Err(error);
    }
    tracing::info!(previous, "dead-man timer armed: {} s", after.as_secs());
    Ok(())
}

/// Disarms the dead-man timer, and ends it if it is just firing. What is disarmed is decided: the
/// switches behind it are forgotten too.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn disarm() -> anyhow::Result<()> {
    clear(DEAD_MAN).await?;
    clear(DEAD_MAN_ANEW).await?;
    forget().await
}

async fn clear(name: &str) -> anyhow::Result<()> {
    let (timer, service) = (format!("{name}.timer"), format!("{name}.service"));
    systemd::clear(&[&timer, &service])
        .await
        .context("cannot disarm the dead-man timer")
}

/// Waits for a dead-man timer that is just firing, a minute at most: which system runs is only known
/// when it is done.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn let_finish() -> anyhow::Result<()> {
    let end = tokio::time::Instant::now() + FIRING;
    while tokio::time::Instant::now() < end {
        let mut fires = false;
        for name in [DEAD_MAN, DEAD_MAN_ANEW] {
            let state = systemd::activity(&format!("{name}.service")).await?;
            fires |= !matches!(state.as_str(), "inactive" | "failed");
        }
        if !fires {
            break;
        }
        // Its switch may be what starts this agent, and then waits until it has started.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}
