"""Disks that lose what was not flushed when the power goes: NBD servers over raw images.

A power cut keeps some of the writes since the last flush and forgets the rest, sector by sector, as
a disk with a volatile cache may. What is written stays in memory, the image is only read. All writes
can be recorded, of several disks in one log, and a disk can become what a power cut at any point of
that log would have left. The protocol is the one of
https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md, as far as QEMU uses it.
"""

import collections
import os
import socket
import struct
import threading
import time

SECTOR = 512
IHAVEOPT, OPT_REPLY, REQUEST, REPLY = 0x49484156454F5054, 0x3E889045565A9, 0x25609513, 0x67446698
OPT_EXPORT_NAME, OPT_ABORT, OPT_INFO, OPT_GO = 1, 2, 6, 7
REP_ACK, REP_INFO, REP_ERR_UNSUP = 1, 3, 0x80000001
HAS_FLAGS, SEND_FLUSH, SEND_FUA = 1, 4, 8
READ, WRITE, DISC, FLUSH = 0, 1, 2, 3
FUA = 1
EINVAL = 22


# One write, or without bytes one flush: when (time.monotonic), of which disk.
Entry = collections.namedtuple("Entry", "at name sector data fua")


class Disk:
    """A disk over the raw image `path`, served at `socket_path`."""

    def __init__(self, path, socket_path, random=None, log=None):
        """`random`: a random.Random: which writes a power cut loses; without one it loses none.
        `log`: a list that every write and flush is added to, under the name of the socket."""
        self.file = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self.file).st_size
        self.random = random
        self.log = log
        self.name = os.path.basename(socket_path)
        self.flushed = {}  # sector number -> its bytes
        self.cache = {}  # the same, not flushed
        self.lost = 0  # sectors that power cuts have lost
        self.lock = threading.Lock()
        self.socket_path = socket_path
        if os.path.exists(socket_path):
            os.unlink(socket_path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(socket_path)
        self.listener.listen()
        threading.Thread(target=self._listen, daemon=True).start()

    def lose_power(self):
        """Forgets some of what was not flushed: all, none, or any part of it."""
        if self.random is None:
            return
        with self.lock:
            kept = self.random.choice((0.0, 0.5, 0.9, 1.0))
            for number, data in sorted(self.cache.items()):
                if self.random.random() < kept:
                    self.flushed[number] = data
                else:
                    self.lost += 1
            self.cache.clear()

    def replay(self, log):
        """Becomes what a power cut after these entries leaves."""
        for entry in log:
            if entry.name != self.name:
                continue
            if entry.data is None:
                self._flush()
            else:
                self._write(entry.sector, entry.data, entry.fua)
        self.lose_power()

    def close(self):
        self.listener.close()
        os.close(self.file)

    def _listen(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        try:
            if self._negotiate(peer):
                while self._answer(peer):
                    pass
        except (OSError, EOFError):
            pass  # QEMU was killed
        finally:
            peer.close()

    def _negotiate(self, peer):
        peer.sendall(b"NBDMAGIC" + struct.pack(">QH", IHAVEOPT, 1))
        receive(peer, 4)
        flags = HAS_FLAGS | SEND_FLUSH | SEND_FUA
        while True:
            _, option, length = struct.unpack(">QII", receive(peer, 16))
            receive(peer, length)

            def reply(kind, data=b""):
                peer.sendall(struct.pack(">QIII", OPT_REPLY, option, kind, len(data)) + data)

            if option == OPT_EXPORT_NAME:
                peer.sendall(struct.pack(">QH", self.size, flags) + bytes(124))
                return True
            if option in (OPT_INFO, OPT_GO):
                reply(REP_INFO, struct.pack(">HQH", 0, self.size, flags))
                reply(REP_ACK)
                if option == OPT_GO:
                    return True
            elif option == OPT_ABORT:
                reply(REP_ACK)
                return False
            else:
                reply(REP_ERR_UNSUP)

    def _answer(self, peer):
        _, flags, kind, handle, offset, length = struct.unpack(">IHHQQI", receive(peer, 28))
        data, error = b"", 0
        if kind == DISC:
            return False
        if kind == READ:
            data = self._read(offset, length)
        elif kind == WRITE:
            data, fua = receive(peer, length), bool(flags & FUA)
            self._record(offset // SECTOR, data, fua)
            self._write(offset // SECTOR, data, fua)
            data = b""
        elif kind == FLUSH:
            self._record(None, None, False)
            self._flush()
        else:
            error = EINVAL
        peer.sendall(struct.pack(">IIQ", REPLY, error, handle) + data)
        return True

    def _record(self, sector, data, fua):
        if self.log is not None:
            self.log.append(Entry(time.monotonic(), self.name, sector, data, fua))

    def _read(self, offset, length):
        with self.lock:
            data = bytearray(os.pread(self.file, length, offset))
            first = offset // SECTOR
            for n in range(length // SECTOR):
                written = self.cache.get(first + n) or self.flushed.get(first + n)
                if written:
                    data[n * SECTOR : (n + 1) * SECTOR] = written
            return bytes(data)

    def _write(self, first, data, durable):
        with self.lock:
            for n in range(len(data) // SECTOR):
                part = data[n * SECTOR : (n + 1) * SECTOR]
                if durable or self.random is None:
                    self.cache.pop(first + n, None)
                    self.flushed[first + n] = part
                else:
                    self.cache[first + n] = part

    def _flush(self):
        with self.lock:
            self.flushed.update(self.cache)
            self.cache.clear()


def receive(peer, length):
    parts = bytearray()
    while len(parts) < length:
        data = peer.recv(min(length - len(parts), 1 << 20))
        if not data:
            raise EOFError
        parts += data
    return bytes(parts)
