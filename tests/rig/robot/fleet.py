"""What QEMU robots are updated from: generations, a signed repository and a binary cache over HTTP.

Everything is made by the project's own programs and by real Nix. SUREFOOT_BIN is the directory of
`surefoot` and `surefootd`, or else target/debug, where cargo puts them.
"""

import functools
import http.server
import json
import os
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from rig import CACHE, RIG, SOURCE, output, push
from robot.robot import Robot

HERE = RIG / "robot"
BIN = Path(os.environ.get("SUREFOOT_BIN", SOURCE / "target/debug")).resolve()
# no_timer_check: with a processor that stands still now and then the kernel takes the timer for broken.
PARAMS = (
    "no_timer_check console=ttyS0 panic=5 oops=panic loglevel=4 mitigations=off audit=0 8250.nr_uarts=1 "
    "systemd.show_status=error"
)
CONFIG = """\
repository = "http://10.0.2.100/repo"
channel = "stable"
model = "robot"
[poll]
interval = "2s"
jitter = 0.0
backoff_base = "2s"
backoff_max = "4s"
[fetch]
caches = ["http://10.0.2.100/cache"]
signatures = "manifest"
reserve = "16MiB"
[trial]
switch_timeout = "3min"
[health]
soak = "3s"
deadline = "200s"
interval = "1s"
[boot]
deadline = "240s"
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass  # a robot that lost its power in the middle of an answer


class Maker(Protocol):
    """Makes generations, with these arguments, and disks for them."""

    def generation(self, name: str, arguments: dict[str, str]) -> str: ...

    def copy(self, toplevel: str, cache: str) -> None: ...

    def image(self, toplevel: str, loader: str) -> str: ...


class StandIn:
    """Makes stand-in generations (../toplevel) and disks for them."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.farm = f"{CACHE}/farm"
        os.makedirs(self.farm, exist_ok=True)
        self.root = output(HERE / "rootfs")
        self.agents = {"good": self.package("1", BIN / "surefootd"), "broken": self.package("broken", None)}

    def package(self, revision: str, program: Path | None) -> str:
        """The agent's package; without a program one that fails whenever it is started."""
        files = f"{self.directory}/agent-{revision}"
        os.makedirs(files + "/bin")
        os.makedirs(files + "/units")
        if program:
            output("strip", "-o", files + "/bin/surefootd", program)
        else:
            with open(files + "/bin/surefootd", "w") as file:
                file.write("#!/bin/sh\nexit 1\n")
            os.chmod(files + "/bin/surefootd", 0o755)
        for unit in os.listdir(SOURCE / "packaging/systemd"):
            shutil.copy(f"{SOURCE}/packaging/systemd/{unit}", files + "/units/")
        shutil.copy(f"{SOURCE}/agent/core/formats.json", files)
        return output(RIG / "toplevel/build", "--agent", self.farm, files, revision)

    def part(self, kind: str, version: str) -> str:
        """A kernel or initrd of its own: the same bytes as another store path."""
        path = f"{self.directory}/{kind}-{version}"
        if not os.path.exists(path):
            shutil.copy(f"{self.root}/boot/{'vmlinuz' if kind == 'linux' else 'initrd'}", path)
        return path

    def generation(self, name: str, arguments: dict[str, str]) -> str:
        arguments = {
            "kernel": "1",
            "initrd": "1",
            "params": "",
            "agent": "good",
            # An emulated processor takes its time.
            "startTimeout": "10min",
            **arguments,
        }
        params = " ".join(f'"{word}"' for word in (PARAMS + " " + arguments.pop("params")).split())
        # fmt: off
        command = [
            f"{RIG}/toplevel/build", self.farm, name,
            "--arg", "kernel", self.part("linux", arguments.pop("kernel")),
            "--arg", "initrd", self.part("initrd", arguments.pop("initrd")),
            "--arg", "kernelParams", f"[ {params} ]",
        ]
        agent, etc = self.agents.get(arguments.pop("agent")), arguments.pop("etc", self.directory + "/etc")
        if agent:
            extra = f'builtins.appendContext "{agent}" {{ "{agent}" = {{ path = true; }}; }}'
            command += ["--arg", "etc", etc, "--arg", "extra", extra]
        # fmt: on
        for key, value in arguments.items():
            command += ["--argstr", key, value]
        return output(*command)

    def etc(self, name: str, brings: Mapping[str, str]) -> str:
        """A directory for /etc: what every generation has there, and these files, by their paths in it."""
        etc = f"{self.directory}/etc-{name}"
        shutil.copytree(self.directory + "/etc", etc, dirs_exist_ok=True)
        for path, content in brings.items():
            os.makedirs(os.path.dirname(f"{etc}/{path}"), exist_ok=True)
            with open(f"{etc}/{path}", "w") as file:
                file.write(content)
        return etc

    def copy(self, toplevel: str, cache: str) -> None:
        push(self.farm, toplevel, f"file://{cache}?compression=zstd")

    def image(self, toplevel: str, loader: str) -> str:
        return output(HERE / "image", self.farm, toplevel, *(["--grub"] if loader == "grub" else []))


class Program:
    """Generations and disks from outside: real NixOS, say."""

    def __init__(self, program: str, directory: str) -> None:
        self.program = program
        self.environment = {
            **os.environ,
            "RIG_BIN": str(BIN),
            "RIG_FLEET": directory,
            "RIG_PARAMS": PARAMS,
            "RIG_CONFIG": directory + "/etc/surefoot/config.toml",
            "RIG_ANCHOR": directory + "/repo/metadata/1.root.json",
            "RIG_MODULE": f"{HERE}/nixos.nix",
        }

    def call(self, *words: str) -> str:
        return output(self.program, *words, env=self.environment)

    def generation(self, name: str, arguments: dict[str, str]) -> str:
        return self.call("generation", name, *(f"{key}={value}" for key, value in arguments.items()))

    def copy(self, toplevel: str, cache: str) -> None:
        self.call("copy", toplevel, cache)

    def image(self, toplevel: str, loader: str) -> str:
        return self.call("image", toplevel, loader)


class Fleet:
    """A publisher, in a directory of its own."""

    def __init__(self, directory: str, maker: str | None = None) -> None:
        """`maker`: a program that makes the generations, instead of the stand-ins (../README.md)."""
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory + "/cache")
        self.directory = directory
        handler = functools.partial(Quiet, directory=directory)
        self.server = Server(("127.0.0.1", 0), handler)
        self.address = ("127.0.0.1", self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        output(BIN / "surefoot", "repo", "init", directory + "/repo")
        with open(directory + "/repo/metadata/1.root.json") as file:
            self.anchor = file.read()
        os.makedirs(directory + "/etc/surefoot")
        with open(directory + "/etc/surefoot/config.toml", "w") as file:
            file.write(CONFIG)
        self.maker: Maker = Program(maker, directory) if maker else StandIn(directory)
        self.published: list[str] = []

    def generation(self, name: str, **arguments: str) -> str:
        """Builds a generation and gives its toplevel. The arguments are those of
        ../toplevel/default.nix; `agent` is "good", "missing", or "broken": it fails whenever it is started."""
        return self.maker.generation(name, arguments)

    def etc(self, name: str, brings: Mapping[str, str]) -> str:
        """The `etc` of a stand-in: what every generation has there, and these files."""
        return self.stand_in().etc(name, brings)

    def stand_in(self) -> StandIn:
        assert isinstance(self.maker, StandIn), "what generations from outside consist of is not known"
        return self.maker

    def publish(self, toplevel: str, *options: str) -> str:
        """Pushes a generation to the cache and publishes it as a new release; gives its name."""
        self.maker.copy(toplevel, self.directory + "/cache")
        # One repository serves the robots of all scenarios: what another one had is published again.
        back = ["--step-back"] if toplevel in self.published[:-1] else []
        self.published.append(toplevel)
        name = f"r{len(self.published)}"
        output(
            BIN / "surefoot",
            "publish",
            f"--repo={self.directory}/repo",
            "--channel=stable",
            "--model=robot",
            f"--release={name}",
            f"--cache=http://{self.address[0]}:{self.address[1]}/cache",
            *back,
            *options,
            toplevel,
        )
        return name

    def image(self, toplevel: str, loader: str) -> str:
        """The path of a disk image that boots this generation."""
        return self.maker.image(toplevel, loader)

    def kernel(self, toplevel: str) -> str:
        """The name of a stand-in's kernel in the store."""
        return os.path.basename(os.readlink(f"{self.stand_in().farm}{toplevel}/kernel"))

    def close(self) -> None:
        self.server.shutdown()
        shutil.rmtree(self.directory, ignore_errors=True)


def journal(robot: Robot) -> dict[str, Any]:
    """The agent's journal, as it lies on the robot's disk."""
    found: dict[str, Any] = json.loads(robot.sh("tail -n +2 $(ls -t /var/lib/surefoot/journal.[01] | head -n 1)"))
    return found
