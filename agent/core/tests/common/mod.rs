//! What tests of the decisions share.

use std::time::Duration;
use surefoot_core::machine::{AfterLoss, DriftPolicy, Policy};

/// Everything takes a second and is tried once.
pub(crate) fn policy() -> Policy {
    let second = Duration::from_secs(1);
    Policy {
        poll_interval: second,
        rollout_fresh: Duration::from_secs(900),
        jitter: 0.0,
        backoff_base: second,
        backoff_max: second,
        fetch_backoff_max: second,
        daily_limit: 0,
        soak: second,
        health_deadline: second,
        health_interval: second,
        max_failures: 1,
        switch_timeout: second,
        boot_deadline: second,
        trial_attempts: 1,
        disturbances: 1,
        reboot_if_worse: true,
        commit_attempts: 1,
        revert_attempts: 1,
        retry_delay: second,
        leases: Vec::new(),
        gate_interval: second,
        drift: DriftPolicy::Report,
        after_loss: AfterLoss::NextRelease,
        keep: 1,
        prune: true,
        generations: 1,
    }
}
