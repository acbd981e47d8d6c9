//! A boot partition that Linux has made read-only, since it came across an error there.
//!
//! The robot runs on, but nothing can be installed until somebody checks the file system. Nobody
//! will come, so that is done here.

use super::fat;
use crate::{
    boot::{files::run, mounts},
    robot,
};
use anyhow::Context as _;
use std::{
    fs::File,
    path::{Path, PathBuf},
};
use surefoot_base::environment;

/// A file system that Linux has made read-only.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ailing {
    device: PathBuf,
    mount: PathBuf,
}

/// Whether a boot partition should be writable and is not.
pub(super) fn ailing(esp: &Path) -> Option<Ailing> {
    let read = |path: &str| robot::read(Path::new(path)).unwrap_or_default();
    judge(esp, &read("/proc/self/mountinfo"), &read("/etc/fstab"))
}

/// By the table of mounts (`proc_pid_mountinfo(5)`), whose last column speaks of the file system
/// itself and not of who looks; and by fstab(5), unless that wants it so.
fn judge(mount: &Path, mounts: &str, fstab: &str) -> Option<Ailing> {
    let is_read_only = |options: &str| options.split(',').any(|option| option == "ro");
    let wanted = fstab.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next().map(Path::new) == Some(mount) && words.nth(1).is_some_and(is_read_only)
    });
    let line = mounts
        .lines()
        .rfind(|line| line.split(' ').nth(4).map(Path::new) == Some(mount))?;
    let (_, last) = line.split_once(" - ")?;
    let mut words = last.split(' ');
    let (kind, device, options) = (words.next()?, words.next()?, words.next()?);
    (kind == "vfat" && is_read_only(options) && !wanted).then(|| Ailing {
        device: device.into(),
        mount: mount.to_owned(),
    })
}

impl Ailing {
    /// Checks it, mends what the check leaves, and mounts it again.
    ///
    /// # Errors
    /// It is in use, or it cannot be mended.
    pub(super) fn heal(&self) -> anyhow::Result<()> {
        run(environment::command("umount"), [&self.mount], &[0])?;
        let checked = self.check();
        mounts::start(&self.mount)?;
        println!("({} {})", self.device.display(), checked?);
        Ok(())
    }

    fn check(&self) -> anyhow::Result<String> {
        let device = File::options()
            .read(true)
            .write(true)
            .open(&self.device)
            .with_context(|| format!("cannot open {}", self.device.display()))?;
        let marked =
            fat::mend(&device).with_context(|| format!("cannot mend {}", self.device.display()))?;
        drop(device);
        // 1: it found errors, and mended them (fsck.fat(8)).
        let said = run(
            environment::command("fsck.fat"),
            ["-a".as_ref(), self.device.as_os_str()],
            &[0, 1],
        )?;
        Ok(format!(
            "was read-only after an error; {marked} entries of torn directories were marked; {}",
            said.lines().last().unwrap_or_default()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_system_that_became_read_only_ails() {
        let boot = Path::new("/boot");
        let mounts = |kind: &str, options: &str| {
            format!(
                "21 1 254:2 / / rw,relatime shared:1 - ext4 /dev/vda2 rw\n\
                 40 21 254:1 / /boot ro,relatime shared:9 - {kind} /dev/vda1 {options},fmask=0022\n"
            )
        };
        let fstab = |options: &str| format!("/dev/vda1 /boot vfat {options} 0 2\n");
        let found = |mounts: String, fstab: String| judge(boot, &mounts, &fstab).is_some();
        assert!(found(mounts("vfat", "ro"), fstab("defaults")));
        assert!(found(mounts("vfat", "ro"), String::new()));
        // This process only may not write there.
        assert!(!found(mounts("vfat", "rw"), fstab("defaults")));
        assert!(!found(mounts("vfat", "ro"), fstab("fmask=0022,ro")));
        assert!(!found(mounts("ext4", "ro"), fstab("defaults")));
        assert!(!found(String::new(), String::new()));
        let ailing = judge(boot, &mounts("vfat", "ro"), "").unwrap();
        assert_eq!(ailing.device, Path::new("/dev/vda1"));
    }
}
