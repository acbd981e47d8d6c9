//! Fault points: named places before and after every persist and every effect where a test can
//! end the agent.
//!
//! Compiled in with the feature `fault-points` only. `SUREFOOT_FAULT=NAME:kill` ends the process
//! there with SIGKILL, `NAME:abort` with SIGABRT, and `NAME:stop` halts it until SIGCONT; `NAME` is `before` or `after`, a dash, and the
//! name of an effect or `persist-STATE`: `after-persist-trial-arming`, `before-switch`; what somebody asked
//! for is first written `after-persist-untold`, and again `before-persist-told`. With
//! `SUREFOOT_FAULT_ONCE=FILE` it happens only while that file does not exist, and makes it first:
//! the restarted agent goes on.

/// Ends the agent here if a test asked for it.
#[cfg(feature = "fault-points")]
pub(crate) fn point(when: &str, name: &str) {
    let Ok(wanted) = std::env::var("SUREFOOT_FAULT") else {
        return;
    };
    let Some((place, how)) = wanted.split_once(':') else {
        return;
    };
    if place != format!("{when}-{name}") {
        return;
    }
    if let Some(marker) = std::env::var_os("SUREFOOT_FAULT_ONCE")
        && std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(marker)
            .is_err()
    {
        return;
    }
    tracing::warn!(place, how, "fault point");
    let signal = match how {
        "kill" => nix::sys::signal::SIGKILL,
        "stop" => nix::sys::signal::SIGSTOP,
        _ => std::process::abort(),
    };
    let _ = nix::sys::signal::kill(nix::unistd::getpid(), signal);
}

/// Nothing: the feature `fault-points` is off.
#[cfg(not(feature = "fault-points"))]
pub(crate) const fn point(_when: &str, _name: &str) {}
