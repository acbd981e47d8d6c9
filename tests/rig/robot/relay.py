"""relay.py HOST PORT: standard input and output, and a TCP connection: what QEMU's guestfwd runs."""

import os
import select
import socket
import sys

peer = socket.create_connection((sys.argv[1], int(sys.argv[2])))
while True:
    ready = select.select([0, peer.fileno()], [], [])[0]
    if 0 in ready:
        data = os.read(0, 65536)
        if not data:
            break
        peer.sendall(data)
    if peer.fileno() in ready:
        data = peer.recv(65536)
        if not data:
            break
        while data:
            data = data[os.write(1, data) :]
