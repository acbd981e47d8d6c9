//! What the kernel does when it cannot go on: it has to reboot, and not to limp on or to wait.

use crate::robot;
use std::path::Path;
use surefoot_api::finding::{Finding, Subject};

const ADVICE: &str = "services.surefoot.panic of the NixOS module sets it";

/// Looks at the running kernel's settings and at its command line.
pub(super) fn findings() -> Vec<Finding> {
    let setting = |name: &str| {
        let text = robot::read(&Path::new("/proc/sys/kernel").join(name))?;
        text.trim().parse().ok()
    };
    let line = robot::read(Path::new("/proc/cmdline")).unwrap_or_default();
    judge(setting, &line)
}

fn judge(setting: impl Fn(&str) -> Option<i64>, command_line: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(match setting("panic") {
        Some(0) | None => Finding::warn(
            Subject::Panic,
            "kernel.panic",
            "0: a kernel that panics stands still until a watchdog resets it",
            ADVICE,
        ),
        Some(seconds) if seconds < 0 => {
            Finding::ok(Subject::Panic, "kernel.panic", "it reboots at once")
        }
        Some(seconds) => Finding::ok(
            Subject::Panic,
            "kernel.panic",
            format!("it reboots after {seconds} s"),
        ),
    });
    // The settings come with systemd; before it only the command line counts.
    let early = command_line
        .split_whitespace()
        .any(|word| word.strip_prefix("panic=").is_some_and(|n| n != "0"));
    findings.push(if early {
        Finding::ok(
            Subject::Panic,
            "panic= of the kernel's command line",
            "a panic in the initrd reboots, too",
        )
    } else {
        Finding::warn(
            Subject::Panic,
            "panic= of the kernel's command line",
            "missing: a kernel that panics before systemd has read its settings may stand still",
            ADVICE,
        )
    });
    findings.push(match setting("panic_on_oops") {
        Some(1..) => Finding::ok(Subject::Panic, "kernel.panic_on_oops", "an oops is a panic"),
        _ => Finding::warn(
            Subject::Panic,
            "kernel.panic_on_oops",
            "0: a kernel that is damaged goes on, and nobody can tell how well",
            ADVICE,
        ),
    });
    // Not every kernel has these.
    for (name, what) in [
        ("softlockup_panic", "a processor that is stuck"),
        (
            "hardlockup_panic",
            "a processor that does not even take interrupts",
        ),
        ("hung_task_panic", "a process that waits for ever"),
    ] {
        if setting(name) == Some(0) {
            findings.push(Finding::warn(
                Subject::Panic,
                format!("kernel.{name}"),
                format!("0: {what} is only noted"),
                ADVICE,
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use surefoot_api::finding::{Level, worst};

    #[test]
    fn a_kernel_that_reboots_is_found_well() {
        let findings = judge(|_| Some(10), "init=/x quiet panic=10 oops=panic");
        assert_eq!(worst(&findings), Level::Ok, "{findings:?}");
        let findings = judge(|_| Some(-1), "panic=-1");
        assert_eq!(findings[0].level, Level::Ok);
    }

    #[test]
    fn each_setting_that_is_missing_is_told() {
        let findings = judge(|_| Some(0), "quiet panic=0");
        assert_eq!(findings.len(), 6);
        assert!(findings.iter().all(|finding| finding.level == Level::Warn));
        // A kernel without a detector has nothing to say about it.
        assert_eq!(judge(|_| None, "").len(), 3);
    }
}
