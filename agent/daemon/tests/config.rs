//! The daemon's arguments that are about its configuration, from outside.

use assert_cmd::Command;
use std::fs;

fn surefootd() -> Command {
    Command::new(env!("CARGO_BIN_EXE_surefootd"))
}

#[test]
fn check_config_tells_every_problem_and_exits_with_1() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    fs::write(&config, "channel = 'a b'\n[poll]\ninterval = 10\n").unwrap();
    let output = surefootd()
        .args(["--check-config", "--config"])
        .arg(&config)
        .assert()
        .code(1);
    let said = String::from_utf8(output.get_output().stderr.clone()).unwrap();
    assert_eq!(said.lines().count(), 4, "{said}");
    assert!(said.contains("config.toml:3:12: poll.interval: expected a duration"));

    let good = "repository = 'file:///srv/fleet'\nchannel = 'a'\nmodel = 'b'\n";
    fs::write(&config, good).unwrap();
    surefootd()
        .args(["--check-config", "--config"])
        .arg(&config)
        .assert()
        .success();
}

#[test]
fn the_reference_and_the_schema_are_printed_without_a_configuration() {
    surefootd().arg("--config-reference").assert().success();
    let output = surefootd().arg("--config-schema").assert().success();
    let schema: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!(schema["tables"][0]["path"], "");

    // The NixOS module makes its options from a copy.
    let copy = include_str!("../../../nixos-module/schema.json");
    assert!(
        serde_json::from_str::<serde_json::Value>(copy).unwrap() == schema,
        "nixos-module/schema.json is behind: put the output of `surefootd --config-schema` there"
    );
}
