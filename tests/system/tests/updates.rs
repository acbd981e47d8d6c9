//! Robots that follow a fleet: what becomes of good releases and of bad ones.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use surefoot_tests::{
    Fleet, Robot, Toplevel,
    fleet::{CHANNEL, MODEL},
    toplevel::{etc, etc_with_unit},
};

#[test]
fn a_good_release_is_confirmed_and_stays() -> Result<()> {
    let (fleet, mut robot, first) = Fleet::with_robot("")?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    let status = robot.until_confirmed(&second)?;
    assert_eq!(status["confirmed"]["release"], "1.1");
    assert_eq!(status["fallbacks"][0]["system"], first);
    robot.power_cycle()?;
    robot.until_confirmed(&second)?;

    // Neither it nor the fallback can be collected.
    robot.sh("nix-env -p /nix/var/nix/profiles/system --delete-generations old; nix-store --gc")?;
    robot.sh(&format!("nix-store --check-validity {first} {second}"))?;
    Ok(())
}

#[test]
fn a_fleet_without_a_release_is_no_failure() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot("")?;
    // Not even the channel is there.
    let waiting = robot.until_status("a look at the empty repository", |status| {
        status["lastCheck"]["result"] == "upToDate"
    })?;
    assert_eq!(
        waiting["doing"],
        format!("channel {CHANNEL} has nothing for model {MODEL}; waiting for a release")
    );
    let first = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&first)?;
    Ok(())
}

#[test]
fn a_bad_release_is_reverted_and_blocked_with_evidence_until_there_is_another() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let bad = fleet.release(&fleet.toplevel("1.1").service("fails"))?;
    let blocked = robot.until_blocked("1.1", &first)?;
    assert_eq!(blocked["system"], bad);
    let failure = &blocked["failures"][0];
    assert_eq!(failure["check"], "unit robot.service", "{blocked:#}");
    assert!(
        failure["journal"]
            .to_string()
            .contains("cannot find its motor"),
        "{blocked:#}"
    );
    robot.sh("systemctl is-active robot.service")?;

    // The release is still offered and not tried again, however often it is seen.
    let log = "journalctl --no-pager --unit 'surefoot-trial-*' | wc -l";
    let before = robot.sh(log)?;
    let last = robot.status()?["lastCheck"]["when"].clone();
    robot.call("Update", &json!({}))?;
    robot.until_status("another check", |status| {
        status["lastCheck"]["when"] != last && status["state"] == "idle"
    })?;
    assert_eq!(robot.sh(log)?, before);
    robot.stands_on(&first)?;

    let good = fleet.release(&fleet.toplevel("1.2"))?;
    robot.until_confirmed(&good)?;

    // Programs find in the journal what came of each trial.
    robot.sh("journalctl --sync")?;
    let told = robot.sh(
        "journalctl --quiet -o json MESSAGE_ID=d07014035c42418da41c2502ca5309b7 _SYSTEMD_UNIT=surefootd.service",
    )?;
    let told = told.lines().map(serde_json::from_str::<Value>);
    let told: Vec<_> = told.collect::<Result<_, _>>()?;
    let fields = ["RELEASE", "SYSTEM", "OUTCOME", "CAUSE", "UNIT"];
    let told: Vec<_> = (told.iter())
        .map(|entry| fields.map(|field| entry[field].as_str()))
        .collect();
    assert_eq!(
        told,
        [
            [
                Some("1.1"),
                Some(&bad),
                Some("reverted"),
                Some("unhealthy"),
                Some("robot.service"),
            ],
            [Some("1.2"), Some(&good), Some("confirmed"), None, None],
        ]
    );
    Ok(())
}

#[test]
fn node_exporter_finds_in_a_file_what_came_of_the_last_trial() -> Result<()> {
    let file = "/run/surefoot/surefoot.prom";
    let (fleet, robot, first) = Fleet::with_robot(&format!("[metrics]\ntextfile = '{file}'\n"))?;
    let running = format!("surefoot_running_info{{system=\"{first}\"}} 1");
    robot.until(&format!("grep -Fx '{running}' {file}"))?;
    fleet.release(&fleet.toplevel("1.1").service("fails"))?;
    robot.until_blocked("1.1", &first)?;
    let outcome = r#"surefoot_last_outcome_info{outcome="reverted",release="1.1","#;
    robot.until(&format!(
        "grep -F '{outcome}' {file} && grep -Fx 'surefoot_blocked_releases 1' {file}"
    ))?;
    assert_eq!(robot.sh(&format!("stat -c %a {file}"))?, "644");
    Ok(())
}

#[test]
fn what_fails_during_the_soak_or_never_gets_ready_is_reverted() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    fleet.release(&fleet.toplevel("late").service("exits"))?;
    robot.until("test $(cat /etc/robot/generation) = late && systemctl is-active robot.service")?;
    robot.sh("touch /run/robot/exit")?;
    let blocked = robot.until_blocked("late", &first)?;
    assert!(
        blocked.to_string().contains("lost its motor"),
        "{blocked:#}"
    );

    fleet.release(
        &fleet
            .toplevel("silent")
            .service("silent")
            .text("startTimeout", "1s"),
    )?;
    robot.until_blocked("silent", &first)?;
    Ok(())
}

/// The units of a system with a backup that fails whenever it runs.
fn backup_that_fails() -> Result<tempfile::TempDir> {
    etc_with_unit(
        "backup.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'exit 1'\n",
    )
}

#[test]
fn a_unit_that_failed_before_is_not_held_against_a_release() -> Result<()> {
    let fleet = Fleet::new()?;
    let fails = backup_that_fails()?;
    let old = fleet.toplevel("1.0").etc(fails.path());
    let (robot, _) = fleet.adopted(&old, "")?;
    robot.until("systemctl is-failed backup.service")?;
    let second = fleet.release(&fleet.toplevel("1.1").etc(fails.path()))?;
    robot.until_status("the failed unit to be shown and not to count", |status| {
        let health = &status["health"];
        let excused = health["excused"][0]["check"] == "unit backup.service";
        excused && health["failures"] == json!([])
    })?;
    robot.until_confirmed(&second)?;
    Ok(())
}

#[test]
fn a_service_that_crashes_and_is_up_at_each_look_is_reverted() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let crashes = etc_with_unit(
        "crashes.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=1ms\n\
         ExecStart=/bin/sh -c 'sleep 0.4; echo lost its motor; exit 1'\n",
    )?;
    fleet.release(&fleet.toplevel("1.1").etc(crashes.path()))?;
    let blocked = robot.until_blocked("1.1", &first)?;
    let text = blocked.to_string();
    assert!(text.contains("crashes.service"), "{blocked:#}");
    assert!(text.contains("lost its motor"), "{blocked:#}");
    Ok(())
}

#[test]
fn what_ran_before_and_does_not_run_now_is_reverted() -> Result<()> {
    let fleet = Fleet::new()?;
    let service = |run: &str| etc_with_unit("gripper.service", run);
    let runs = service("[Service]\nExecStart=/bin/sleep infinity\n")?;
    let ends = service("[Service]\nExecStart=/bin/sleep 0.1\n")?;
    let (robot, first) = fleet.adopted(&fleet.toplevel("1.0").etc(runs.path()), "")?;
    robot.until("systemctl is-active gripper.service")?;
    fleet.release(&fleet.toplevel("1.1").etc(ends.path()))?;
    let blocked = robot.until_blocked("1.1", &first)?;
    let text = blocked.to_string();
    assert!(text.contains("gripper.service"), "{blocked:#}");
    assert!(text.contains("ran before the trial"), "{blocked:#}");
    Ok(())
}

#[test]
fn a_failed_activation_is_reverted() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    fleet.release(&fleet.toplevel("1.1").expression("activateFails", "true"))?;
    robot.until_blocked("1.1", &first)?;
    fleet.release(&fleet.toplevel("1.2").expression("checkFails", "true"))?;
    robot.until_blocked("1.2", &first)?;
    Ok(())
}

#[test]
fn an_activation_that_failed_is_not_hidden_by_a_unit_that_failed_before() -> Result<()> {
    let fleet = Fleet::new()?;
    let fails = backup_that_fails()?;
    let old = fleet.toplevel("1.0").etc(fails.path());
    let (robot, first) = fleet.adopted(&old, "")?;
    robot.until("systemctl is-failed backup.service")?;
    // The switcher ends with 4, for the unit that failed on the system before as well.
    let bad = fleet.toplevel("1.1").etc(fails.path());
    fleet.release(&bad.expression("activateFails", "true"))?;
    let blocked = robot.until_blocked("1.1", &first)?;
    assert_eq!(blocked["cause"], "switch", "{blocked:#}");
    let text = blocked.to_string();
    assert!(text.contains("the activation script failed"), "{blocked:#}");
    Ok(())
}

#[test]
fn a_switch_that_gives_up_halfway_with_the_code_of_a_held_lock_is_reverted() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    fleet.release(&fleet.toplevel("1.1").expression("logindFails", "true"))?;
    let blocked = robot.until_blocked("1.1", &first)?;
    assert_eq!(blocked["cause"], "switch", "{blocked:#}");
    let text = blocked.to_string();
    assert!(text.contains("the switch failed (exit 11)"), "{blocked:#}");
    robot.sh("systemctl is-active robot.service")?;
    Ok(())
}

/// Serves a page of the robot itself over HTTPS, with a certificate of its own that is new each time.
const PAGE: &str = "
    cd /etc; systemctl --quiet stop page.service 2>/dev/null
    printf '[req]\\ndistinguished_name = name\\n[name]\\n' >page.cnf
    OPENSSL_CONF=page.cnf openssl req -quiet -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
      -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
      -keyout page.key -out page.pem
    systemd-run --quiet --unit=page openssl s_server -www -accept 8443 -cert /etc/page.pem -key /etc/page.key";

#[test]
fn a_page_of_the_robot_itself_is_believed_by_the_authority_that_is_configured() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot(
        "ca_file = '/etc/known.pem'\n[[health.http]]\nname = 'page'\nurl = 'https://127.0.0.1:8443/'\n",
    )?;
    robot.sh(&format!("{PAGE}; cp page.pem known.pem"))?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    // Now it has one that nobody knows.
    robot.sh(PAGE)?;
    fleet.release(&fleet.toplevel("1.2"))?;
    let blocked = robot.until_blocked("1.2", &second)?;
    assert_eq!(blocked["failures"][0]["check"], "http page", "{blocked:#}");
    assert!(blocked.to_string().contains("certificate"), "{blocked:#}");
    Ok(())
}

#[test]
fn a_system_whose_agent_could_not_read_what_this_one_writes_is_not_tried() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let with = |name: &str, said: &str| {
        let formats = etc(&[("surefoot/formats.json", said)])?;
        fleet.release(&fleet.toplevel(name).etc(formats.path()))
    };
    for (name, said, words) in [
        (
            "1.1",
            r#"{"journal": [2]}"#,
            "reads format 2 of the journal",
        ),
        ("1.2", "torn", "cannot be read"),
    ] {
        with(name, said)?;
        let blocked = robot.until_blocked(name, &first)?;
        assert_eq!(blocked["cause"], "unfit");
        assert!(blocked["why"].to_string().contains(words), "{blocked:#}");
    }
    assert_eq!(
        robot.sh("journalctl --no-pager --quiet --unit 'surefoot-trial-*' | wc -l")?,
        "0"
    );
    let both = with("1.3", r#"{"journal": [1, 2], "weather": "fine"}"#)?;
    robot.until_confirmed(&both)?;
    // What the agent's package says of itself is where the next agent looks.
    let said = robot.sh(&format!("cat {first}/etc/surefoot/formats.json"))?;
    assert!(said.contains("\"journal\": [1]"), "{said}");
    Ok(())
}

#[test]
fn robots_without_store_path_in_their_nixos_rebuild_are_updated_too() -> Result<()> {
    for flavour in ["old", "none"] {
        let make = |toplevel: Toplevel| toplevel.text("nixosRebuild", flavour);
        let fleet = Fleet::new()?;
        let (robot, first) = fleet.adopted(&make(fleet.toplevel(flavour)), "")?;
        fleet.release(&make(fleet.toplevel("bad").service("fails")))?;
        robot.until_blocked("bad", &first)?;
        let good = fleet.release(&make(fleet.toplevel("good")))?;
        robot.until_confirmed(&good)?;
    }
    Ok(())
}

#[test]
fn a_nixos_rebuild_of_the_robots_own_configuration_does_not_take_over() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot("")?;
    // The channel of an installation by hand, checked out with Git: its nixos-rebuild would be built, run
    // instead of the robot's, and switch nothing.
    robot.sh(
        "mkdir -p /srv/nixpkgs/nixos /srv/nixpkgs/.git && echo 0123456789 >/srv/nixpkgs/.git/HEAD \
         && echo '{ config.system.build.nixos-rebuild = /srv/other; }' >/srv/nixpkgs/nixos/default.nix \
         && mkdir -p /srv/other/bin && printf '#!/bin/sh\ntouch /srv/taken-over\n' >/srv/other/bin/nixos-rebuild \
         && chmod +x /srv/other/bin/nixos-rebuild \
         && echo 'nix-path = nixpkgs=/srv/nixpkgs' >>/etc/nix/nix.conf",
    )?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    robot.sh("! test -e /srv/taken-over && ! test -e /srv/nixpkgs/.version-suffix")?;
    Ok(())
}

#[test]
fn a_release_whose_switch_somebody_kills_comes_again() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot("[trial]\nretry_delay = '1s'\n")?;
    let second = fleet.release(&fleet.toplevel("1.1").expression("activateHangs", "true"))?;
    let switcher = "nixos-rebuild-switch-to-configuration.service";
    robot.until("grep -q robot.service /run/nixos/start-list")?;
    robot.sh(&format!("systemctl kill --signal=KILL {switcher}"))?;
    robot.sh("mkdir -p /run/robot && touch /run/robot/go-on")?;
    robot.until_confirmed(&second)?;
    let history = robot.call("History", &json!({}))?.to_string();
    assert!(history.contains("killed by signal 9"), "{history}");
    assert_eq!(robot.status()?["blocked"], json!([]));
    Ok(())
}

#[test]
fn a_hold_keeps_a_release_waiting() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    robot.call("Hold", &json!({ "why": "surgery" }))?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    let status = robot.until_status("the release to wait", |status| status["state"] == "ready")?;
    assert_eq!(status["holds"][0]["why"], "surgery");
    assert!(
        status["doing"].to_string().contains("surgery"),
        "{status:#}"
    );
    robot.stands_on(&first)?;
    robot.call("Resume", &json!({}))?;
    robot.until_confirmed(&second)?;
    Ok(())
}

#[test]
fn a_release_that_was_collected_while_it_waited_is_fetched_again() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot("")?;
    robot.call("Hold", &json!({ "why": "surgery" }))?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_status("the release to wait", |status| status["state"] == "ready")?;
    robot.sh("rm /nix/var/nix/gcroots/surefoot/next && nix-store --gc")?;
    robot.sh(&format!("! nix-store --check-validity {second}"))?;
    robot.call("Resume", &json!({}))?;
    robot.until_confirmed(&second)?;
    Ok(())
}

#[test]
fn a_rollback_goes_back_and_blocks_what_is_left() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    robot.call("Rollback", &json!({ "why": "it grips badly" }))?;
    let blocked = robot.until_blocked("1.1", &first)?;
    assert!(
        blocked.to_string().contains("it grips badly"),
        "{blocked:#}"
    );
    let history = robot.call("History", &json!({}))?.to_string();
    assert!(history.contains("it grips badly"), "{history}");

    // A person who knows better has it tried again.
    let output = robot.surefoot_as("root", &["unblock", "1.2", "--why", "x"])?;
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    robot.sh("surefoot unblock 1.1 --why 'the gripper was loose' && surefoot update")?;
    robot.until_confirmed(&second)?;
    let history = robot.call("History", &json!({}))?.to_string();
    assert!(history.contains("the gripper was loose"), "{history}");
    Ok(())
}

#[test]
fn a_rollback_works_with_the_daemon_dead() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    robot.sh("systemctl stop surefootd")?;
    robot.sh("surefootd --rollback --why 'it grips badly'")?;
    robot.stands_on(&first)?;
    robot.sh("systemctl start surefootd")?;
    robot.until_blocked("1.1", &first)?;
    Ok(())
}

#[test]
fn an_update_and_the_way_back_need_no_more_rights_than_the_unit_gives() -> Result<()> {
    // Health commands may ask as another user, and see that user's processes.
    let health = "[[health.command]]\nname = 'another-user'\n\
        exec = ['/bin/sh', '-c', 'setpriv --reuid=65534 --regid=65534 --clear-groups test -e /proc/1/stat']\n\
        timeout = '5s'\n";
    let (fleet, robot, first) = Fleet::with_robot(health)?;
    robot.until("systemctl is-active surefootd.service")?;
    let show = |property: &str| {
        let property = format!("systemctl show --property={property} --value surefootd.service");
        robot.sh(&property)
    };
    let mut allowed: Vec<String> = (show("CapabilityBoundingSet")?.split_whitespace())
        .map(str::to_owned)
        .collect();
    allowed.sort();
    assert_eq!(
        allowed,
        [
            "cap_dac_override",
            "cap_dac_read_search",
            "cap_kill",
            "cap_sys_admin",
            "cap_sys_boot"
        ]
    );
    // The kernel says so as well: bits 1, 2, 5, 21 and 22 (capabilities(7)).
    let status = robot.sh(&format!(
        "grep CapEff: /proc/{}/status",
        show("MainPID")?.trim()
    ))?;
    let held = status.split_whitespace().last().unwrap_or_default();
    assert_eq!(u64::from_str_radix(held, 16)? & !0x600026, 0, "{status}");
    // It sees no processes but its own.
    robot.sh(&format!(
        "grep -E ' /proc .*hidepid=(invisible|2)' /proc/{}/mountinfo",
        show("MainPID")?.trim()
    ))?;
    assert_eq!(show("MemoryMax")?.trim(), (1u64 << 30).to_string());
    assert_eq!(show("TasksMax")?.trim(), "1024");

    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    robot.call("Rollback", &json!({ "why": "it grips badly" }))?;
    robot.until_blocked("1.1", &first)?;
    let refused = "journalctl --unit surefootd.service | grep -i 'permitted\\|denied'";
    assert_eq!(robot.sh(&format!("! {refused}"))?.trim(), "");
    Ok(())
}

#[test]
fn the_whole_log_of_a_switch_that_failed_is_kept_with_the_switchers_own_words() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let kept = |release: &str| {
        robot.until_blocked(release, &first)?;
        let of = |status: &Value| {
            let blocked = status["blocked"].as_array()?;
            let entry = blocked.iter().find(|it| it["release"] == release)?;
            Some((entry.to_string(), entry["logFile"].as_str()?.to_owned()))
        };
        let status = robot.until_status("the log to be named", |status| of(status).is_some())?;
        let (evidence, file) = of(&status).context("not named")?;
        anyhow::Ok((evidence, robot.sh(&format!("cat {file}"))?, file))
    };
    // `nixos-rebuild` exits with 1 either way; what the switcher exited with is known all the same.
    fleet.release(&fleet.toplevel("1.1").expression("checkFails", "true"))?;
    let (evidence, log, file) = kept("1.1")?;
    assert!(evidence.contains("refused (exit 1)"), "{evidence}");
    for said in [&evidence, &log] {
        assert!(
            said.contains("the pre-switch check refuses, as asked"),
            "{said}"
        );
    }
    assert_eq!(
        robot.sh(&format!("stat -c '%a %U' {file}"))?.trim(),
        "600 root"
    );
    fleet.release(&fleet.toplevel("1.2").expression("activateFails", "true"))?;
    let (evidence, log, other) = kept("1.2")?;
    assert!(
        evidence.contains("the activation script failed (exit 2)"),
        "{evidence}"
    );
    assert!(
        log.contains("activate fails, as asked") && other != file,
        "{log}"
    );
    // It is named to people.
    let shown = robot.sh("surefoot status")?;
    assert!(shown.contains(&file) && shown.contains(&other), "{shown}");
    Ok(())
}

#[test]
fn the_agent_updates_itself() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot("")?;
    let newer = fleet.farm.agent("2")?;
    let second = fleet.release(&Toplevel::named("1.1").with(&newer))?;
    robot.until_confirmed(&second)?;
    let exe = "readlink /proc/$(systemctl show --property=MainPID --value surefootd)/exe";
    robot.until(&format!("test $({exe}) = {newer}/bin/surefootd"))?;
    robot.until_confirmed(&second)?;
    Ok(())
}

#[test]
fn an_update_by_deltas_moves_a_twentieth_of_one_without_and_ends_the_same() -> Result<()> {
    let fleet = Fleet::new()?;
    let first = fleet.release(&fleet.toplevel("1.0"))?;
    let robot = |configuration: &str| -> Result<Robot> {
        let mut robot = fleet.robot(&first, configuration)?;
        robot.start()?;
        Ok(robot)
    };
    let with = robot("[fetch]\ndeltas = true\n")?;
    with.until_confirmed(&first)?;
    // The agent anew: much the largest part of these systems.
    let agent = fleet.farm.agent("2")?;
    let second = Toplevel::named("1.1").with(&agent).build(&fleet.farm)?;
    fleet.push(&second)?;
    let (cache, made) = (fleet.cache(), tempfile::tempdir()?);
    let (cache, made) = (cache.to_string_lossy(), made.path().to_string_lossy());
    let deltas = ["--push-deltas", &cache, "--delta-cache", &made];
    fleet.publish_with(&second, "1.1", &[&["--model", MODEL], &deltas[..]].concat())?;
    let moved = || -> Result<(u64, usize)> {
        let requests = fleet.server.requests()?.into_iter();
        let cache: Vec<_> = requests
            .filter(|one| {
                one.uri.starts_with("/cache/nar/") || one.uri.starts_with("/cache/deltas/")
            })
            .collect();
        let deltas = cache.iter().filter(|one| one.uri.contains("/deltas/"));
        Ok((cache.iter().map(|one| one.bytes).sum(), deltas.count()))
    };
    let (before, _) = moved()?;
    with.until_confirmed(&second)?;
    let (after, used) = moved()?;
    assert!(used > 0);
    // The same without, from the same release.
    let without = robot("[fetch]\ndeltas = false\n")?;
    without.until_confirmed(&second)?;
    let (whole, still) = moved()?;
    assert_eq!(still, used, "it was switched off");
    let (small, large) = (after - before, whole - after);
    eprintln!("{small} bytes with deltas, {large} without");
    assert!(small > 0 && small * 20 < large, "{small} of {large}");
    Ok(())
}

#[test]
fn a_switch_that_restarts_the_agent_is_seen_through() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot("")?;
    // As somebody would package it who has not read what its unit says.
    let naive = fleet.farm.agent_with("naive", |unit| {
        unit.replace("X-RestartIfChanged=false\n", "")
    })?;
    let second = fleet.release(&Toplevel::named("1.1").with(&naive))?;
    robot.until_confirmed(&second)?;
    let third = fleet.release(&fleet.toplevel("1.2"))?;
    robot.until_confirmed(&third)?;
    Ok(())
}

#[test]
fn a_switch_that_outlives_the_agent_is_found_again() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot("")?;
    let second = fleet.release(&fleet.toplevel("1.1").expression("activateHangs", "true"))?;
    robot.until("test -s /run/nixos/start-list")?;
    robot.sh("systemctl restart surefootd.service")?;
    robot.until_status("the trial to go on", |status| status["state"] == "trial")?;
    robot.sh("systemctl kill --signal=KILL surefootd.service")?;
    robot.sh("touch /run/robot/go-on")?;
    robot.until_confirmed(&second)?;
    Ok(())
}
