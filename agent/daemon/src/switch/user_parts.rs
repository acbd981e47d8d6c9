//! What a switch runs as the users who are logged in: they can stop it, and must not keep the robot from an
//! update with that.

use super::switchers_of;
use crate::robot::{
    systemd,
    transient::{self, Job},
    units,
};
use std::time::Duration;
use surefoot_base::program::Limits;
use surefoot_core::switch::{Action, Order};
use tokio::{task::JoinHandle, time::Instant};

const SCRIPT: &str = include_str!("user-parts.sh");

/// How long after the last time such parts are looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

const LIMITS: Limits = Limits {
    time: Duration::from_secs(30),
    output: 4096,
};

/// Those of one switch.
pub(super) struct UserParts {
    /// How long each may take: a third of what the whole switch may. Users whose services stop slowly have that
    /// time, and the rest of the switch has the other two.
    limit: Duration,
    /// When they are looked for; `None` where a switch has none.
    next: Option<Instant>,
    looking: Option<JoinHandle<()>>,
}

impl UserParts {
    pub(super) fn new(order: &Order) -> Self {
        let limit = order.timeout / 3;
        let activates = matches!(order.action, Action::Test | Action::Switch);
        Self {
            limit,
            next: activates.then(|| Instant::now() + limit),
            looking: None,
        }
    }

    /// Ends those that have taken too long. The switch says then that this user's part failed, and goes on.
    pub(super) fn end_late_ones(&mut self, order: &Order) {
        let now = Instant::now();
        let due = self.next.is_some_and(|next| next <= now);
        if !due || (self.looking.as_ref()).is_some_and(|looking| !looking.is_finished()) {
            return;
        }
        self.next = Some(now + LOOK_AGAIN);
        let (order, limit) = (order.clone(), self.limit);
        self.looking = Some(tokio::spawn(async move {
            if let Err(error) = end(&order, limit).await {
                tracing::warn!("cannot look what a switch runs as a user: {error:#}");
            }
        }));
    }
}

async fn end(order: &Order, limit: Duration) -> anyhow::Result<()> {
    let since = systemd::started(&order.unit).await?;
    let units = (switchers_of(order, since).await?.into_iter()).map(|run| run.unit);
    let mut exec = ["/bin/sh", "-c", SCRIPT, "sh"].map(str::to_owned).to_vec();
    exec.push(limit.as_secs().to_string());
    exec.push(order.unit.clone());
    exec.extend(units);
    let job = Job {
        unit: format!("{}{}", units::USER_PARTS, std::process::id()),
        options: Vec::new(),
        exec,
        limits: LIMITS,
    };
    match transient::run(job).await {
        Ok(said) => {
            let said = said.last_words();
            if !said.is_empty() {
                tracing::warn!("{said}");
            }
            Ok(())
        }
        Err(failed) => anyhow::bail!("{}: {}", failed.how, failed.stderr.last_words()),
    }
}
