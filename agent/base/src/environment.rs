//! Programs that are run as root, and what they find around them: never what the caller of
//! `sudo surefoot` happened to have.

use crate::file;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Where programs are looked for: where NixOS has them, then where other systems do. Only root can
/// write there.
pub const PATH: &str = "/run/current-system/sw/bin:/run/wrappers/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Unit files above this size are not read, bytes.
pub const MAX_UNIT: u64 = 1 << 20;

/// A program to be run as root, by its path or by a name that is looked up in [`PATH`]. It starts in
/// `/`, and its environment is [`PATH`] and a locale that changes no message: `PATH`, `LD_PRELOAD`,
/// `SYSTEMD_PAGER`, `DBUS_SYSTEM_BUS_ADDRESS` and the like of whoever called this program do not
/// reach it.
#[must_use]
pub fn command(name: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(name);
    command
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C.UTF-8")
        .current_dir("/");
    command
}

/// Where a program lies, if it lies in [`PATH`].
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    PATH.split(':')
        .map(|directory| Path::new(directory).join(name))
        .find(|program| program.is_file())
}

/// The first program that a unit starts (`ExecStart=`), as the first of these directories says that
/// has the unit's file. Drop-ins are not looked at.
#[must_use]
pub fn of_unit(directories: &[&str], unit: &str) -> Option<PathBuf> {
    exec_of_unit(directories, unit).map(|(program, _)| program)
}

/// As [`of_unit`], with the program's arguments.
#[must_use]
pub fn exec_of_unit(directories: &[&str], unit: &str) -> Option<(PathBuf, Vec<String>)> {
    let read = |directory: &&str| file::read_text(&Path::new(directory).join(unit), MAX_UNIT).ok();
    exec_of(&directories.iter().find_map(read)?)
}

/// The first program that a unit with this text starts, and its arguments.
#[must_use]
pub fn exec_of(unit: &str) -> Option<(PathBuf, Vec<String>)> {
    let command = (unit.lines()).find_map(|line| line.strip_prefix("ExecStart="))?;
    let plain = command.trim_start_matches(['-', '@', ':', '+', '!', '|']);
    // With an `@` the second word is what the program is called (systemd.service(5)).
    let named = command[..command.len() - plain.len()].contains('@');
    let mut words = plain.split_whitespace();
    let program = words.next()?;
    let arguments = words.skip(usize::from(named)).map(str::to_owned);
    Some((program.into(), arguments.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    const TRAP: &str = "SUREFOOT_TEST_TRAP";

    #[test]
    fn what_runs_as_root_finds_nothing_of_its_callers() {
        let output = command("env").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with("_="))
            .collect();
        lines.sort_unstable();
        assert_eq!(lines, ["LC_ALL=C.UTF-8", &format!("PATH={PATH}")]);
        let output = command("pwd").output().unwrap();
        assert_eq!(output.stdout, b"/\n");
    }

    /// Runs itself anew with a `PATH` that leads to another `env`.
    #[test]
    fn programs_are_looked_up_in_the_fixed_path_alone() {
        if std::env::var_os(TRAP).is_some() {
            let status = command("env").output().unwrap().status;
            assert!(status.success(), "the caller's program ran: {status}");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let trap = dir.path().join("env");
        fs::write(&trap, "#!/bin/sh\nexit 7\n").unwrap();
        fs::set_permissions(&trap, fs::Permissions::from_mode(0o755)).unwrap();
        let name = "environment::tests::programs_are_looked_up_in_the_fixed_path_alone";
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env("PATH", dir.path())
            .env(TRAP, "1")
            .status();
        // An emulator that runs this test does not run what it starts.
        let foreign = |error: &std::io::Error| {
            error.raw_os_error() == Some(nix::errno::Errno::ENOEXEC as i32)
        };
        if status.as_ref().is_err_and(foreign) {
            return;
        }
        assert!(status.unwrap().success());
        // The trap works where it may.
        let mut caught = Command::new("env");
        caught.env("PATH", dir.path());
        assert_eq!(caught.status().unwrap().code(), Some(7));
    }

    #[test]
    fn a_unit_names_its_program() {
        let dir = tempfile::tempdir().unwrap();
        let of = |text: &str| {
            fs::write(dir.path().join("x.service"), text).unwrap();
            of_unit(&["/nowhere", dir.path().to_str().unwrap()], "x.service")
        };
        let unit = "[Service]\nExecStart=-@/nix/store/x/bin/surefootd surefootd --a\n";
        assert_eq!(of(unit), Some("/nix/store/x/bin/surefootd".into()));
        let with_arguments = |text: &str| {
            fs::write(dir.path().join("x.service"), text).unwrap();
            exec_of_unit(&[dir.path().to_str().unwrap()], "x.service").map(|(_, words)| words)
        };
        assert_eq!(with_arguments(unit), Some(vec!["--a".to_owned()]));
        let words = with_arguments("ExecStart=!/bin/x --config /etc/x\n").unwrap();
        assert_eq!(words, ["--config", "/etc/x"]);
        assert_eq!(of("[Service]\nExecStart=\n"), None);
        assert_eq!(of("[Unit]\n"), None);
        assert_eq!(of_unit(&["/nowhere"], "x.service"), None);
    }

    #[test]
    fn programs_are_found() {
        assert!(find("env").unwrap().is_absolute());
        assert_eq!(find("no-such-program"), None);
    }
}
