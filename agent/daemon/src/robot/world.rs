//! Looking at everything that says which system runs, ran, or will.

use super::{clock, nixos, systemd, units::DEAD_MAN};
use std::path::Path;
use surefoot_core::{
    resolver::{SwitchUnit, Trace, World},
    switch::{Order, Outcome},
};

/// Looks at everything that says which system runs, ran, or will, and at the switch that the
/// journal names.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn look(order: Option<&Order>) -> anyhow::Result<World> {
    let switch = match order {
        None => SwitchUnit::Gone,
        Some(order) => switch_unit(order).await?,
    };
    Ok(World {
        boot: clock::boot_id(),
        booted: nixos::system(nixos::BOOTED),
        current: nixos::system(nixos::CURRENT),
        profile: nixos::system(nixos::PROFILE),
        default: None,
        trace: Trace::default(),
        dead_man: dead_man_armed().await?,
        leftovers: nixos::leftovers(Path::new(nixos::SWITCHER)),
        switch,
    })
}

/// Looks at the unit of an order; what it said comes with how it ended.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn switch_unit(order: &Order) -> anyhow::Result<SwitchUnit> {
    let state = systemd::state(&order.unit).await?;
    let SwitchUnit::Ended { outcome, .. } = state else {
        return Ok(state);
    };
    let log = systemd::journal(&order.unit).await;
    // `nixos-rebuild` answers 1 to everything.
    let outcome = match outcome {
        Outcome::Refused => match Outcome::of_nixos_rebuild(1, &log) {
            Outcome::Failed(_) => Outcome::Refused,
            found => found,
        },
        other => other,
    };
    Ok(SwitchUnit::Ended { outcome, log })
}

/// Whether the dead-man timer runs, or is just firing.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn dead_man_armed() -> anyhow::Result<bool> {
    let (timer, service) = (format!("{DEAD_MAN}.timer"), format!("{DEAD_MAN}.service"));
    if systemd::is_active(&timer).await? {
        return Ok(true);
    }
    let service = systemd::unit(&service).await?;
    Ok(matches!(service.active.as_str(), "active" | "activating"))
}
