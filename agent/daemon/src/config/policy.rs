//! What the configuration means for decisions.

use super::{
    keys::Config,
    values::{self, Drift},
};
use surefoot_core::machine::{AfterLoss, DriftPolicy, Policy};

impl From<&Config> for Policy {
    fn from(config: &Config) -> Self {
        Self {
            poll_interval: config.poll.interval,
            rollout_fresh: config.rollout.fresh,
            jitter: config.poll.jitter,
            backoff_base: config.poll.backoff_base,
            backoff_max: config.poll.backoff_max,
            fetch_backoff_max: config.fetch.backoff_max,
            daily_limit: config.fetch.daily_limit.0,
            soak: config.health.soak,
            health_deadline: config.health.deadline,
            health_interval: config.health.interval,
            max_failures: config.health.max_failures,
            switch_timeout: config.trial.switch_timeout,
            boot_deadline: config.boot.deadline,
            trial_attempts: config.trial.attempts,
            disturbances: config.trial.disturbances as usize,
            reboot_if_worse: config.trial.reboot_if_worse,
            commit_attempts: config.commit.attempts,
            revert_attempts: config.revert.attempts,
            retry_delay: config.trial.retry_delay,
            leases: config.gates.leases.iter().map(|l| l.0.clone()).collect(),
            gate_interval: config.gates.interval,
            drift: match config.trial.drift {
                Drift::Report => DriftPolicy::Report,
                Drift::Adopt => DriftPolicy::Adopt,
                Drift::Restore => DriftPolicy::Restore,
            },
            after_loss: match config.memory.lost {
                values::AfterLoss::NextRelease => AfterLoss::NextRelease,
                values::AfterLoss::Technician => AfterLoss::Technician,
            },
            keep: config.fetch.keep as usize,
            prune: config.space.prune,
            generations: config.space.generations as usize,
        }
    }
}
