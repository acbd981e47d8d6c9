"""Where scenarios happen: a robot that has proven its system, the fleet that it follows, and what must hold."""

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from robot.disk import Disk, Entry
from robot.fleet import Fleet, journal
from robot.robot import SLOWNESS, Restarted, Robot, new_variables, tool

# How long an update may take from the publication to its end, s.
LIMIT = 900 * SLOWNESS


class Failed(Exception):
    """A promise was not kept."""


def expect(good: object, what: str) -> None:
    if not good:
        raise Failed(what)


class Base:
    """A robot that runs generation a, confirmed; off, with a snapshot `ready` of it running."""

    def __init__(self, fleet: Fleet, directory: str, loader: str) -> None:
        self.directory, self.loader = directory, loader
        self.toplevel = fleet.generation("a", loader=loader)
        image = fleet.image(self.toplevel, loader)
        shutil.rmtree(directory, ignore_errors=True)
        robot = Robot(directory, image, server=fleet.address)
        try:
            robot.start()
            robot.wait_boot()
            if robot.run("test -e /etc/surefoot/root.json")[0] != 0:  # a stand-in's, which is the same for every fleet
                robot.put("/etc/surefoot/root.json", fleet.anchor)
                robot.sh("sync; systemctl restart surefootd", 120)
            robot.until("grep -q '\"confirmed\": {' /var/lib/surefoot/journal.[01]")
            robot.settled()
            robot.sh("sync")
            robot.save("ready")
            self.boot = robot.boot
        except BaseException:
            print(robot.run("journalctl -b --no-pager -n 60")[1], file=sys.stderr)
            raise
        finally:
            robot.cut_power()


class Stage:
    """A robot that runs the confirmed generation a, and the fleet that it follows."""

    def __init__(self, fleet: Fleet, directory: str, base: Base, seed: int, trials: int = 1) -> None:
        self.fleet, self.directory, self.base = fleet, directory, base
        self.seed, self.trials = seed, trials
        self.plugged: Robot | None = None
        self.started = time.monotonic()
        # Seconds since the last publication: when systems came up.
        self.up: list[float] = []
        # The same: when it was proven or blocked; and what else a scenario counts.
        self.times: dict[str, float] = {}

    @property
    def robot(self) -> Robot:
        assert self.plugged, "it enters, or is plugged in, first"
        return self.plugged

    def enter(self) -> Robot:
        """The robot, on and idle: out of a snapshot."""
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.directory)
        for name in ("disk.qcow2", "flash.qcow2"):
            shutil.copy(f"{self.base.directory}/{name}", f"{self.directory}/{name}")
        self.plugged = Robot(self.directory, None, server=self.fleet.address)
        self.robot.start("ready")
        self.robot.boot = self.base.boot
        self.robot.sh("true")
        return self.robot

    def plug_in(self, chance: random.Random, record: list[Entry] | None = None, replay: Sequence[Entry] = ()) -> Robot:
        """The robot, booting, on disks that a power cut harms: as it was installed, or as a cut
        leaves it after what was recorded."""
        if self.plugged:
            self.plugged.cut_power()
        os.makedirs(self.directory, exist_ok=True)
        raw = self.directory + "/disk.raw"
        if not os.path.exists(raw):
            tool("qemu-img", "convert", "-O", "raw", self.base.directory + "/disk.qcow2", raw)
        disk = Disk(raw, self.directory + "/disk", chance, record)
        # What the firmware writes it writes through.
        flash = Disk(new_variables(), self.directory + "/flash", None, record)
        for each in (disk, flash):
            each.replay(replay)
        self.plugged = Robot(self.directory, None, server=self.fleet.address, disk=disk, flash=flash)
        self.robot.start()
        self.robot.wait_boot()
        return self.robot

    @property
    def disk(self) -> Disk:
        assert self.robot.disk, "it is plugged in first"
        return self.robot.disk

    @property
    def a(self) -> str:
        return self.base.toplevel

    def generation(self, name: str, **arguments: str) -> str:
        return self.fleet.generation(name, loader=self.base.loader, **arguments)

    def update(self, kernel: str = "2", **arguments: str) -> str:
        """The robot, on and idle, and the release that it gets; gives its toplevel."""
        b = self.generation("b", kernel=kernel, **arguments)
        self.enter()
        self.publish(b)
        return b

    def goes_back(self, *causes: str, **arguments: str) -> dict[str, Any]:
        """An update that ends on what ran before, blocked for one of these causes; gives the evidence."""
        b = self.update(**arguments)
        evidence = self.blocks(b)
        expect(evidence["cause"] in causes, f"the cause is {evidence}")
        self.stands_on(self.a)
        left = self.robot.run(
            f"readlink -f /nix/var/nix/profiles/system-*-link | grep -xF {b};"
            f" grep -lrs init={b}/ /boot/loader/entries /boot/grub/grub.cfg"
        )[1]
        expect(not left, f"it stays among the generations: {left}")
        return evidence

    def publish(self, toplevel: str, *options: str) -> str:
        self.started = time.monotonic()
        return self.fleet.publish(toplevel, *options)

    def settles(self, what: str, look: Callable[[dict[str, Any]], bool], limit: float = LIMIT) -> dict[str, Any]:
        """Waits until the agent is idle and the journal such; gives the journal."""
        end = time.monotonic() + limit
        last = None
        while time.monotonic() < end:
            try:
                last = journal(self.robot)
                if last["state"]["name"] == "idle" and look(last):
                    since = [*self.robot.ups, time.monotonic()]
                    *self.up, self.times[what] = [round(t - self.started, 1) for t in since]
                    return last
            except (Restarted, RuntimeError, TimeoutError, ValueError):
                pass  # it restarts just now
            time.sleep(0.5)
        raise Failed(f"never {what}: {json.dumps(last)[:1500]}")

    def confirms(self, toplevel: str) -> dict[str, Any]:
        return self.settles("confirmed", lambda j: bool(j["confirmed"]["system"] == toplevel))

    def blocks(self, toplevel: str) -> dict[str, Any]:
        """Waits until the release of this generation is blocked; gives the evidence."""
        found = self.settles("back", lambda j: any(b["system"] == toplevel for b in j["blocked"]))
        evidence: dict[str, Any] = next(b for b in found["blocked"] if b["system"] == toplevel)["evidence"]
        return evidence

    def stands_on(self, toplevel: str) -> dict[str, Any]:
        """The promises: this generation runs, is the profile's, would be booted next, is confirmed;
        nothing of a trial is left, and no path of it or of any fallback is lost."""
        robot = self.robot
        found = journal(robot)
        expect(found["confirmed"]["system"] == toplevel, f"confirmed is {found['confirmed']}")
        expect(found["state"]["name"] == "idle", f"state is {found['state']}")
        for link in ("/run/current-system", "/nix/var/nix/profiles/system"):
            there = robot.sh(f"readlink -f {link}")
            expect(there == toplevel, f"{link} is {there}, not {toplevel}")
        following = self.next_boot()
        expect(following == toplevel, f"the next boot is {following}, not {toplevel}")
        # The journal comes first, then what it asks for.
        robot.until(
            "left=$(ls -d /etc/systemd/system.control/surefoot-deadline* "
            "/sys/firmware/efi/efivars/LoaderEntryOneShot-* /boot/loader/entries/*+* 2>/dev/null); "
            'echo $left; test -z "$left"',
            120,
        )
        kept = [toplevel] + [g["system"] for g in found["fallbacks"]]
        robot.sh(f"nix-store --check-validity $(nix-store --query --requisites {' '.join(kept)})")
        return found

    def next_boot(self) -> str:
        """What the loader would start by itself."""
        return self.robot.sh(
            "if [ -e /boot/grub/grub.cfg ]; then"
            "  grep -q '^next_entry=.' /boot/grub/grubenv && echo one-shot;"
            "  sed -n 's|^ *linux .*init=\\([^ ]*\\)/init.*|\\1|p' /boot/grub/grub.cfg | head -n 1;"
            " else"
            "  bootctl list --json=short"
            # Without the default's entry the loader takes the first; what it starts itself does not count.
            '   | jq -r \'map(select(.options // "" | contains("init=")))'
            "            | (map(select(.isDefault)) + .)[0].options'"
            "   | sed -n 's|.*init=\\([^ ]*\\)/init.*|\\1|p';"
            " fi"
        )

    def waits_because(self, word: str) -> None:
        """Waits until the agent's status says this."""
        said = "varlinkctl call /run/surefoot/control.socket io.surefoot.Agent.Status '{}'"
        self.robot.until(f"{said} | grep -q '{word}'", LIMIT)

    def ails(self) -> list[dict[str, Any]]:
        """What the agent's doctor finds to fail."""
        call = "varlinkctl --json=short call /run/surefoot/control.socket io.surefoot.Agent.Doctor '{}'"
        return [f for f in json.loads(self.robot.sh(call))["findings"] if f["level"] == "fail"]

    def watchdog_fired(self) -> bool:
        self.robot.events()
        return self.robot.watchdog_resets > 0
