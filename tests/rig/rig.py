"""What all programs of the rig need: where things lie, and commands that are run to their end."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TypeVar

Found = TypeVar("Found")

RIG = Path(__file__).resolve().parent
SOURCE = RIG.parent.parent
# What is made once and kept.
CACHE = Path(os.environ.get("SUREFOOT_RIG_CACHE", SOURCE / "target/rig")).resolve()
# Where cargo puts what it builds.
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", SOURCE / "target"))


def output(*words: str | Path, env: Mapping[str, str] | None = None, stdin: IO[str] | None = None) -> str:
    """What a command writes; with everything it said if it fails."""
    done = subprocess.run(words, capture_output=True, text=True, env=env, stdin=stdin)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def say(*words: object) -> None:
    """Tells the person at the terminal, beside what a program prints."""
    print(*words, file=sys.stderr, flush=True)


def wait_for(what: str, look: Callable[[], Found], patience: float = 90) -> Found:
    """Waits until `look` gives something, at most `patience` seconds, and gives it."""
    end = time.monotonic() + patience
    while not (found := look()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {patience} s for {what}")
        time.sleep(0.02)
    return found


def push(farm: str | Path, toplevel: str, cache: str) -> None:
    """Copies a closure out of a store (`local?root=FARM`) into a binary cache, given by its URL."""
    output(
        RIG / "nix",
        "nix",
        "copy",
        "--offline",
        "--no-check-sigs",
        "--from",
        f"local?root={farm}",
        "--to",
        cache,
        toplevel,
    )
