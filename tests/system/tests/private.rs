//! A fleet that does not show its files to everybody.

use anyhow::Result;
use surefoot_tests::{Fleet, fleet::MODEL};

#[test]
fn a_login_opens_the_repository_and_the_cache() -> Result<()> {
    let mut fleet = Fleet::new()?;
    let first = fleet.toplevel("1.0").build(&fleet.farm)?;
    let mut robot = fleet.robot(&first, "[fetch]\nnetrc_file = '/etc/surefoot/netrc'\n")?;
    let passwords = fleet.repository().with_file_name("passwords");
    std::fs::write(&passwords, "robot:{PLAIN}s3cr3t\n")?;
    let guarded = format!(
        "auth_basic fleet; auth_basic_user_file {}; {}",
        passwords.display(),
        fleet.locations()
    );
    fleet.server.reconfigure(&guarded)?;
    robot.write(
        "/etc/surefoot/netrc",
        "machine 127.0.0.1 login robot password wrong\n",
    )?;
    robot.start()?;
    let failed = robot.until_status("the refusal", |now| now["lastCheck"]["result"] == "failed")?;
    let why = failed["lastCheck"]["error"].to_string();
    assert!(why.contains("401") && !why.contains("wrong"), "{why}");
    // The publisher has one, too.
    let third = fleet.toplevel("1.2").build(&fleet.farm)?;
    fleet.push(&third)?;
    let netrc = passwords.with_file_name("netrc");
    std::fs::write(&netrc, "machine 127.0.0.1 login robot password s3cr3t\n")?;
    let login = ["--model", MODEL, "--netrc-file", &netrc.to_string_lossy()];
    fleet.publish_with(&third, "1.2", &login)?;
    robot.sh("sed -i s/wrong/s3cr3t/ /etc/surefoot/netrc")?;
    robot.until_confirmed(&third)?;
    assert!(!robot.journal().contains("s3cr3t"));
    Ok(())
}
