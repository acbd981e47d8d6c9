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

/// How long each may take, and when they are looked for again, once one was ended: many users could take all the
/// time of a switch together.
const SHORT: Duration = Duration::from_secs(2);
const LOOK_SOON: Duration = Duration::from_secs(1);

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
    looking: Option<JoinHandle<bool>>,
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
    pub(super) async fn end_late_ones(&mut self, order: &Order) {
        let now = Instant::now();
        if self
            .looking
            .as_ref()
            .is_some_and(|looking| !looking.is_finished())
        {
            return;
        }
        if let Some(looked) = self.looking.take()
            && looked.await.unwrap_or(false)
        {
            (self.limit, self.next) = (SHORT, Some(now + SHORT));
        }
        if self.next.is_none_or(|next| next > now) {
            return;
        }
        let again = match self.limit {
            SHORT => LOOK_SOON,
            _ => LOOK_AGAIN,
        };
        self.next = Some(now + again);
        let (order, limit) = (order.clone(), self.limit);
        self.looking = Some(tokio::spawn(async move {
            end(&order, limit).await.unwrap_or_else(|error| {
                tracing::warn!("cannot look what a switch runs as a user: {error:#}");
                false
            })
        }));
    }
}

/// Ends them; whether there was one.
async fn end(order: &Order, limit: Duration) -> anyhow::Result<bool> {
    let since = systemd::started(&order.unit).await?;
    let units = (switchers_of(order, since).await?.into_iter()).map(|run| run.unit);
    let mut exec = ["/bin/sh", "-c", SCRIPT, "sh"].map(str::to_owned).to_vec();
    exec.push(limit.as_secs().to_string());
    exec.push(order.unit.clone());
    exec.extend(units);
    let job = Job {
        unit: format!("{}{}", units::USER_PARTS, std::process::id()),
        options: vec!["--description=Surefoot: what a switch runs as users".to_owned()],
        exec,
        limits: LIMITS,
    };
    match transient::run(job).await {
        Ok(said) => {
            let said = said.last_words();
            if !said.is_empty() {
                tracing::warn!("{said}");
            }
            Ok(!said.is_empty())
        }
        Err(failed) => anyhow::bail!("{}: {}", failed.how, failed.stderr.last_words()),
    }
}
