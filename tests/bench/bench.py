"""What the benchmarks share: the rig's paths and commands, and a web server in a network of its own."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "rig"))
from rig import CACHE, RIG, SOURCE, TARGET, output, push, say, wait_for

__all__ = [
    "BENCH",
    "CACHE",
    "RIG",
    "SOURCE",
    "TARGET",
    "Nginx",
    "inside",
    "output",
    "push",
    "read_line",
    "say",
    "wait_for",
]

BENCH = Path(__file__).resolve().parent


def inside(process: int) -> list[str]:
    """What runs a command in the network of a process."""
    return ["nsenter", "--net", "--target", str(process)]


def read_line(process: subprocess.Popen[str]) -> str:
    """The next line that a process says."""
    assert process.stdout, "its output is not a pipe"
    return process.stdout.readline()


class Nginx:
    """nginx out of the robots' userland, with its files in a directory: `http` is the inner part of its configuration,
    `within` the start of the command that puts it into a network."""

    def __init__(self, userland: Path, directory: Path, http: str, within: Sequence[str]) -> None:
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = " ".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds)
        configuration, pid = directory / "nginx.conf", directory / "pid"
        configuration.write_text(
            f"daemon off; master_process off; worker_processes 1; pid {pid}; user root;"
            f" error_log {directory}/error.log; events {{ }} http {{ {temporary} {http} }}"
        )
        loader = next(userland.glob("usr/lib/*-linux-gnu/ld-linux-*.so.*"))
        program = [loader, "--library-path", loader.parent, userland / "usr/sbin/nginx", "-c", configuration]
        command = ["setpriv", "--pdeathsig", "KILL", *within, *map(str, program)]
        with open(directory / "stderr", "w") as stderr:
            self.process = subprocess.Popen(command, stderr=stderr)
        wait_for("nginx", lambda: pid.exists() and pid.read_text())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
