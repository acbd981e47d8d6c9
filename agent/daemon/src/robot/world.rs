//! Looking at everything that says which system runs, ran, or will.

use super::{
    clock, nixos, systemd,
    units::{DEAD_MAN, DEAD_MAN_ANEW},
};
use std::path::Path;
use surefoot_core::resolver::{SwitchUnit, Trace, World};

/// Looks at everything that says which system runs, ran, or will. `switch`: what became of the switch
/// that the journal names.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn look(switch: SwitchUnit) -> anyhow::Result<World> {
    Ok(World {
        boot: clock::boot_id(),
        booted: nixos::system(nixos::BOOTED),
        current: nixos::system(nixos::CURRENT),
        profile: nixos::system(nixos::PROFILE),
        default: None,
        silent: false,
        variant: false,
        trace: Trace::default(),
        dead_man: dead_man_armed().await?,
        leftovers: nixos::leftovers(Path::new(nixos::SWITCHER)),
        locked: nixos::is_switching(),
        switch,
    })
}

/// Whether the dead-man timer runs, or is just firing.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn dead_man_armed() -> anyhow::Result<bool> {
    Ok(is_armed(DEAD_MAN).await? || is_armed(DEAD_MAN_ANEW).await?)
}

/// Whether the dead-man timer of this name runs, or is just firing.
///
/// # Errors
/// systemd does not answer.
pub(crate) async fn is_armed(name: &str) -> anyhow::Result<bool> {
    let (timer, service) = (format!("{name}.timer"), format!("{name}.service"));
    if systemd::is_active(&timer).await? {
        return Ok(true);
    }
    let service = systemd::activity(&service).await?;
    Ok(matches!(service.as_str(), "active" | "activating"))
}
