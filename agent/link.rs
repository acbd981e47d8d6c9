//! How the programs are linked.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=../link.rs");
    // Where the loader is glibc's, addresses that it has to fill in are a bitmap (`DT_RELR`) instead
    // of 24 bytes each: a thirtieth of the program. A linker that does not know it warns and leaves
    // them as they are.
    let is = |name, value| env::var(name).is_ok_and(|found| found == value);
    let glibc = is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu");
    if glibc && !(env::var("HOST") == env::var("TARGET") && has_old_glibc()) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether this machine's glibc would refuse such a program: it knows them from 2.36 on.
fn has_old_glibc() -> bool {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let said = said.map(|output| output.stdout).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let minor = said.trim().strip_prefix("glibc 2.");
    minor
        .and_then(|minor| minor.split('.').next()?.parse().ok())
        .is_some_and(|minor: u32| minor < 36)
}
