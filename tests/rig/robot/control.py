#!/usr/bin/python3 -Su
"""The robot's end of the control channel: one line of JSON in, one out.

Says hello with the boot's id first, so that whoever listens sees every restart.
"""

import json
import os
import subprocess
import time

port = os.open("/dev/virtio-ports/rig.control", os.O_RDWR)


def say(answer: dict[str, object]) -> None:
    data = (json.dumps(answer) + "\n").encode()
    while data:
        data = data[os.write(port, data) :]


with open("/proc/sys/kernel/random/boot_id") as file:
    say({"hello": file.read().strip()})
buffer = b""
while True:
    data = os.read(port, 65536)
    if not data:  # nobody listens
        time.sleep(0.1)
        continue
    buffer += data
    while b"\n" in buffer:
        line, buffer = buffer.split(b"\n", 1)
        try:
            request = json.loads(line)
        except ValueError:
            continue
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", request["command"]],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=request.get("timeout", 60),
            )
            code, output = done.returncode, done.stdout
        except subprocess.TimeoutExpired as late:
            code, output = 124, late.stdout or b""
        say({"id": request.get("id"), "code": code, "output": output.decode(errors="replace")})
