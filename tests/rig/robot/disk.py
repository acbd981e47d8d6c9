"""Disks that lose what was not flushed when the power goes: NBD servers over raw images.

A power cut keeps some of the writes since the last flush and forgets the rest, sector by sector, as
a disk with a volatile cache may. What is written stays in memory, the image is only read. All writes
can be recorded, of several disks in one log, and a disk can become what a power cut at any point of
that log would have left. The protocol is the one of
https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md, as far as QEMU uses it.
"""

import os
import random
import socket
import struct
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

SECTOR = 512
IHAVEOPT, OPT_REPLY, REQUEST, REPLY = 0x49484156454F5054, 0x3E889045565A9, 0x25609513, 0x67446698
OPT_EXPORT_NAME, OPT_ABORT, OPT_INFO, OPT_GO = 1, 2, 6, 7
REP_ACK, REP_INFO, REP_ERR_UNSUP = 1, 3, 0x80000001
HAS_FLAGS, SEND_FLUSH, SEND_FUA = 1, 4, 8
READ, WRITE, DISC, FLUSH = 0, 1, 2, 3
FUA = 1
EINVAL = 22


class Write(NamedTuple):
    """What was written, from which sector on; `fua`: it lasts at once."""

    sector: int
    data: bytes
    fua: bool


class Entry(NamedTuple):
    """One write, or without one a flush: when (time.monotonic), of which disk."""

    at: float
    disk: str
    write: Write | None


class Disk:
    """A disk over the raw image `path`, served at `socket_path`."""

    def __init__(
        self, path: str, socket_path: str, chance: random.Random | None = None, log: list[Entry] | None = None
    ) -> None:
        """`chance`: which writes a power cut loses; without it, none.
        `log`: every write and flush is added to it, under the name of the socket."""
        self.file = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self.file).st_size
        self.chance = chance
        self.log = log
        self.name = os.path.basename(socket_path)
        self.flushed: dict[int, bytes] = {}  # sector number -> its bytes
        self.cache: dict[int, bytes] = {}  # the same, not flushed
        self.lost = 0  # sectors that power cuts have lost
        self.lock = threading.Lock()
        self.socket_path = socket_path
        if os.path.exists(socket_path):
            os.unlink(socket_path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(socket_path)
        self.listener.listen()
        threading.Thread(target=self._listen, daemon=True).start()

    def lose_power(self) -> None:
        """Forgets some of what was not flushed: all, none, or any part of it."""
        if self.chance is None:
            return
        with self.lock:
            kept = self.chance.choice((0.0, 0.5, 0.9, 1.0))
            for number, data in sorted(self.cache.items()):
                if self.chance.random() < kept:
                    self.flushed[number] = data
                else:
                    self.lost += 1
            self.cache.clear()

    def replay(self, log: Sequence[Entry]) -> None:
        """Becomes what a power cut after these entries leaves."""
        for entry in log:
            if entry.disk != self.name:
                continue
            if entry.write is None:
                self._flush()
            else:
                self._write(entry.write)
        self.lose_power()

    def close(self) -> None:
        self.listener.close()
        os.close(self.file)

    def _listen(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        try:
            if self._negotiate(peer):
                while self._answer(peer):
                    pass
        except (OSError, EOFError):
            pass  # QEMU was killed
        finally:
            peer.close()

    def _negotiate(self, peer: socket.socket) -> bool:
        peer.sendall(b"NBDMAGIC" + struct.pack(">QH", IHAVEOPT, 1))
        receive(peer, 4)
        flags = HAS_FLAGS | SEND_FLUSH | SEND_FUA
        while True:
            _, option, length = struct.unpack(">QII", receive(peer, 16))
            receive(peer, length)
            if option == OPT_EXPORT_NAME:
                peer.sendall(struct.pack(">QH", self.size, flags) + bytes(124))
                return True
            if option in (OPT_INFO, OPT_GO):
                reply(peer, option, REP_INFO, struct.pack(">HQH", 0, self.size, flags))
                reply(peer, option, REP_ACK)
                if option == OPT_GO:
                    return True
            elif option == OPT_ABORT:
                reply(peer, option, REP_ACK)
                return False
            else:
                reply(peer, option, REP_ERR_UNSUP)

    def _answer(self, peer: socket.socket) -> bool:
        _, flags, kind, handle, offset, length = struct.unpack(">IHHQQI", receive(peer, 28))
        data, error = b"", 0
        if kind == DISC:
            return False
        if kind == READ:
            data = self._read(offset, length)
        elif kind == WRITE:
            write = Write(offset // SECTOR, receive(peer, length), bool(flags & FUA))
            self._record(write)
            self._write(write)
        elif kind == FLUSH:
            self._record(None)
            self._flush()
        else:
            error = EINVAL
        peer.sendall(struct.pack(">IIQ", REPLY, error, handle) + data)
        return True

    def _record(self, write: Write | None) -> None:
        if self.log is not None:
            self.log.append(Entry(time.monotonic(), self.name, write))

    def _read(self, offset: int, length: int) -> bytes:
        with self.lock:
            data = bytearray(os.pread(self.file, length, offset))
            first = offset // SECTOR
            for n in range(length // SECTOR):
                written = self.cache.get(first + n) or self.flushed.get(first + n)
                if written:
                    data[n * SECTOR : (n + 1) * SECTOR] = written
            return bytes(data)

    def _write(self, write: Write) -> None:
        with self.lock:
            for n in range(len(write.data) // SECTOR):
                number, part = write.sector + n, write.data[n * SECTOR : (n + 1) * SECTOR]
                if write.fua or self.chance is None:
                    self.cache.pop(number, None)
                    self.flushed[number] = part
                else:
                    self.cache[number] = part

    def _flush(self) -> None:
        with self.lock:
            self.flushed.update(self.cache)
            self.cache.clear()


def reply(peer: socket.socket, option: int, kind: int, data: bytes = b"") -> None:
    peer.sendall(struct.pack(">QIII", OPT_REPLY, option, kind, len(data)) + data)


def receive(peer: socket.socket, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        data = peer.recv(min(length - len(parts), 1 << 20))
        if not data:
            raise EOFError
        parts += data
    return bytes(parts)
