//! The boot partition's mount.
//!
//! NixOS' usual fstab has `nofail` for it, so a disk that comes late leaves a robot that runs and
//! cannot install anything: neither commit nor revert. Nobody will come, so it is mounted here.

use super::files::run;
use crate::robot::systemd;
use anyhow::Context as _;
use std::path::Path;
use surefoot_base::environment;

/// Where a boot partition may be mounted (bootctl(1)).
pub(super) const POINTS: [&str; 3] = ["boot", "efi", "boot/efi"];

/// Has systemd mount what every boot should have mounted there (systemd.special(7),
/// `local-fs.target`) and did not, with its check of the file system before.
///
/// # Errors
/// One of them cannot be mounted.
pub(super) async fn restore() -> anyhow::Result<()> {
    let wanted = systemd::properties(Some("local-fs.target"), "Wants,Requires").await?;
    let wanted: Vec<&str> = (wanted.values())
        .flat_map(|units| units.split_whitespace())
        .collect();
    for unit in POINTS.map(|point| unit(Path::new(point))) {
        if wanted.contains(&unit.as_str()) && systemd::activity(&unit).await? != "active" {
            let started = systemd::start_unit(&unit).await;
            started.with_context(|| format!("cannot mount the boot partition ({unit})"))?;
            tracing::warn!("{unit} was not mounted; it is now");
        }
    }
    Ok(())
}

/// Starts the unit of a mount point.
///
/// # Errors
/// systemd could not mount it.
pub(super) fn start(point: &Path) -> anyhow::Result<()> {
    run(
        environment::command("systemctl"),
        ["start", &unit(point)],
        &[0],
    )
    .map(drop)
}

/// The unit of a mount point without special characters, as [`POINTS`] are (systemd.unit(5),
/// "String escaping for inclusion in unit names").
pub(super) fn unit(point: &Path) -> String {
    let name = point.to_string_lossy();
    format!("{}.mount", name.trim_matches('/').replace('/', "-"))
}

/// Whether a table of mounts (fstab(5), `/proc/self/mounts`) has one at this place; `option`: with this one.
pub(super) fn lists(table: &str, point: &str, option: Option<&str>) -> bool {
    table.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next().is_some_and(|what| !what.starts_with('#'))
            && words.next() == Some(point)
            && option.is_none_or(|option| {
                let mut options = words.nth(1).unwrap_or_default().split(',');
                options.any(|it| it == option)
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_named_by_their_mount_points() {
        let units = ["/boot", "efi", "/boot/efi"].map(|point| unit(Path::new(point)));
        assert_eq!(units, ["boot.mount", "efi.mount", "boot-efi.mount"]);
    }
}
