"""The scenarios: each takes a Stage, does something terrible, and says where the robot must stand."""

import bisect
import json
import random
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from robot.disk import Entry
from robot.fleet import journal
from robot.robot import Restarted
from robot.stage import LIMIT, Failed, Stage, expect

# About how long a robot takes to get over a power cut on a machine that has nothing else to do, s.
RECOVERY = 25


class Scenario(NamedTuple):
    """What is done, on which boot loader; `trials`: how often, where that is left to chance."""

    play: Callable[[Stage], None]
    loader: str
    trials: int | None


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    name: str, loader: str = "systemd-boot", trials: int | None = None
) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:
    def register(play: Callable[[Stage], None]) -> Callable[[Stage], None]:
        SCENARIOS[name] = Scenario(play, loader, trials)
        return play

    return register


def interrupted_once(found: dict[str, Any], word: str) -> None:
    """One trial, and only one, ended without a verdict, for this reason."""
    why = [r.get("why") or "" for r in found["history"] if r["what"] == "interrupted"]
    expect(len(why) == 1 and word in why[0], f"it was not noticed: {found['history']}")


@scenario("grub-confirm", loader="grub")
@scenario("boot-confirm")
def boot_confirm(stage: Stage) -> None:
    """Another kernel: booted once, proven, confirmed."""
    b = stage.update()
    stage.confirms(b)
    stage.stands_on(b)
    expect(stage.robot.sh("readlink -f /run/booted-system") == b, "it was not booted")
    expect(stage.robot.boots == 1, f"{stage.robot.boots} boots instead of one")
    expect(not stage.ails(), f"the doctor finds {stage.ails()}")


@scenario("grub-panic", loader="grub")
@scenario("kernel-panic")
def kernel_panic(stage: Stage) -> None:
    """The new system crashes its kernel: panic= reboots into the one before."""
    evidence = stage.goes_back("panic", service="panics")
    expect(any("sysrq" in line.lower() for line in evidence["log"]), f"no last words: {evidence}")


@scenario("health-fails")
def health_fails(stage: Stage) -> None:
    """A unit of the new system fails: the agent in it goes back, and nothing of it stays in the menu. The
    spare entry has copies of its own of what it starts."""
    evidence = stage.goes_back("unhealthy", service="fails")
    started = stage.robot.sh(
        "sed -n 's/^options init=\\([^ ]*\\)\\/init.*/\\1/p' /boot/loader/entries/*.conf | sort -u"
    )
    expect(started.split() == [stage.a], f"the menu has {started.split()}")
    own = "cd /boot && grep -l '/EFI/surefoot/' loader/entries/*.conf && ls EFI/surefoot"
    expect(len(stage.robot.sh(own).split()) == 3, "the spare entry has no kernel and initrd of its own")
    expect("cannot find its motor" in json.dumps(evidence), f"no evidence: {evidence}")


@scenario("oneshot-lost")
def oneshot_lost(stage: Stage) -> None:
    """The firmware forgets the one-shot: told apart from a crash, and tried again."""
    b = stage.generation("b", kernel="2")
    robot = stage.enter()
    # The variable goes away in the last moment: after the agent has read it back.
    robot.put(
        "/run/systemd/system/forget.service",
        (
            "[Unit]\nDefaultDependencies=no\nBefore=final.target\nAfter=umount.target\n"
            "[Service]\nType=oneshot\n"
            "ExecStart=/bin/sh -c 'PATH=/run/current-system/sw/bin:$PATH;"
            " chattr -i /sys/firmware/efi/efivars/LoaderEntryOneShot-*;"
            " rm -f /sys/firmware/efi/efivars/LoaderEntryOneShot-*'\n"
        ),
    )
    robot.sh(
        "mkdir -p /run/systemd/system/final.target.wants && "
        "ln -s ../forget.service /run/systemd/system/final.target.wants/ && systemctl daemon-reload"
    )
    stage.publish(b)
    found = stage.confirms(b)
    stage.stands_on(b)
    interrupted_once(found, "one-shot was lost")


@scenario("pid1-freeze")
def pid1_freeze(stage: Stage) -> None:
    """PID 1 of the new system stops: the hardware watchdog resets the robot."""
    stage.goes_back("watchdog", service="freezes")
    expect(stage.watchdog_fired(), "it was not the watchdog")


@scenario("init-hang")
def init_hang(stage: Stage) -> None:
    """The new system hangs before systemd: the watchdog was armed in the initrd."""
    stage.goes_back("watchdog", stage2="hangs")
    expect(stage.watchdog_fired(), "it was not the watchdog")


@scenario("init-panic")
def init_panic(stage: Stage) -> None:
    """The new system's init ends at once: the kernel panics before anything can be written."""
    stage.goes_back("panic", "interrupted", stage2="panics")


@scenario("grub-power-cut", loader="grub", trials=3)
@scenario("power-cut", trials=3)
def power_cut(stage: Stage) -> None:
    """The power goes at random moments between publication and commit, and what was not flushed is
    lost. Every write of one update is recorded; each trial starts from what a cut somewhere in it
    leaves, with often another cut while the robot recovers: each time a proven system runs, or the
    next one on trial, the agent is there, and what was proven is whole. In the end, looked at after
    the first, the last and every sixteenth, the robot is where the fleet wants it."""
    chance = random.Random(stage.seed)
    a, b = stage.a, stage.generation("b", kernel="2")
    log: list[Entry] = []
    stage.plug_in(chance, record=log)
    stage.settles("idle", lambda j: j["confirmed"]["system"] == a)
    start = len(log)
    stage.publish(b)
    stage.confirms(b)
    stage.stands_on(b)
    begun, ended = log[start].at, log[-1].at
    # The firmware's variables are written in thousands of steps, the disk in hundreds.
    writes = [n for n in range(start, len(log)) if log[n].disk == stage.disk.name]
    cuts = lost = 0
    for trial in range(stage.trials):
        # By turns after a write of the disk, which come in swarms, and at a moment of the time.
        if trial % 2:
            moment = bisect.bisect(log, chance.uniform(begun, ended), start, key=lambda entry: entry.at)
        else:
            moment = chance.choice(writes) + 1
        where = (
            f"trial {trial}, cut after {log[moment - 1].at - begun:.1f} s and {bisect.bisect(writes, moment - 1)} "
            f"of {len(writes)} writes"
        )
        robot = stage.plug_in(chance, replay=log[:moment])
        cuts += 1
        if chance.random() < 0.3:
            later = chance.uniform(0, RECOVERY)
            where += f", and {later:.1f} s after the next start"
            robot.run_for(later)
            robot.cut_power()
            robot.start()
            robot.wait_boot()
            cuts += 1
        lost += stage.disk.lost
        proven(stage, where, a, b)
        print(f"       {where}: well", file=sys.stderr, flush=True)
        if trial == stage.trials - 1 or trial % 16 == 0:
            stage.confirms(b)
            stage.stands_on(b)
    stage.times.update({"cuts": cuts, "sectors lost": lost})


def proven(stage: Stage, where: str, a: str, b: str) -> None:
    """After a power cut in an update from a to b."""
    robot = stage.robot
    for _ in range(5):
        try:
            # Asked once, from within: asking costs an emulated processor more than waiting.
            robot.sh("until mountpoint -q /boot && systemctl is-active --quiet surefootd; do sleep 1; done", LIMIT)
            running = robot.sh("readlink -f /run/current-system")
            following = (stage.next_boot().splitlines() or ["nothing"])[-1]
            found = journal(robot)
            robot.sh(f"nix-store --check-validity $(nix-store --query --requisites {a})", 300)
            break
        except Restarted:
            pass  # it goes on with its trial
    else:
        raise Failed(f"{where}: it restarts again and again")
    committing = found["state"]["name"] == "committing" or found["confirmed"]["system"] == b
    expect(running in (a, b), f"{where}: {running} runs")
    expect(
        following == a or (following == b and committing),
        f"{where}: the next boot is {following}, {found['confirmed']} is confirmed, {found['state']}",
    )


@scenario("agent-missing")
def agent_missing(stage: Stage) -> None:
    """The new system has no agent: refused. One whose agent never starts comes back."""
    without = stage.generation("without", kernel="2", agent="missing")
    dead = stage.generation("dead", kernel="2", agent="broken")
    robot = stage.enter()
    stage.publish(without)
    evidence = stage.blocks(without)
    expect(evidence["cause"] == "unfit", f"the cause is {evidence}")
    expect(robot.boots == 0, "it was booted")
    stage.publish(dead)
    evidence = stage.blocks(dead)
    expect(evidence["cause"] == "deadline", f"the cause is {evidence}")
    stage.stands_on(stage.a)


@scenario("agent-crash-loop")
def agent_crash_loop(stage: Stage) -> None:
    """The new system's agent crashes again and again: the boot's deadline ends it."""
    stage.goes_back("deadline", agent="broken")


@scenario("reboot-hangs")
def reboot_hangs(stage: Stage) -> None:
    """The deadline's reboot hangs, since a unit will not stop: a second one does not ask."""
    stage.goes_back("deadline", agent="broken", service="clings")


@scenario("twice")
def twice(stage: Stage) -> None:
    """A to B to C, each by a boot, then back two deep."""
    b = stage.generation("b", kernel="2")
    c = stage.generation("c", kernel="3")
    robot = stage.enter()
    stage.publish(b)
    stage.confirms(b)
    stage.publish(c)
    stage.confirms(c)
    found = stage.stands_on(c)
    expect([g["system"] for g in found["fallbacks"]] == [b, stage.a], f"{found['fallbacks']}")
    for target in (b, stage.a):
        call = json.dumps({"why": "the test goes back", "to": target})
        robot.sh(f"varlinkctl call /run/surefoot/control.socket io.surefoot.Agent.Rollback '{call}'")
        stage.confirms(target)
    stage.stands_on(stage.a)


@scenario("downgrade")
def downgrade(stage: Stage) -> None:
    """To B, and by a new release to A again: an ordinary update."""
    b = stage.generation("b", kernel="2")
    stage.enter()
    stage.publish(b)
    stage.confirms(b)
    stage.publish(stage.a)
    stage.confirms(stage.a)
    found = stage.stands_on(stage.a)
    expect(found["fallbacks"][0]["system"] == b, f"{found['fallbacks']}")


@scenario("reboot-needed")
def reboot_needed(stage: Stage) -> None:
    """Kernel, initrd and parameters, each alone, lead to a boot; nothing of them, to none."""
    robot = stage.enter()
    for name, changes in (
        ("kernel", {"kernel": "2"}),
        ("initrd", {"initrd": "2"}),
        ("params", {"params": "rig.other=1"}),
    ):
        # Each against what was confirmed before, from which it differs in two parts at most.
        toplevel = stage.generation(name, **changes)
        boots = robot.boots
        stage.publish(toplevel)
        stage.confirms(toplevel)
        stage.stands_on(toplevel)
        expect(robot.boots == boots + 1, f"{name}: {robot.boots - boots} boots instead of one")
    live = stage.generation("live", params="rig.other=1", service="none")
    boots = robot.boots
    stage.publish(live)
    stage.confirms(live)
    expect(robot.boots == boots, "rebooted although nothing asked for it")


@scenario("entry-names")
def entry_names(stage: Stage) -> None:
    """Boot entries named by their content, as from NixOS 26.11 on, with and without counted tries."""
    stage.enter()
    for number, arguments in enumerate(
        ({"entryNames": "hash"}, {"entryNames": "hash", "bootTries": "3"}, {"bootTries": "2"})
    ):
        toplevel = stage.generation(f"n{number}", kernel=str(number + 2), **arguments)
        stage.publish(toplevel)
        stage.confirms(toplevel)
        expect(stage.next_boot() == toplevel, f"{arguments}: the next boot is {stage.next_boot()}")


@scenario("live-confirm")
def live_confirm(stage: Stage) -> None:
    """Nothing asks for a boot: tried beside what runs, proven, confirmed."""
    b = stage.update(kernel="1")
    stage.confirms(b)
    stage.stands_on(b)
    expect(stage.robot.boots == 0, "rebooted although nothing asked for it")
    expect("(b)" in stage.robot.sh("systemctl show --property=Description robot"), "robot.service is another's")


@scenario("live-fails")
def live_fails(stage: Stage) -> None:
    """A unit fails in a live trial: back to what ran, without a boot."""
    evidence = stage.goes_back("unhealthy", "switch", kernel="1", service="fails")
    expect("cannot find its motor" in json.dumps(evidence), f"no evidence: {evidence}")
    expect(stage.robot.boots == 0, "rebooted although nothing asked for it")


@scenario("live-freeze")
def live_freeze(stage: Stage) -> None:
    """A live trial stops PID 1: the watchdog resets the robot, and the loader starts what was."""
    stage.update(kernel="1", service="freezes")
    stage.settles("back", lambda j: j["history"][-1]["what"] in ("interrupted", "reverted"))
    expect(stage.watchdog_fired(), "it was not the watchdog")
    expect(stage.robot.sh("readlink -f /run/current-system") == stage.a, "it does not run a")


@scenario("health-hangs")
def health_hangs(stage: Stage) -> None:
    """The new system never finishes starting: the deadline ends it."""
    stage.goes_back("deadline", service="silent", startTimeout="infinity")


@scenario("no-fallback")
def no_fallback(stage: Stage) -> None:
    """No loader that can start a system once, and that accepted: what is not healthy goes back by
    itself, what is healthy is kept."""
    bad = stage.generation("bad", kernel="3", service="fails")
    b = stage.generation("b", kernel="2")
    robot = stage.enter()
    robot.put("/etc/surefoot/config.d/boot.toml", '[boot]\nloader = "none"\naccept_no_fallback = true\n')
    robot.sh("systemctl restart surefootd", 120)
    stage.publish(bad)
    evidence = stage.blocks(bad)
    expect(evidence["cause"] == "unhealthy", f"the cause is {evidence}")
    stage.stands_on(stage.a)
    expect(robot.boots == 2, f"{robot.boots} boots instead of two")
    stage.publish(b)
    stage.confirms(b)
    stage.stands_on(b)


# What makes a boot necessary, and is not to be fetched.
BOOTED = "rig.new=1"

# How long a system may take to reach the repository, where a scenario waits for the end of that.
SHORT = '[health]\ndeadline = "100s"\n'


def configure(stage: Stage, text: str) -> None:
    """The robot's own configuration, which every generation finds there."""
    stage.robot.put("/etc/surefoot/config.d/rig.toml", text)
    stage.robot.sh("sync; systemctl restart surefootd", 120)


@scenario("network-lost")
def network_lost(stage: Stage) -> None:
    """The new system has no network, and the one before has: it could not fetch its successor, and is not kept."""
    b = stage.generation("b", params=BOOTED, service="offline")
    stage.enter()
    configure(stage, SHORT + "[trial]\nattempts = 1\n")
    stage.publish(b)
    evidence = stage.blocks(b)
    expect(evidence["cause"] == "deadline", f"the cause is {evidence}")
    expect("manifest server" in json.dumps(evidence["failures"]), f"no evidence: {evidence}")
    stage.stands_on(stage.a)
    expect(stage.robot.boots == 2, f"{stage.robot.boots} boots instead of two")


# A gate that keeps a robot which has booted a release on trial where it is, until somebody says otherwise.
STAYS = """[[gates.command]]
name = "docked"
stages = ["reboot"]
exec = ["/bin/sh", "-c", "! grep -q rig.new /proc/cmdline || test -e /run/docked"]
"""


def loses_link(stage: Stage, more: str = "") -> str:
    """A robot that boots a release on trial, and whose cable is pulled out before the release has begun to
    run; gives its toplevel."""
    b = stage.generation("b", params=BOOTED)
    robot = stage.enter()
    configure(stage, SHORT + more)
    stage.publish(b)
    robot.wait_reset(LIMIT)
    robot.link(False)
    robot.wait_boot(LIMIT)
    return b


def blames_nobody(found: dict[str, Any], *happened: str) -> None:
    """This happened last, and no release is blocked for it."""
    history = [each["what"] for each in found["history"]][-len(happened) :]
    expect(history == list(happened), f"this happened: {found['history']}")
    expect(not found["blocked"], f"it is blocked: {found['blocked']}")


@scenario("link-lost")
def link_lost(stage: Stage) -> None:
    """The robot's cable is pulled out while it boots a release on trial, for good. The new system is as good
    as the one before, other than in network-lost: neither reaches anything. Nothing is blamed, at the deadline
    neither; the robot goes back once a gate of its reboot is open, and the release is not blocked there."""
    b = loses_link(stage, "[trial]\nattempts = 1\n" + STAYS)
    robot = stage.robot
    stage.waits_because("nothing is held against the release")
    stage.waits_because("docked")
    expect(robot.boots == 1 and robot.sh("readlink -f /run/current-system") == b, "it did not wait for its gate")
    robot.sh("touch /run/docked")
    robot.wait_boot(LIMIT)
    stage.settles("back", lambda j: bool(j["suspect"]))
    # It has asked in vain there, and goes on asking.
    stage.waits_because("10.0.2.100")
    blames_nobody(stage.stands_on(stage.a), "reverted")
    expect(robot.boots == 2, f"{robot.boots} boots instead of two")


@scenario("link-returns")
def link_returns(stage: Stage) -> None:
    """The same, and the cable is back once the system before runs again: that reaches the repository, so the
    release is doubted once, gets another trial, and is confirmed."""
    b = loses_link(stage)
    robot = stage.robot
    robot.wait_reset(LIMIT)
    robot.link(True)
    found = stage.confirms(b)
    blames_nobody(found, "reverted", "doubted", "tried", "confirmed")
    stage.stands_on(b)
    expect(robot.boots == 3, f"{robot.boots} boots instead of three")


@scenario("orphan")
def orphan(stage: Stage) -> None:
    """Releases of another model's system, which would leave the robot where nothing is for it, and which need
    a boot: one that nobody meant is not booted; one that is meant goes back, since its own agent finds no
    release there. Both are blocked with what they did."""
    crane = stage.fleet.etc("crane", {"surefoot/config.d/60-fleet.toml": 'model = "crane"\n'})
    slip = stage.generation("slip", etc=crane, params=BOOTED)
    moved = stage.generation("moved", etc=crane, params=f"{BOOTED} rig.moved=1")
    robot = stage.enter()
    stage.publish(slip)
    evidence = stage.blocks(slip)
    expect(evidence["cause"] == "unfit", f"the cause is {evidence}")
    expect("model 'crane' instead of 'robot'" in json.dumps(evidence), f"it is not named: {evidence}")
    expect(robot.boots == 0, "it was booted")
    stage.publish(moved, "--moves")
    evidence = stage.blocks(moved)
    named = [failure["check"] for failure in evidence["failures"]]
    expect(evidence["cause"] == "unhealthy" and "agent" in named, f"it is blamed for {evidence}")
    expect("crane" in json.dumps(evidence), f"it is not named: {evidence}")
    stage.stands_on(stage.a)
    expect(robot.boots == 2, f"{robot.boots} boots instead of two")


# Units of the robot's own, which every generation finds there: a lamp that nobody has repaired yet, and an
# arm that moves unless the kernel has a parameter.
UNITS = {
    "lamp": "Type=oneshot\nExecStart=/bin/sh -c 'echo the lamp is broken >&2; exit 1'",
    "arm": "ExecStart=/bin/sh -c 'grep -q rig.other /proc/cmdline || exec sleep infinity'",
}


@scenario("baseline")
def baseline(stage: Stage) -> None:
    """What failed before a boot on trial is not held against it, and what ran before and does not run
    any more is."""
    without = stage.generation("without", params="rig.other=1")
    b = stage.generation("b", params=BOOTED)
    robot = stage.enter()
    units = "/usr/local/lib/systemd/system"
    for name, service in UNITS.items():
        robot.put(f"{units}/{name}.service", f"[Service]\n{service}\n")
        robot.sh(f"ln -s ../{name}.service {units}/multi-user.target.wants/")
    robot.sh("sync; systemctl daemon-reload; systemctl start arm; ! systemctl start lamp")
    stage.publish(without)
    evidence = stage.blocks(without)
    expect(evidence["cause"] == "unhealthy", f"the cause is {evidence}")
    named = [failure["check"] for failure in evidence["failures"]]
    expect(named == ["unit arm.service"], f"it is blamed for {named}")
    stage.stands_on(stage.a)
    stage.publish(b)
    found = stage.confirms(b)
    stage.stands_on(b)
    expect(robot.run("systemctl is-failed lamp")[1] == "failed", "the lamp is not broken")
    expect([each["system"] for each in found["blocked"]] == [without], f"{found['blocked']}")


# A server that gives the robot's own time, what asks it, and what asks nobody. None of them has the kernel
# set the hardware clock (`rtcsync`), which is all that would clear the kernel's flag.
CHRONY = {
    "server": "local stratum 8\nallow 127.0.0.1\nbindaddress 127.0.0.1\n",
    "client": "server 127.0.0.1 iburst minpoll 0 maxpoll 2\nport 0\n",
    "alone": "port 0\n",
}


@scenario("chrony")
def chrony(stage: Stage) -> None:
    """Clocks that chronyd and systemd-timesyncd keep, as Debian has them, are trusted, with chronyd whatever
    the kernel's flag says; the clock of a chronyd that has no server is not."""
    robot = stage.enter()

    def trusted(worth: str) -> None:
        stage.waits_because(f'"clock" *: *"{worth}"')

    def start(name: str, options: str = "") -> None:
        each = f"cmdport 0\nbindcmdaddress /\npidfile /run/chrony-{name}.pid\n"
        robot.put(f"/run/chrony-{name}.conf", CHRONY[name] + each)
        robot.sh(f"systemd-run --unit=chrony-{name} chronyd -d -u root {options} -f /run/chrony-{name}.conf")

    trusted("unsynced")
    start("server", "-x")  # it leaves the clock alone
    start("client")
    trusted("trusted")
    expect("UNSYNC" in robot.sh("busybox adjtimex"), "something else keeps the clock")
    robot.sh("systemctl stop chrony-client")
    start("alone")
    trusted("unsynced")
    robot.sh("systemctl stop chrony-alone")
    robot.sh("systemd-sysusers --inline 'u systemd-timesync -'; systemctl reload dbus")
    robot.put("/etc/systemd/timesyncd.conf", "[Time]\nNTP=127.0.0.1\n")
    directories = "-p RuntimeDirectory=systemd/timesync -p StateDirectory=systemd/timesync"
    robot.sh(f"systemd-run --unit=timesync {directories} /usr/lib/systemd/systemd-timesyncd")
    trusted("trusted")


@scenario("esp-full")
def esp_full(stage: Stage) -> None:
    """The boot partition has no room: nothing is touched, and it goes on once there is."""
    b = stage.generation("b", kernel="2")
    robot = stage.enter()
    robot.run("dd if=/dev/zero of=/boot/ballast bs=1M; sync")
    stage.publish(b)
    stage.waits_because("boot partition has")
    expect(robot.boots == 0 and stage.next_boot() == stage.a, "something was touched")
    robot.sh("rm /boot/ballast; sync")
    stage.confirms(b)
    stage.stands_on(b)


@scenario("kernel-torn")
def kernel_torn(stage: Stage) -> None:
    """A power cut left half a kernel on the boot partition: noticed before it is started."""
    b = stage.generation("b", kernel="2")
    kernel = stage.fleet.kernel(b)
    robot = stage.enter()
    robot.sh(f"echo half >/boot/EFI/nixos/{kernel}.efi; sync")
    stage.publish(b)
    found = stage.confirms(b)
    stage.stands_on(b)
    interrupted_once(found, "not the whole")
    expect(robot.boots == 1, f"{robot.boots} boots instead of one")


@scenario("entry-lost")
def entry_lost(stage: Stage) -> None:
    """What a power cut may leave of NixOS' installer at its worst: the default's entry is empty, and
    so is every other of NixOS. The spare entry comes up, and the update goes on as ever."""
    b = stage.generation("b", kernel="2")
    robot = stage.enter()
    robot.until(SPARE, 120)
    robot.sh(
        "cd /boot/loader && for entry in entries/nixos-*; do : >$entry; done && : >loader.conf.tmp && sync"
        " && systemctl reboot"
    )
    robot.wait_boot()
    selected = robot.sh("cat /sys/firmware/efi/efivars/LoaderEntrySelected-* | tr -d '\\0'")
    expect("surefoot.conf" in selected, f"{selected!r} was started")
    expect(robot.sh("readlink -f /run/current-system") == stage.a, "another system runs")
    stage.publish(b)
    stage.confirms(b)
    stage.stands_on(b)


# Zeroes the middle of the sectors that hold nothing but the files of that name.
TEAR = """
import os
disk = os.open("/dev/vda1", os.O_RDWR | os.O_SYNC)
end, step, torn = os.lseek(disk, 0, os.SEEK_END), 1 << 20, []
for at in range(0, end, step):
    piece = os.pread(disk, step, at)
    torn += [at + n for n in range(0, step, 512) if piece[n:n + 512].count(b"t\\0o\\0r\\0n\\0") == 8]
os.pwrite(disk, bytes(512), torn[len(torn) // 2])
"""


# Its name depends on the default.
SPARE = "grep -qs 'spare entry' /boot/loader/entries/*.conf"


@scenario("esp-torn")
def esp_torn(stage: Stage) -> None:
    """A power cut lost a sector in the middle of a directory on the boot partition, and Linux made it
    read-only: checked and mended, which the check of FAT alone does not do."""
    b = stage.generation("b", kernel="2")
    robot = stage.enter()
    robot.until(SPARE, 120)
    robot.put("/run/tear.py", TEAR)
    robot.sh(
        "cd /boot/loader/entries && for n in $(seq 10 59); do echo >torn-$n.conf; done && cd / && sync"
        " && umount /boot && python3 /run/tear.py && systemctl start boot.mount"
    )
    # As Linux does once it comes across what was torn.
    robot.sh("mount -o remount,ro /boot")
    # What it says before the trial's boot is gone after it.
    robot.sh("systemd-run --unit=keep-log sh -c 'journalctl -f -o cat >/var/tmp/said'")
    stage.publish(b)
    stage.confirms(b)
    stage.stands_on(b)
    robot.sh("grep '16 entries of torn directories were marked' /var/tmp/said")


@scenario("memory-lost")
def memory_lost(stage: Stage) -> None:
    """The agent's own files are wiped: what failed is known from the copy on the boot partition (FAT). It is
    written in its place, where the partition is full too, and read before it is written over."""
    b = stage.generation("b", service="fails")
    robot = stage.enter()
    robot.until(SPARE, LIMIT)
    expect(robot.sh("findmnt -no FSTYPE /boot") == "vfat", "the boot partition is not FAT")
    stage.publish(b)
    stage.blocks(b)
    copied = f"grep -qs {b} /boot/surefoot/essentials.0 /boot/surefoot/essentials.1"
    robot.sh("systemctl restart surefootd", LIMIT)  # it is copied once a minute, and at each start
    robot.until(copied, LIMIT)
    # Damage is mended in its place, which a full partition has room for. FAT says of no file where it lies.
    where = "sync /boot; dd if=/dev/vda1 iflag=direct bs=1M status=none | grep -abo surefoot-essentials-1"
    places = robot.sh(where, 300)
    expect(len(places.splitlines()) == 2, f"the copy lies at {places}")
    robot.sh("dd if=/dev/zero of=/boot/fill bs=64k; dd if=/dev/zero of=/boot/fill2 bs=512; sync /boot; true", LIMIT)
    robot.sh("test $(stat -f -c %a /boot) = 0; printf rust | dd of=/boot/surefoot/essentials.0 conv=notrunc seek=9")
    robot.sh("systemctl restart surefootd", LIMIT)
    robot.until("! grep -qs rust /boot/surefoot/essentials.0", LIMIT)
    robot.sh("systemctl stop surefootd; rm /boot/fill /boot/fill2; sync /boot", LIMIT)
    expect(places == robot.sh(where, 300), "the copy was not written in its place")
    # The disk forgets all but that, and the boot partition comes late.
    robot.sh(
        "cksum /boot/surefoot/* >/var/tmp/copy; umount /boot;"
        " rm -rf /var/lib/surefoot/* /nix/var/nix/gcroots/surefoot; systemctl start surefootd",
        LIMIT,
    )
    stage.blocks(b)
    stage.stands_on(stage.a)
    robot.sh("cksum /boot/surefoot/* | cmp - /var/tmp/copy")
    lost = journal(robot)["lost"]["why"]
    expect("releases that failed in it: 1" in lost, f"it is not said: {lost}")
    # Whatever a power cut leaves of one slot, the other is as good.
    robot.sh("systemctl stop surefootd; rm -rf /var/lib/surefoot/* /nix/var/nix/gcroots/surefoot", LIMIT)
    robot.sh("truncate -s 0 /boot/surefoot/essentials.0; sync /boot; systemctl start surefootd", LIMIT)
    stage.settles("seen", lambda j: bool(j["lost"].get("seen")))
    c = stage.generation("c", kernel="2")
    stage.publish(c)
    stage.confirms(c)
    stage.stands_on(c)
    stage.blocks(b)


@scenario("boot-unmounted")
def boot_unmounted(stage: Stage) -> None:
    """The boot partition is not mounted, as after a boot that its disk came too late for: the agent
    mounts it, when it starts and before a trial."""
    b = stage.generation("b", kernel="2")
    robot = stage.enter()
    robot.until(SPARE, 120)
    robot.sh("umount /boot && systemctl restart surefootd")
    robot.until("mountpoint -q /boot", 120)
    robot.sh("umount /boot")
    stage.publish(b)
    stage.confirms(b)
    stage.stands_on(b)


@scenario("lease-busy")
def lease_busy(stage: Stage) -> None:
    """The robot's software says that it is busy: no reboot until it says that it is not, and a restart of
    the agent makes no difference."""
    b = stage.generation("b", kernel="2")
    robot = stage.enter()

    def say(method: str, parameters: dict[str, object]) -> None:
        call = json.dumps({"name": "gripper", **parameters})
        robot.sh(f"varlinkctl call /run/surefoot/control.socket io.surefoot.Agent.{method} '{call}'")

    say("Lease", {"busy": True, "seconds": 3600, "why": "a crate"})
    stage.publish(b)
    stage.waits_because("busy: a crate")
    robot.sh("systemctl restart surefootd")
    stage.waits_because("busy: a crate")
    expect(robot.boots == 0 and stage.next_boot() == stage.a, "something was touched")
    say("EndLease", {})
    stage.confirms(b)
    stage.stands_on(b)


@scenario("grub-unreadable", loader="grub")
@scenario("unreadable")
def unreadable(stage: Stage) -> None:
    """The new system's kernel is gone when the loader wants it: what was runs again, and the release
    gets another trial."""
    b = stage.generation("b", kernel="2")
    kernel = stage.fleet.kernel(b)
    robot = stage.enter()
    # In the last moment: the agent reads it back before.
    robot.put(
        "/run/systemd/system/unreadable.service",
        (
            "[Unit]\nDefaultDependencies=no\nRequiresMountsFor=/boot\nAfter=boot.mount\n"
            "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
            f"ExecStop=/bin/sh -c 'rm -f /boot/*/{kernel} /boot/EFI/nixos/{kernel}.efi; sync'\n"
        ),
    )
    robot.sh("systemctl daemon-reload && systemctl start unreadable")
    stage.publish(b)
    found = stage.confirms(b)
    stage.stands_on(b)
    # systemd-boot passes over an entry whose kernel is not there; GRUB has taken the one-shot by then.
    interrupted_once(found, "without a trace" if stage.base.loader == "grub" else "did not start it")
    expect(robot.boots == 2, f"{robot.boots} boots instead of two")


@scenario("efi-readonly")
def efi_readonly(stage: Stage) -> None:
    """The firmware's variables cannot be written: said before anything is touched."""
    b = stage.generation("b", kernel="2")
    robot = stage.enter()
    robot.sh("mount -o remount,ro /sys/firmware/efi/efivars")
    stage.publish(b)
    stage.waits_because("variables")
    expect(any("variables" in f["what"] for f in stage.ails()), f"the doctor finds {stage.ails()}")
    expect(robot.boots == 0 and stage.next_boot() == stage.a, "something was touched")
    robot.sh("mount -o remount,rw /sys/firmware/efi/efivars")
    stage.confirms(b)
    stage.stands_on(b)
