//! The disk that the agent remembers on is full, read-only, or holds what only a newer agent reads. The
//! way back works all the same, and the agent says why nothing else happens.

use crate::faults::{is_left_and_said, set_fault_that, until_hit};
use anyhow::Result;
use serde_json::Value;
use surefoot_tests::{Fleet, Robot};

const STATE: &str = "/var/lib/surefoot";

/// Puts the state directory on a small disk of its own, with the agent's reserve on it.
fn on_a_small_disk(robot: &Robot) -> Result<()> {
    robot.sh(&format!(
        "systemctl stop surefootd.service
         cp -a {STATE} /tmp/state
         mount -t tmpfs -o size=48M,mode=700 tmpfs {STATE}
         cp -a /tmp/state/. {STATE} && rm -f {STATE}/reserve
         systemctl start surefootd.service"
    ))?;
    until_reserve(robot)
}

fn until_reserve(robot: &Robot) -> Result<()> {
    let has = |status: &Value| status["state"] != Value::Null && status["noReserve"].is_null();
    robot.until_status("the reserve to be there", has)?;
    robot.sh(&format!("test $(stat -c %s {STATE}/reserve) = 16777216"))?;
    Ok(())
}

/// Takes every byte that is left.
fn fill(robot: &Robot) -> Result<()> {
    robot.sh(&format!(
        "dd if=/dev/zero of={STATE}/fill bs=4k 2>/dev/null; test $(stat -f -c %a {STATE}) = 0"
    ))?;
    Ok(())
}

fn restarts(robot: &Robot) -> Result<String> {
    robot.sh("systemctl show surefootd.service -p NRestarts -p MainPID")
}

fn until_fault(robot: &Robot, words: &str) -> Result<()> {
    let says = |status: &Value| status["fault"].to_string().contains(words);
    let status = robot.until_status("the fault to be said", says)?;
    assert!(status["doing"].to_string().contains(words), "{status}");
    Ok(())
}

#[test]
fn on_a_full_disk_a_trial_ends_and_a_rollback_works() -> Result<()> {
    let (fleet, robot, first) =
        Fleet::with_robot("[health]\nsoak = \"15s\"\ndeadline = \"400s\"\n")?;
    on_a_small_disk(&robot)?;
    fleet.release(&fleet.toplevel("bad"))?;
    robot.until_status("the trial", |status| status["state"] == "trial")?;
    fill(&robot)?;
    robot.sh("surefoot rollback --why 'it grips badly'")?;
    robot.until_blocked("bad", &first)?;
    robot.sh(&format!("test ! -e {STATE}/reserve"))?;
    // What was given free goes as well, and what is written has a place.
    fill(&robot)?;
    robot.sh("systemctl restart surefootd.service")?;
    robot.until_blocked("bad", &first)?;
    let status = robot.status()?;
    assert!(
        status["noReserve"].is_string() && status["fault"].is_null(),
        "{status}"
    );
    robot.sh("! surefoot hold --why 'no room' 2>/tmp/said && grep -q 'No space left' /tmp/said")?;
    robot.sh("surefoot doctor --json >/tmp/doctor; grep -q 'way back on a full disk may fail' /tmp/doctor")?;
    robot.sh(&format!("rm {STATE}/fill"))?;
    until_reserve(&robot)?;
    let errors = robot.sh("journalctl -u surefootd -p err -q --no-pager | wc -l")?;
    assert!(
        errors.parse::<u32>()? < 20,
        "{errors} errors: {}",
        robot.journal()
    );
    Ok(())
}

#[test]
fn on_a_full_disk_a_hold_outlasts_a_reboot_and_the_way_back_is_written() -> Result<()> {
    let (fleet, mut robot, first) = Fleet::with_robot("")?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    on_a_small_disk(&robot)?;
    robot.sh("surefoot hold --for 1h --why 'arm inside a patient'")?;
    fill(&robot)?;
    // The small disk as it is now is there after the power cut, as full as it was.
    robot.sh(&format!(
        "cp -a {STATE} /var/small-disk
         units=/etc/systemd/system.control
         mkdir -p $units/surefootd.service.requires
         printf '[Unit]\\nBefore=surefootd.service\\n[Service]\\nType=oneshot\\nRemainAfterExit=yes\\nExecStart=/bin/sh -c \"mount -t tmpfs -o size=48M,mode=700 tmpfs {STATE} && cp -a /var/small-disk/. {STATE}\"\\n' \
           >$units/small-disk.service
         ln -s $units/small-disk.service $units/surefootd.service.requires/"
    ))?;
    robot.power_cycle()?;
    robot.sh(&format!("test $(stat -f -c %a {STATE}) = 0"))?;
    let holds = |status: &Value| status["holds"].to_string().contains("arm inside a patient");
    let status = robot.until_status("the hold to hold", holds)?;
    assert!(status["fault"].is_null(), "{status:#}");
    robot.stands_on(&second)?;
    // Its owner's way back is decided, written and done, and ends no hold.
    robot.sh("surefoot rollback --why 'it grips badly' --wait")?;
    robot.until_blocked("1.1", &first)?;
    let status = robot.status()?;
    assert!(holds(&status), "{status:#}");
    robot.sh("surefoot resume")?;
    robot.until_status("nobody to hold", |status| !holds(status))?;
    robot.sh("systemctl restart surefootd.service")?;
    robot.until_blocked("1.1", &first)?;
    assert!(!holds(&robot.status()?), "an ended hold is back");
    Ok(())
}

#[test]
fn on_a_full_disk_an_agent_that_does_not_run_rolls_back() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    on_a_small_disk(&robot)?;
    robot.sh("systemctl stop surefootd.service")?;
    fill(&robot)?;
    robot.sh("surefootd --rollback --why 'it grips badly'")?;
    robot.stands_on(&first)?;
    robot.sh("systemctl start surefootd.service")?;
    robot.until_blocked("1.1", &first)?;
    Ok(())
}

#[test]
fn what_failed_stays_blocked_over_a_loss_where_the_boot_partition_knows_it() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    robot.sh(
        "systemctl stop surefootd.service
         cp -a /boot /tmp/boot && mount -t tmpfs -o size=64M,mode=755 tmpfs /boot && cp -a /tmp/boot/. /boot
         systemctl start surefootd.service",
    )?;
    robot.until_confirmed(&first)?;
    fleet.release(&fleet.toplevel("bad").service("fails"))?;
    robot.until_blocked("bad", &first)?;
    // It is copied once a minute at most, and at each start.
    robot.sh("systemctl restart surefootd.service")?;
    robot.until("grep -q '\"bad\"' /boot/surefoot/essentials.*")?;
    robot.sh("! grep -r 'cannot find its motor' /boot/surefoot")?;
    robot
        .sh("surefoot doctor --json >/tmp/doctor; grep -q 'kept in /boot/surefoot' /tmp/doctor")?;
    // The disk forgets all but that.
    robot.sh(&format!(
        "systemctl stop surefootd.service
         cksum /boot/surefoot/* >/tmp/copy
         rm -r /nix/var/nix/gcroots/surefoot {STATE}/trust
         for slot in {STATE}/journal.0 {STATE}/journal.1; do echo rust >$slot; done
         systemctl start surefootd.service"
    ))?;
    robot.until_blocked("bad", &first)?;
    robot.sh(
        "surefoot doctor --json >/tmp/doctor; grep -q 'releases that failed in it: 1' /tmp/doctor",
    )?;
    // Somebody says go: what failed is not tried for that, and what was lost is known anew.
    let before = trials(&robot)?;
    robot.sh("cksum /boot/surefoot/* | cmp - /tmp/copy")?;
    let last = robot.status()?["lastCheck"]["when"].clone();
    robot.call("Update", &serde_json::json!({}))?;
    robot.until_status("another check", |status| {
        status["lastCheck"]["when"] != last && status["state"] == "idle"
    })?;
    assert_eq!(trials(&robot)?, before);
    let good = fleet.release(&fleet.toplevel("good"))?;
    robot.until_confirmed(&good)?;
    // A boot partition that takes nothing costs the copy alone.
    robot.sh("mount -o remount,ro /boot && surefoot status")?;
    robot.stands_on(&good)?;
    Ok(())
}

/// A boot partition of the robot's own, `/run/esp`, which is mounted, and a release that failed here, which is
/// known there.
fn with_a_copy(fleet: &Fleet, robot: &Robot, first: &str) -> Result<()> {
    robot.sh(
        "systemctl stop surefootd.service
         mkdir /run/esp && mount -t tmpfs -o size=64M,mode=755 tmpfs /run/esp && cp -a /boot/. /run/esp
         mount --bind /run/esp /boot
         systemctl start surefootd.service",
    )?;
    robot.until_confirmed(first)?;
    fleet.release(&fleet.toplevel("bad").service("fails"))?;
    robot.until_blocked("bad", first)?;
    robot.sh("systemctl restart surefootd.service")?;
    robot.until("grep -q '\"bad\"' /boot/surefoot/essentials.*")?;
    robot.sh("cksum /run/esp/surefoot/* >/tmp/copy")?;
    Ok(())
}

/// All that the agent ever wrote is gone, but what lies on the boot partition.
fn wipe(robot: &Robot) -> Result<()> {
    robot.sh(&format!(
        "systemctl stop surefootd.service
         rm -rf {STATE}/* /nix/var/nix/gcroots/surefoot"
    ))?;
    Ok(())
}

fn trials(robot: &Robot) -> Result<String> {
    robot.sh("journalctl --no-pager --quiet --unit 'surefoot-trial-*' | wc -l")
}

#[test]
fn a_state_directory_that_was_wiped_is_a_loss_and_never_costs_the_copy() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    with_a_copy(&fleet, &robot, &first)?;
    let before = trials(&robot)?;
    wipe(&robot)?;
    robot.sh("systemctl start surefootd.service")?;
    robot.until_blocked("bad", &first)?;
    robot.sh(
        "surefoot doctor --json >/tmp/doctor; grep -q 'releases that failed in it: 1' /tmp/doctor",
    )?;
    for _ in 0..2 {
        robot.sh("systemctl restart surefootd.service")?;
        robot.until_blocked("bad", &first)?;
    }
    robot.sh("cksum /run/esp/surefoot/* | cmp - /tmp/copy")?;
    assert_eq!(trials(&robot)?, before);
    let good = fleet.release(&fleet.toplevel("good"))?;
    robot.until_confirmed(&good)?;
    // What is known by then is all that was, and goes there.
    robot.until_blocked("bad", &good)?;
    robot.sh("systemctl restart surefootd.service")?;
    robot.until(&format!("grep -q '{good}' /boot/surefoot/essentials.*"))?;
    robot
        .sh("newest=$(ls -t /boot/surefoot/essentials.* | head -n 1); grep -q '\"bad\"' $newest")?;
    // One that cannot be kept up to date is said.
    robot.sh("mount -o remount,bind,ro /boot && systemctl restart surefootd.service")?;
    robot.until(
        "surefoot doctor --json >/tmp/doctor; grep -q 'is not kept up to date' /tmp/doctor",
    )?;
    Ok(())
}

#[test]
fn a_boot_partition_that_comes_late_is_read_before_it_is_written() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    with_a_copy(&fleet, &robot, &first)?;
    wipe(&robot)?;
    // Nothing is offered meanwhile.
    let (repository, aside) = (
        fleet.repository(),
        fleet.repository().with_extension("aside"),
    );
    std::fs::rename(&repository, &aside)?;
    robot.sh("umount /boot && systemctl start surefootd.service")?;
    robot.until_status("a first start, as it seems", |status| {
        status["confirmed"]["system"] == first.as_str()
            && status["blocked"] == serde_json::json!([])
    })?;
    robot.sh("mount --bind /run/esp /boot && systemctl restart surefootd.service")?;
    robot.until_blocked("bad", &first)?;
    let before = trials(&robot)?;
    std::fs::rename(&aside, &repository)?;
    robot.until_status("a good check", |status| {
        status["lastCheck"]["result"] != "failed" && !status["lastCheck"].is_null()
    })?;
    assert_eq!(trials(&robot)?, before);
    robot.sh("cksum /run/esp/surefoot/* | cmp - /tmp/copy")?;
    robot.sh(
        "surefoot doctor --json >/tmp/doctor; grep -q 'releases that failed in it: 1' /tmp/doctor",
    )?;
    Ok(())
}

#[test]
fn on_a_read_only_disk_the_agent_says_so_and_rolls_back() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    on_a_small_disk(&robot)?;
    robot.sh(&format!(
        "systemctl stop surefootd.service; mount -o remount,ro {STATE}; systemctl start surefootd.service"
    ))?;
    until_fault(&robot, "Read-only file system")?;
    let before = restarts(&robot)?;
    let third = fleet.release(&fleet.toplevel("1.2"))?;
    let update = robot.sh("surefoot update 2>&1; true")?;
    assert!(update.contains("Read-only file system"), "{update}");
    robot.sh("surefoot history | grep -q 1.1")?;
    robot.stands_on(&second)?;
    robot.sh("surefoot rollback --why 'it grips badly'")?;
    robot.until(&format!("test $(readlink /run/current-system) = {first}"))?;
    robot.until(
        "test $(readlink -f /nix/var/nix/profiles/system) = $(readlink -f /run/current-system)",
    )?;
    until_fault(&robot, "Read-only file system")?;
    robot.stands_on(&first)?;
    robot.sh("systemctl is-active surefootd.service")?;
    assert_eq!(restarts(&robot)?, before);
    // An agent that can remember again finds a switch by hand, and does nothing by surprise.
    robot.sh(&format!(
        "mount -o remount,rw {STATE}; systemctl restart surefootd.service"
    ))?;
    robot.until_status("the drift to be seen", |status| {
        !status["drift"].is_null() && status["fault"].is_null()
    })?;
    assert_ne!(robot.current()?, third);
    robot.stands_on(&first)?;
    Ok(())
}

#[test]
fn a_disk_that_becomes_read_only_does_not_keep_anybody_from_rolling_back() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    on_a_small_disk(&robot)?;
    robot.sh(&format!("mount -o remount,ro {STATE}"))?;
    robot.sh("surefoot rollback --why 'it grips badly'")?;
    robot.until(&format!("test $(readlink /run/current-system) = {first}"))?;
    until_fault(&robot, "Read-only file system")?;
    robot.stands_on(&first)?;
    Ok(())
}

#[test]
fn a_rollback_that_was_told_and_that_the_disk_does_not_take_is_said_and_ends_the_trial()
-> Result<()> {
    let (fleet, robot, first) =
        Fleet::with_robot("[health]\nsoak = \"15s\"\ndeadline = \"90s\"\n")?;
    on_a_small_disk(&robot)?;
    let point = "before-persist-told";
    set_fault_that(&robot, point, "stop")?;
    let second = fleet.release(&fleet.toplevel("2.0"))?;
    robot.until_status("the soak", |status| {
        status["state"] == "trial" && status["running"]["system"] == second.as_str()
    })?;
    robot.sh("surefoot rollback --why 'it drops things'")?;
    until_hit(&robot, point)?;
    let pid = "$(systemctl show --property=MainPID --value surefootd)";
    robot.sh(&format!("mount -o remount,ro {STATE}; kill -CONT {pid}"))?;
    until_fault(&robot, "Read-only file system")?;
    let status = robot.status()?;
    let said = status["unheard"].to_string();
    assert!(said.contains("may have been told"), "{status:#}");
    robot.sh(&format!("mount -o remount,rw {STATE}"))?;
    is_left_and_said(&robot, &first)
}

#[test]
fn a_journal_of_a_newer_format_is_left_alone_and_the_robot_can_be_rolled_back() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("")?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_confirmed(&second)?;
    on_a_small_disk(&robot)?;
    // Written as a newer agent would.
    robot.sh(&format!(
        r#"systemctl stop surefootd.service
         for slot in {STATE}/journal.0 {STATE}/journal.1; do
           counter=$(head -n 1 $slot | tr -s ' ' | cut -d' ' -f3)
           tail -n +2 $slot | sed 's/"spec": [0-9]*/"spec": 99/' >/tmp/body
           digest=$({{ echo $counter; cat /tmp/body; }} | sha256sum | cut -d' ' -f1)
           {{ echo "surefoot-journal-1 $digest $counter"; cat /tmp/body; }} >$slot
         done
         cksum {STATE}/journal.* >/tmp/before
         systemctl start surefootd.service"#
    ))?;
    until_fault(&robot, "format 99")?;
    let before = restarts(&robot)?;
    robot.sh("surefoot doctor --json >/tmp/doctor; grep -q 'format 99' /tmp/doctor")?;
    robot.stands_on(&second)?;
    fill(&robot)?;
    robot.sh("surefoot rollback --why 'it grips badly'")?;
    robot.until(&format!("test $(readlink /run/current-system) = {first}"))?;
    robot.sh(&format!("test ! -e {STATE}/reserve"))?;
    until_fault(&robot, "format 99")?;
    robot.stands_on(&first)?;
    robot.sh(&format!("cksum {STATE}/journal.* | cmp - /tmp/before"))?;
    assert_eq!(restarts(&robot)?, before);
    Ok(())
}

#[test]
fn a_full_disk_in_the_proof_is_no_fault_of_the_release() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot("[health]\nsoak = \"30s\"\ndeadline = \"400s\"\n")?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_status("the trial", |status| status["state"] == "trial")?;
    robot.until(&format!(
        "test $(readlink -f /run/current-system) = {second}"
    ))?;
    let proof = |before: &str, after: &str| {
        robot.sh(&format!(
            "{before}
             {{ surefootd --prove {second} 2>&1; echo \"ends with $?\"; }} || true
             {after}"
        ))
    };
    let full = "mount -t tmpfs -o size=64k tmpfs";
    let fill = |at: &str| format!("dd if=/dev/zero of={at}/fill bs=4k 2>/dev/null");
    assert!(proof("", "")?.ends_with("ends with 0"));
    let copies = proof(
        &format!(
            "mkdir /tmp/full; {full} /tmp/full; {}; export TMPDIR=/tmp/full",
            fill("/tmp/full")
        ),
        "umount /tmp/full",
    )?;
    assert!(
        copies.contains("No space left") && copies.ends_with("ends with 2"),
        "{copies}"
    );
    let nix = "/nix/var/nix";
    let filled = proof(
        &format!("{full} {nix}; {}", fill(nix)),
        &format!("umount {nix}"),
    )?;
    assert!(
        filled.contains("/nix/var/nix is full") && filled.ends_with("ends with 2"),
        "{filled}"
    );
    // With room there it would be its own.
    let empty = proof(
        &format!("mount -t tmpfs tmpfs {nix}"),
        &format!("umount {nix}"),
    )?;
    assert!(empty.ends_with("ends with 1"), "{empty}");
    Ok(())
}

#[test]
fn a_frozen_etc_without_a_free_block_closes_no_gate() -> Result<()> {
    let (fleet, robot, _) = Fleet::with_robot("")?;
    robot.sh(
        "mkdir /tmp/etc && mount -t tmpfs -o size=32M,mode=755 tmpfs /tmp/etc && cp -a /etc/. /tmp/etc
         dd if=/dev/zero of=/tmp/etc/fill bs=4k 2>/dev/null
         test $(stat -f -c %a /tmp/etc) = 0
         mount --bind /tmp/etc /etc",
    )?;
    // Where it can be written and is full, the robot waits.
    fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_status("the full disk", |status| {
        status["gates"].to_string().contains("/etc has")
    })?;
    robot.sh(
        "mount -o remount,bind,ro /etc; mount -o remount,ro /tmp/etc; surefoot update || true",
    )?;
    robot.until("surefoot history | grep tried")?;
    Ok(())
}

/// A file system whose server reads every request and never answers: who waits there cannot even be killed,
/// as on a disk that has died.
const DEAD: &str = r#"
open(my $fuse, "+<", "/dev/fuse") or die "no /dev/fuse: $!";
my $options = "fd=" . fileno($fuse) . ",rootmode=40000,user_id=0,group_id=0,allow_other";
my $mount = (`uname -m` =~ /x86_64/) ? 165 : 40;
my ($source, $target, $kind) = ("dead", "/boot", "fuse");
syscall($mount, $source, $target, $kind, 0, $options) == 0 or die "not mounted: $!";
sysread($fuse, my $init, 1 << 20);
my @limits = (7, 31, (0) x 4, 4096, (0) x 11);
syswrite($fuse, pack("L l a8 L4 S2 L2 S2 L8", 80, 0, substr($init, 8, 8), @limits));
while (sysread($fuse, my $unanswered, 1 << 20)) {}
"#;

/// The boot partition does not answer any more.
fn boot_dies(robot: &Robot) -> Result<()> {
    robot.sh(&format!(
        "test -e /dev/fuse || mknod /dev/fuse c 10 229
         cat >/run/dead.pl <<'END'{DEAD}END
         systemd-run --quiet --unit=dead perl /run/dead.pl"
    ))?;
    robot.until("grep -q '^dead /boot fuse' /proc/mounts")?;
    Ok(())
}

/// It is back.
fn boot_lives(robot: &Robot) -> Result<()> {
    robot.sh("systemctl stop dead; umount /boot")?;
    Ok(())
}

fn says_it_stalls(status: &Value) -> bool {
    status["stalls"].to_string().contains("boot partition")
}

#[test]
fn a_boot_partition_that_never_answers_keeps_an_update_waiting_and_not_the_agent() -> Result<()> {
    let (fleet, robot, first) = Fleet::with_robot("[gates]\ninterval = '1s'\n")?;
    // As on every robot but one in a container: what is mounted is seen in the agent's own namespace too.
    robot.sh("mount --make-rshared / && systemctl restart surefootd.service")?;
    robot.until_confirmed(&first)?;
    let before = restarts(&robot)?;
    boot_dies(&robot)?;
    let second = fleet.release(&fleet.toplevel("1.1"))?;
    robot.until_status("the stall to be said", says_it_stalls)?;
    robot.until_status("the release to wait for it", |status| {
        status["state"] == "ready" && status.to_string().contains("has not answered")
    })?;
    // The loop goes on: it feeds the watchdog, and whoever asks is answered.
    let fed = "systemctl show --property=WatchdogTimestampMonotonic --value surefootd.service";
    let last = robot.sh(fed)?;
    robot.until(&format!("test $({fed}) -gt {last}"))?;
    let doctor = robot.sh("surefoot doctor --json || true")?;
    assert!(doctor.contains("has not answered for"), "{doctor}");
    // Nothing piles up.
    let looks = robot.sh("grep -slz -e 'boot-[s]tep' /proc/[0-9]*/cmdline | wc -l")?;
    assert!(["0", "1"].contains(&looks.trim()), "{looks} looks hang");
    assert_eq!(restarts(&robot)?, before);
    boot_lives(&robot)?;
    robot.stands_on(&first)?;
    robot.until_confirmed(&second)?;
    robot.until_status("nothing to stall", |status| !says_it_stalls(status))?;
    assert_eq!(restarts(&robot)?, before);
    Ok(())
}

#[test]
fn a_way_back_goes_on_without_a_boot_partition_that_answers() -> Result<()> {
    let (fleet, robot, first) =
        Fleet::with_robot("[health]\nsoak = \"15s\"\ndeadline = \"400s\"\n")?;
    fleet.release(&fleet.toplevel("bad"))?;
    robot.until_status("the soak", |status| status["state"] == "trial")?;
    let runs = "readlink /run/current-system";
    robot.until(&format!("test $({runs}) != {first}"))?;
    boot_dies(&robot)?;
    robot.sh("surefoot rollback --why 'it grips badly'")?;
    robot.until(&format!("test $({runs}) = {first}"))?;
    robot.until_status("the release to be blocked", |status| {
        status["state"] == "idle" && status["blocked"].to_string().contains("bad")
    })?;
    boot_lives(&robot)?;
    robot.until_blocked("bad", &first)?;
    Ok(())
}
