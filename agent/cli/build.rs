//! How the program is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Where the loader is glibc's, addresses that it has to fill in are a bitmap (`DT_RELR`, glibc
    // 2.36) instead of 24 bytes each: a thirtieth of the program. A linker that does not know it
    // warns and leaves them as they are.
    let is = |name, value| std::env::var(name).is_ok_and(|found| found == value);
    if is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
