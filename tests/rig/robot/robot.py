"""A robot in QEMU: real firmware, real loader, real kernel, a hardware watchdog.

    robot = Robot(directory, image)
    robot.start(); robot.sh("systemctl is-system-running --wait")
    robot.cut_power(); robot.start()

The control channel is a virtio-serial port on which the robot says hello with its boot's id, so
every restart is seen. The console's log, QEMU's messages and the disk stay in the directory.
"""

import base64
import functools
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

from rig import RIG
from robot.disk import Disk

HOST = f"{RIG}/robot/host"
# How many times as long as usual everything is waited for.
SLOWNESS = float(os.environ.get("SUREFOOT_RIG_PATIENCE", "1"))
# How long to wait for what should come soon, s. Long: an emulated processor on a busy machine.
PATIENCE = 600 * SLOWNESS
# What goes over a Line: an object of JSON.
Message = dict[str, Any]


class Restarted(Exception):
    """The robot restarted while it should have answered."""


def tool(*words: str) -> str:
    """Runs a program of ./host and gives its output."""
    return subprocess.run([HOST, *words], check=True, stdout=subprocess.PIPE, text=True).stdout


def new_variables() -> str:
    """The firmware's variables of a new machine, a raw image."""
    return tool("--root").strip() + "/usr/share/OVMF/OVMF_VARS_4M.fd"


@functools.cache
def processor() -> list[str]:
    """QEMU's options for the processor. Emulated, its time is counted in instructions: a busy host
    makes the robot slower, but its watchdogs and deadlines do not notice. With SUREFOOT_RIG_TIME=host
    its time is the host's, and it runs half as fast again: on a machine that has nothing else to do."""
    # Some machines have a KVM that gets nowhere: a boot sector uses the FPU, and then ends QEMU.
    with tempfile.NamedTemporaryFile() as disk:
        disk.write(bytes.fromhex("9bdbe3b010ba0105eef4").ljust(510, b"\0") + b"\x55\xaa")
        disk.flush()
        try:
            there = subprocess.run(
                [
                    HOST,
                    "qemu-system-x86_64",
                    "-accel",
                    "kvm",
                    "-cpu",
                    "host",
                    "-M",
                    "pc",
                    "-nodefaults",
                    "-display",
                    "none",
                    "-device",
                    "isa-debug-exit,iobase=0x501,iosize=1",
                    "-drive",
                    f"format=raw,file={disk.name}",
                ],
                capture_output=True,
                timeout=10,
                check=False,
            )
            works = there.returncode == 0x10 * 2 + 1
        except subprocess.TimeoutExpired:
            works = False
    if works:
        return ["-accel", "kvm", "-cpu", "host", "-smp", "2"]
    counted = [] if os.environ.get("SUREFOOT_RIG_TIME") == "host" else ["-icount", "shift=2"]
    return ["-accel", "tcg,thread=single", *counted, "-cpu", "Nehalem", "-smp", "1"]


class Line:
    """A socket that carries one JSON value a line."""

    def __init__(self, path: str) -> None:
        end = time.monotonic() + 30
        while True:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.connect(path)
                break
            except OSError:
                self.socket.close()
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        self.buffer = b""

    def receive(self, timeout: float) -> Message | None:
        """The next value; None when none comes in time."""
        end = time.monotonic() + timeout
        while True:
            while b"\n" in self.buffer:
                line, self.buffer = self.buffer.split(b"\n", 1)
                start = line.find(b"{")
                try:
                    message: Message = json.loads(line[start:])
                except ValueError:
                    continue  # what was under way when the robot restarted
                return message
            left = max(end - time.monotonic(), 0)
            if not select.select([self.socket], [], [], left)[0]:
                return None
            data = self.socket.recv(65536)
            if not data:
                raise EOFError("QEMU has ended")
            self.buffer += data

    def send(self, value: Message) -> None:
        self.socket.sendall((json.dumps(value) + "\n").encode())


class Robot:
    """One robot. Its disk and its firmware's variables last as long as its directory."""

    def __init__(
        self,
        directory: str,
        image: str | None,
        server: tuple[str, int] | None = None,
        disk: Disk | None = None,
        flash: Disk | None = None,
        memory: int = 1024,
    ) -> None:
        """`image`: what its disk is an overlay over; None for one with a disk of its own, there already or given.
        `server`: (host, port) that the robot sees as http://10.0.2.100/.
        `disk`, `flash`: Disks of ./disk.py instead of an overlay over the image, and instead of
        the firmware's variables of a new machine."""
        self.directory, self.server, self.memory = directory, server, memory
        self.disk, self.flash = disk, flash
        self.process: subprocess.Popen[bytes] | None = None
        self.boot: str | None = None
        self.boots = 0
        self.ups: list[float] = []  # when each of them said hello, by time.monotonic()
        self.watchdog_resets = 0
        self.resets = 0  # by itself: reboots, mostly
        self.requests = 0
        os.makedirs(directory, exist_ok=True)
        if disk is None and not os.path.exists(directory + "/disk.qcow2"):
            assert image is not None, "a robot without a disk needs an image"
            tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", directory + "/disk.qcow2")
        if flash is None and not os.path.exists(directory + "/flash.qcow2"):
            tool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", new_variables(), directory + "/flash.qcow2")

    def start(self, snapshot: str | None = None) -> None:
        """Switches it on, or goes on from a snapshot; does not wait for anything."""
        d = self.directory
        root = tool("--root").strip()
        for name in ("control", "monitor"):
            if os.path.exists(f"{d}/{name}"):
                os.unlink(f"{d}/{name}")
        network = "user,id=n0,restrict=on"
        if self.server:
            relay = f"{sys.executable} -SEI {RIG}/robot/relay.py {self.server[0]} {self.server[1]}"
            network += f",guestfwd=tcp:10.0.2.100:80-cmd:{relay}"
        if self.disk:
            drive = f"if=none,id=d0,format=raw,cache=writeback,file=nbd:unix:{self.disk.socket_path}"
        else:
            drive = f"if=none,id=d0,format=qcow2,cache=unsafe,discard=unmap,file={d}/disk.qcow2"
        if self.flash:
            flash = f"format=raw,file=nbd:unix:{self.flash.socket_path}"
        else:
            flash = f"format=qcow2,file={d}/flash.qcow2"
        # fmt: off
        arguments = [
            "setpriv", "--pdeathsig", "KILL",  # it dies with this process, however that ends
            HOST, "qemu-system-x86_64", "-name", "robot", "-nodefaults", "-display", "none",
            *processor(), "-M", "q35,smm=off,vmport=off", "-m", str(self.memory),
            "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={root}/usr/share/OVMF/OVMF_CODE_4M.fd",
            "-drive", f"if=pflash,unit=1,{flash}",
            "-drive", drive, "-device", "virtio-blk-pci,drive=d0,bootindex=0",
            "-netdev", network, "-device", "virtio-net-pci,netdev=n0,romfile=",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=control,path={d}/control,server=on,wait=off",
            "-device", "virtserialport,chardev=control,name=rig.control",
            "-device", "virtio-rng-pci", "-device", "i6300esb", "-action", "watchdog=reset",
            "-chardev", f"file,id=console,path={d}/console.log,append=on", "-serial", "chardev:console",
            "-qmp", f"unix:{d}/monitor,server=on,wait=off",
        ]
        # fmt: on
        if snapshot:
            arguments += ["-loadvm", snapshot]
        with open(d + "/qemu.log", "ab") as log:
            self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self.monitor = Line(d + "/monitor")
            self.monitor.receive(30)
            self.qmp("qmp_capabilities")
            self.control = Line(d + "/control")
        except OSError as error:
            with open(d + "/qemu.log") as log:
                raise RuntimeError(f"QEMU does not start: {error}\n{log.read()[-2000:]}") from error

    def qmp(self, command: str, **arguments: object) -> object:
        self.monitor.send({"execute": command, "arguments": arguments})
        while True:
            answer = self.monitor.receive(120)
            if answer is None:
                raise TimeoutError(f"QEMU does not answer to {command}")
            if "event" in answer:
                self._event(answer)
            elif "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']}")
            else:
                return answer["return"]

    def _event(self, event: Message) -> None:
        if event["event"] == "WATCHDOG":
            self.watchdog_resets += 1
        elif event["event"] == "RESET" and event["data"]["guest"]:
            self.resets += 1

    def events(self) -> None:
        """Takes note of what QEMU has to tell."""
        while (event := self.monitor.receive(0)) is not None:
            self._event(event)

    def wait_reset(self, timeout: float = PATIENCE) -> None:
        """Waits until it resets itself at the end of a reboot: nothing of the next system has run."""
        before, end = self.resets, time.monotonic() + timeout
        while self.resets == before:
            event = self.monitor.receive(max(end - time.monotonic(), 0))
            if event is None:
                raise TimeoutError(f"no reset within {timeout} s; the console's end:\n{self.console()}")
            self._event(event)

    def link(self, up: bool) -> None:
        """Plugs the network's cable in, or pulls it out: the robot sees no carrier then."""
        self.qmp("set_link", name="n0", up=up)

    def save(self, name: str) -> None:
        """Takes a snapshot of the running robot: disk, memory, firmware."""
        answer = self.qmp("human-monitor-command", **{"command-line": f"savevm {name}"})
        if str(answer).strip():
            raise RuntimeError(answer)

    def _greeted(self, answer: Message) -> bool:
        self.events()
        again = self.boot is not None and answer["hello"] == self.boot
        if not again:
            self.boots += 1
            self.ups.append(time.monotonic())
            self.boot = answer["hello"]
        return not again

    def wait_boot(self, timeout: float = PATIENCE) -> float:
        """Waits for the next boot: the robot's hello with an id that was not seen before. Gives
        the seconds it took."""
        start = time.monotonic()
        while (left := timeout - (time.monotonic() - start)) > 0:
            answer = self.control.receive(min(left, 5))
            self.events()
            if answer and "hello" in answer and self._greeted(answer):
                return time.monotonic() - start
        raise TimeoutError(f"no boot within {timeout} s; the console's end:\n{self.console()}")

    def run(self, command: str, timeout: float = 60) -> tuple[int, str]:
        """Runs a line of shell as root: (exit status, output). Raises Restarted if the robot did."""
        self.requests += 1
        request = {"id": self.requests, "command": command, "timeout": timeout}
        self.control.send(request)
        end = time.monotonic() + (timeout + 30) * SLOWNESS
        while (left := end - time.monotonic()) > 0:
            answer = self.control.receive(min(left, 5))
            if answer is None:
                self.events()
            elif "hello" in answer:
                if self._greeted(answer):
                    raise Restarted(command)
                self.control.send(request)  # only the channel's own process did
            elif answer.get("id") == self.requests:
                return answer["code"], answer["output"].rstrip("\n")
        raise TimeoutError(f"no answer to: {command}\nthe console's end:\n{self.console()}")

    def sh(self, command: str, timeout: float = 60) -> str:
        """The output of a line of shell that must exit with 0."""
        code, output = self.run(command, timeout)
        if code != 0:
            raise RuntimeError(f"{command}: exit status {code}\n{output}")
        return output

    def run_for(self, seconds: float) -> None:
        """Lets it run; it may restart meanwhile."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            answer = self.control.receive(min(left, 1))
            self.events()
            if answer and "hello" in answer:
                self._greeted(answer)

    def until(self, command: str, timeout: float = PATIENCE) -> str:
        """Waits until a line of shell exits with 0; restarts are waited for too."""
        end = time.monotonic() + timeout
        output = ""
        while time.monotonic() < end:
            try:
                code, output = self.run(command)
                if code == 0:
                    return output
            except (Restarted, TimeoutError):
                pass
            time.sleep(0.3)
        raise TimeoutError(f"never true within {timeout} s: {command}\n{output}\n{self.console()}")

    def settled(self) -> str:
        """Waits until systemd has started everything: what it says of itself then."""
        return self.run("systemctl is-system-running --wait", PATIENCE)[1]

    def put(self, path: str, content: str) -> None:
        """Writes a file on the running robot."""
        text = base64.b64encode(content.encode()).decode()
        self.sh(f"mkdir -p $(dirname {path}) && echo {text} | base64 -d >{path}")

    def console(self, lines: int = 25) -> str:
        with open(self.directory + "/console.log", errors="replace") as file:
            return "\n".join(file.read().splitlines()[-lines:])

    def cut_power(self) -> None:
        """Power off at once: SIGKILL to QEMU; a Disk then forgets what was not flushed."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
            self.control.socket.close()
            self.monitor.socket.close()
        if self.disk:
            self.disk.lose_power()

    def remove(self) -> None:
        self.cut_power()
        shutil.rmtree(self.directory, ignore_errors=True)
