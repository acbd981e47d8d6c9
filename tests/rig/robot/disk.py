"""A disk that loses what was not flushed when the power goes: an NBD server over a raw image.

Writes stay in memory until the robot flushes; a power cut then keeps some of them and forgets the
rest, sector by sector, as a disk with a volatile cache may. The protocol is the one of
https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md, as far as QEMU uses it.
"""
import os
import socket
import struct
import threading

SECTOR = 512
IHAVEOPT, OPT_REPLY, REQUEST, REPLY = 0x49484156454F5054, 0x3E889045565A9, 0x25609513, 0x67446698
OPT_EXPORT_NAME, OPT_ABORT, OPT_INFO, OPT_GO = 1, 2, 6, 7
REP_ACK, REP_INFO, REP_ERR_UNSUP = 1, 3, 0x80000001
HAS_FLAGS, SEND_FLUSH, SEND_FUA = 1, 4, 8
READ, WRITE, DISC, FLUSH = 0, 1, 2, 3
FUA = 1
EINVAL = 22


class Disk:
    """The disk `path`, a raw image, served at `socket_path`."""

    def __init__(self, path, socket_path, random):
        self.file = os.open(path, os.O_RDWR)
        self.size = os.fstat(self.file).st_size
        self.random = random  # a random.Random: which writes a power cut loses
        self.cache = {}  # sector number -> its bytes, not flushed
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
        with self.lock:
            kept = self.random.choice((0.0, 0.5, 0.9, 1.0))
            for number, data in sorted(self.cache.items()):
                if self.random.random() < kept:
                    os.pwrite(self.file, data, number * SECTOR)
                else:
                    self.lost += 1
            self.cache.clear()

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
            self._write(offset, receive(peer, length))
            if flags & FUA:
                self._flush(offset // SECTOR, length // SECTOR)
        elif kind == FLUSH:
            self._flush()
        else:
            error = EINVAL
        peer.sendall(struct.pack(">IIQ", REPLY, error, handle) + data)
        return True

    def _read(self, offset, length):
        with self.lock:
            data = bytearray(os.pread(self.file, length, offset))
            if self.cache:
                first = offset // SECTOR
                for n in range(length // SECTOR):
                    if cached := self.cache.get(first + n):
                        data[n * SECTOR:(n + 1) * SECTOR] = cached
            return bytes(data)

    def _write(self, offset, data):
        first = offset // SECTOR
        with self.lock:
            for n in range(len(data) // SECTOR):
                self.cache[first + n] = data[n * SECTOR:(n + 1) * SECTOR]

    def _flush(self, first=None, count=None):
        with self.lock:
            numbers = list(self.cache) if first is None else range(first, first + count)
            for number in numbers:
                if (data := self.cache.pop(number, None)) is not None:
                    os.pwrite(self.file, data, number * SECTOR)


def receive(peer, length):
    parts = bytearray()
    while len(parts) < length:
        data = peer.recv(min(length - len(parts), 1 << 20))
        if not data:
            raise EOFError
        parts += data
    return bytes(parts)
