//! Asking the agent of a system on trial whether it could bring the robot the next release.
//!
//! It runs as it will run: with the rights that its unit has now, and the configuration that lies in /etc
//! now, beside the agent that drives the trial. See [`crate::prove`] for what it does.

use super::{
    starts, systemd,
    transient::{self, Failed, How, Job},
    units::PROOF,
};
use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use surefoot_base::{
    environment,
    program::{Limits, Printed},
    text,
};
use surefoot_core::StorePath;

const UNIT: &str = "surefootd.service";

/// Exit status: it could not. What it says is the fault of the system that it belongs to.
pub(crate) const REFUSED: i32 = 1;

/// Exit status: nobody can tell, since the repository is not reached (`EX_TEMPFAIL` of `sysexits.h`).
pub(crate) const UNREACHED: i32 = 75;

/// Exit status: nobody can tell, since the Nix daemon does not answer (`EX_UNAVAILABLE` of `sysexits.h`).
pub(crate) const STUCK: i32 = 69;

/// How long it may take: longer than the program gives itself.
const LIMITS: Limits = Limits {
    time: Duration::from_secs(120),
    output: 16 << 10,
};

/// So many characters of what it says are kept.
const WIDTH: usize = 600;

/// Exit status: it could not be asked, which is held against nobody: this robot's disk is in the way. An
/// agent that does not know the question ends with it, too (clap's).
pub(crate) const UNKNOWN: i32 = 2;

/// What of a unit says what its program may do and finds, by how the names begin (systemd.exec(5),
/// systemd.resource-control(5)).
const RIGHTS: &[&str] = &[
    "AmbientCapabilities",
    "AppArmorProfile",
    "Bind",
    "CapabilityBoundingSet",
    "Device",
    "Environment",
    "ExecPaths",
    "Group",
    "IPAddress",
    "ImportCredential",
    "InaccessiblePaths",
    "KeyringMode",
    "Limit",
    "LoadCredential",
    "LockPersonality",
    "MemoryDenyWriteExecute",
    "MemoryMax",
    "NetworkNamespacePath",
    "NoExecPaths",
    "NoNewPrivileges",
    "PassEnvironment",
    "Private",
    "ProcSubset",
    "Protect",
    "ReadOnlyPaths",
    "ReadWritePaths",
    "RemoveIPC",
    "Restrict",
    "SELinuxContext",
    "SecureBits",
    "SetCredential",
    "SocketBind",
    "SupplementaryGroups",
    "SystemCall",
    "TasksMax",
    "TemporaryFileSystem",
    "UMask",
    "UnsetEnvironment",
    "User",
];

/// What of these its program cannot do its work without: a proxy, a secret, who it is.
const NEEDS: &[&str] = &[
    "Environment",
    "Group",
    "ImportCredential",
    "LoadCredential",
    "PassEnvironment",
    "SetCredential",
    "SupplementaryGroups",
    "UnsetEnvironment",
    "User=",
];

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It could; or it cannot be asked, which is held against nobody.
    Proven,
    /// It could not, and why.
    Refused(String),
    /// It does not reach the repository, or does not believe it today.
    Unreached(String),
    /// It gets no answer of the Nix daemon.
    Stuck(String),
}

/// Asks the agent of this system, which runs.
pub(crate) async fn ask(system: &StorePath) -> Proof {
    let units = Path::new(&system.to_string()).join(starts::UNITS);
    let named = units.to_str().map(|units| [units]);
    // Whether there has to be an agent is asked before the trial.
    let Some((program, arguments)) =
        named.and_then(|units| environment::exec_of_unit(&units, UNIT))
    else {
        return Proof::Proven;
    };
    let unit = match systemd::files_of(UNIT).await {
        Ok(text) => text,
        Err(error) => return Proof::Unreached(format!("{error:#}")),
    };
    let mut exec = vec![program.to_string_lossy().into_owned()];
    exec.extend(arguments);
    exec.extend(["--prove".to_owned(), system.to_string()]);
    let rights = rights(&unit);
    let needs = rights.iter().filter(|line| is_needed(line)).cloned();
    let needs: Vec<String> = needs.collect();
    let mut ended = run(rights, exec.clone()).await;
    if let Err(Failed {
        how: How::Other(why),
        ..
    }) = &ended
    {
        // A line that systemd does not take from outside must not leave the rest of it unproven.
        tracing::warn!("the agent on trial is asked without the rights of its unit: {why}");
        ended = run(needs, exec).await;
    }
    match ended {
        Ok(_) => Proof::Proven,
        Err(failed) => judge(&failed.how, &failed.stderr.last_words()),
    }
}

/// Runs it with these settings of its unit.
async fn run(rights: Vec<String>, exec: Vec<String>) -> Result<Printed, Failed> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut options = vec!["--description=Surefoot: the agent on trial".to_owned()];
    // What it copies is nobody else's, and systemd's words about its end would fill the journal.
    let own = [
        "PrivateTmp=yes",
        "LogLevelMax=err",
        "KillMode=control-group",
    ];
    let all = rights.into_iter().chain(own.map(str::to_owned));
    options.extend(all.map(|line| format!("--property={line}")));
    let job = Job {
        unit: format!("{PROOF}{}-{number}.service", std::process::id()),
        options,
        exec,
        limits: LIMITS,
    };
    transient::run(job).await
}

/// What its end means.
fn judge(how: &How, said: &str) -> Proof {
    let said = text::shown_within(said, WIDTH).to_string();
    match how {
        How::Exit(REFUSED) => Proof::Refused(said),
        How::Exit(UNREACHED) => Proof::Unreached(said),
        How::Exit(STUCK) => Proof::Stuck(said),
        How::TooLate(_) => Proof::Unreached(how.to_string()),
        // systemd could not begin it, so it says nothing.
        How::Exit(UNKNOWN) | How::Other(_) => {
            tracing::warn!("the agent on trial cannot be asked to prove itself: {how}; {said}");
            Proof::Proven
        }
        How::Exit(_) | How::Signal(_) | How::OutOfMemory => {
            Proof::Refused(format!("it ended by {how}; {said}"))
        }
    }
}

/// Whether the agent may end otherwise without this line of its unit, which then says nothing of its system.
fn is_needed(line: &str) -> bool {
    NEEDS.iter().any(|name| line.starts_with(name))
}

/// The settings of a unit's files that [`RIGHTS`] names, in their order.
fn rights(unit: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    let mut lines = unit.lines();
    while let Some(line) = lines.next() {
        let mut line = line.trim().to_owned();
        if line.starts_with(['#', ';']) {
            continue;
        }
        while line.ends_with('\\') {
            line.pop();
            let Some(next) = lines.next() else { break };
            line.push(' ');
            line.push_str(next.trim());
        }
        if line.starts_with('[') {
            inside = line == "[Service]";
        } else if inside && RIGHTS.iter().any(|name| line.starts_with(name)) {
            found.push(line);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gets_the_rights_of_its_unit_and_nothing_else_of_it() {
        let unit = include_str!("../../../../packaging/systemd/surefootd.service");
        let drop_in = "# /etc/systemd/system/surefootd.service.d/x.conf\n[Service]\nReadWritePaths=\n\
            ReadWritePaths=/srv/a \\\n  /srv/b\n[Unit]\nPrivateTmp=no\n";
        let rights = rights(&format!("{unit}\n{drop_in}"));
        for line in [
            "ProtectSystem=strict",
            "CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH",
            "SystemCallFilter=@system-service",
            "MemoryMax=1G",
            "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        ] {
            assert!(rights.iter().any(|it| it == line), "{line}");
        }
        for line in ["Environment=https_proxy=x", "LoadCredential=k:/k", "User=u"] {
            assert!(is_needed(line), "{line}");
        }
        for line in ["ProtectSystem=strict", "MemoryMax=1G", "UMask=0077"] {
            assert!(!is_needed(line), "{line}");
        }
        let end = ["ReadWritePaths=", "ReadWritePaths=/srv/a  /srv/b"];
        assert_eq!(rights[rights.len() - 2..], end);
        for other in [
            "Exec",
            "Restart=",
            "StateDirectory",
            "RuntimeDirectory",
            "Type",
            "Watchdog",
        ] {
            assert!(rights.iter().all(|it| !it.starts_with(other)), "{other}");
        }
    }

    #[test]
    fn only_its_own_word_counts_against_it() {
        let refused = |how| matches!(judge(&how, "no"), Proof::Refused(_));
        for how in [
            How::Exit(1),
            How::Exit(101),
            How::Signal(31),
            How::OutOfMemory,
        ] {
            assert!(refused(how));
        }
        assert_eq!(judge(&How::Exit(75), "no"), Proof::Unreached("no".into()));
        let late = judge(&How::TooLate(LIMITS.time), "");
        assert!(matches!(late, Proof::Unreached(_)));
        for how in [How::Exit(2), How::Other("systemd does not know it".into())] {
            assert_eq!(judge(&how, ""), Proof::Proven);
        }
    }
}
