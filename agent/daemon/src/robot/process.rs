//! Processes: the agent's own, and those of the configuration's programs.

use super::{
    transient::{self, How, Job},
    units::COMMAND,
};
use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use surefoot_base::{
    environment,
    program::{Limits, last_lines},
};
use surefoot_core::health::JOURNAL_LINES;

/// How much of the end of each output of a program is looked at, bytes.
const MAX_OUTPUT: usize = 64 << 10;

/// Lines of a program's output are cut after this many characters.
const MAX_LINE: usize = 500;

/// What a command may do and take. It asks, and changes nothing: so it sees a file system that it can
/// only read, as the agent does. A drop-in of `surefoot-command-.service.d` says otherwise for all.
const CONFINEMENT: &[&str] = &[
    // It takes no more of the robot than it may, and ends at once with all that it started.
    "MemoryMax=25%",
    "TasksMax=512",
    "KillMode=control-group",
    "KillSignal=SIGKILL",
    // systemd's words about each start and end of it would fill the journal.
    "LogLevelMax=err",
    "UMask=0077",
    "ProtectSystem=strict",
    "ProtectHome=read-only",
    "PrivateTmp=true",
    "NoNewPrivileges=true",
    // The agent's own, and beside them what asks as another user or pings.
    "CapabilityBoundingSet=CAP_SYS_ADMIN CAP_SYS_BOOT CAP_KILL CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH \
     CAP_SETUID CAP_SETGID CAP_NET_RAW",
    "DeviceAllow=char-rtc r",
    "ProtectControlGroups=true",
    "ProtectHostname=true",
    "ProtectKernelLogs=true",
    "ProtectKernelModules=true",
    "ProtectKernelTunables=true",
    "LockPersonality=true",
    "MemoryDenyWriteExecute=true",
    "RestrictNamespaces=true",
    "RestrictRealtime=true",
    "RestrictSUIDSGID=true",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=adjtimex clock_adjtime",
    "SystemCallErrorNumber=EPERM",
];

/// The agent's own program, if the running system names another one in its unit: then it is time
/// to let that one go on.
pub(crate) fn replaced_by() -> Option<PathBuf> {
    let directories = ["/etc/systemd/system", "/run/systemd/system"];
    let program = environment::of_unit(&directories, "surefootd.service")?;
    let wanted = fs::canonicalize(program).ok()?;
    let own = fs::canonicalize("/proc/self/exe").ok()?;
    (wanted != own).then_some(wanted)
}

/// A program of the configuration that did not exit with 0.
#[derive(Debug)]
pub(crate) struct Failed {
    /// How it ended.
    pub(crate) how: How,
    /// The last lines that it printed.
    pub(crate) lines: Vec<String>,
}

/// Runs a program of the configuration, which must exit with 0, in a unit of its own. `name` is what
/// the configuration calls it.
///
/// # Errors
/// How it ended instead, and its last lines.
pub(crate) async fn run(name: &str, exec: &[String], limit: Duration) -> Result<(), Failed> {
    /// No two of one agent have the same number, and no two agents that run have.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut options = vec![
        format!("--description=Surefoot: command {name}"),
        "--setenv=LC_ALL=C.UTF-8".to_owned(),
    ];
    options.extend(CONFINEMENT.iter().map(|line| format!("--property={line}")));
    let job = Job {
        unit: format!("{COMMAND}{}-{number}.service", std::process::id()),
        options,
        exec: exec.to_vec(),
        limits: Limits {
            time: limit,
            output: MAX_OUTPUT,
        },
    };
    transient::run(job).await.map(drop).map_err(|failed| {
        let printed = [failed.stdout.end(), failed.stderr.end()].concat();
        Failed {
            how: failed.how,
            lines: last_lines(&printed, JOURNAL_LINES, MAX_LINE),
        }
    })
}
