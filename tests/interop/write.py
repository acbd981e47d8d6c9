"""Makes repositories with python-tuf, for others to read.

usage: write.py DIR SCENARIO

Writes DIR/1/, DIR/2/, …: the repository (metadata/ and targets/) after each step, and
DIR/anchor.json. Scenarios:
  keys       every kind of key that the specification names, thresholds above one
  rotation   three roots: the timestamp's key replaced, then all root keys
  delegated  targets delegated by pattern, by hash prefix, and one step further
  names      target paths with blanks, percent signs and letters beyond ASCII
"""

import shutil
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

ROLES = ("root", "timestamp", "snapshot", "targets")
EXPIRES = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=30)


class Repository:
    """A repository whose state can be written out at any time."""

    def __init__(self, base: Path) -> None:
        self.base, self.step = base, 0
        self.files: dict[str, bytes] = {}
        self.signers: dict[str, list[CryptoSigner]] = {role: [] for role in ROLES}
        self.root = Metadata(Root(expires=EXPIRES, consistent_snapshot=True))
        self.timestamp = Metadata(Timestamp(expires=EXPIRES))
        self.snapshot = Metadata(Snapshot(expires=EXPIRES))
        self.targets = Metadata(Targets(expires=EXPIRES))
        self.delegated: dict[str, Metadata[Targets]] = {}

    def key(self, role: str, signer: CryptoSigner | None = None) -> CryptoSigner:
        signer = signer or CryptoSigner.generate_ed25519()
        self.root.signed.add_key(signer.public_key, role)
        self.signers[role].append(signer)
        return signer

    def target(self, role: Metadata[Targets], name: str, content: bytes) -> None:
        info = TargetFile.from_data(name, content, ["sha256", "sha512"])
        role.signed.targets[name] = info
        for digest in info.hashes.values():
            folder, _, base = name.rpartition("/")
            self.files[f"targets/{folder}/{digest}.{base}"] = content

    def delegate(
        self,
        parent: Metadata[Targets],
        name: str,
        terminating: bool = False,
        paths: list[str] | None = None,
        path_hash_prefixes: list[str] | None = None,
    ) -> Metadata[Targets]:
        signer = CryptoSigner.generate_ecdsa()
        if parent.signed.delegations is None:
            parent.signed.delegations = Delegations({}, {})
        roles = parent.signed.delegations.roles
        assert roles is not None
        roles[name] = DelegatedRole(name, [], 1, terminating, paths, path_hash_prefixes)
        parent.signed.add_key(signer.public_key, name)
        self.signers[name] = [signer]
        self.delegated[name] = Metadata(Targets(expires=EXPIRES))
        return self.delegated[name]

    def sign(self, role: str, metadata: Metadata[Any], extra: Sequence[CryptoSigner] = ()) -> bytes:
        metadata.signatures.clear()
        for signer in [*self.signers[role], *extra]:
            metadata.sign(signer, append=True)
        # Signatures cover the canonical form: the text may look as it likes.
        return metadata.to_bytes(JSONSerializer(compact=role != "targets"))

    def publish(self, root: bool = False, old_root: Sequence[CryptoSigner] = ()) -> None:
        if root or self.step == 0:
            content = self.sign("root", self.root, old_root)
            self.files[f"metadata/{self.root.signed.version}.root.json"] = content
        for name, metadata in [*self.delegated.items(), ("targets", self.targets)]:
            content = self.sign(name, metadata)
            version = metadata.signed.version
            self.files[f"metadata/{version}.{name}.json"] = content
            self.snapshot.signed.meta[f"{name}.json"] = MetaFile(
                version, len(content), {"sha256": sha256(content).hexdigest()}
            )
            metadata.signed.version += 1
        content = self.sign("snapshot", self.snapshot)
        version = self.snapshot.signed.version
        self.files[f"metadata/{version}.snapshot.json"] = content
        self.timestamp.signed.snapshot_meta = MetaFile(version)
        self.files["metadata/timestamp.json"] = self.sign("timestamp", self.timestamp)
        self.snapshot.signed.version += 1
        self.timestamp.signed.version += 1
        self.step += 1
        for name, content in self.files.items():
            path = self.base / str(self.step) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if self.step == 1:
            shutil.copy(self.base / "1/metadata/1.root.json", self.base / "anchor.json")


def keys(repo: Repository) -> None:
    for role in ROLES:
        repo.key(role, CryptoSigner.generate_ed25519())
        repo.key(role, CryptoSigner.generate_ecdsa())
        repo.key(role, CryptoSigner.generate_rsa())
        repo.root.signed.roles[role].threshold = 3
    repo.target(repo.targets, "channels/stable.json", b"one")
    repo.publish()
    repo.target(repo.targets, "channels/stable.json", b"two")
    repo.publish()


def rotation(repo: Repository) -> None:
    for role in ROLES:
        repo.key(role)
    repo.target(repo.targets, "a", b"one")
    repo.publish()
    [old] = repo.signers["timestamp"]
    repo.root.signed.revoke_key(old.public_key.keyid, "timestamp")
    repo.signers["timestamp"] = []
    repo.key("timestamp")
    repo.root.signed.version = 2
    repo.publish(root=True)
    olds = list(repo.signers["root"])
    for old in olds:
        repo.root.signed.revoke_key(old.public_key.keyid, "root")
    repo.signers["root"] = []
    for _ in range(3):
        repo.key("root")
    repo.root.signed.roles["root"].threshold = 2
    repo.root.signed.version = 3
    repo.publish(root=True, old_root=olds)


def delegated(repo: Repository) -> None:
    for role in ROLES:
        repo.key(role)
    team = repo.delegate(repo.targets, "team", paths=["channels/team-*.json", "deep/*"])
    repo.target(team, "channels/team-a.json", b"by the team")
    prefix = sha256(b"hashed/x").hexdigest()[:4]
    hashed = repo.delegate(repo.targets, "hashed", path_hash_prefixes=[prefix])
    repo.target(hashed, "hashed/x", b"by hash")
    deep = repo.delegate(team, "deep", terminating=True, paths=["deep/*"])
    repo.target(deep, "deep/1", b"from the deep")
    repo.publish()


def names(repo: Repository) -> None:
    for role in ROLES:
        repo.key(role)
    for name in ("with blank", "100%25/x", "b\u00e4r/k\u00f6nig.json", "a+b=c&d?e#f", "~tilde"):
        repo.target(repo.targets, name, name.encode())
    repo.publish()


def main() -> None:
    base, scenario = Path(sys.argv[1]), sys.argv[2]
    {"keys": keys, "rotation": rotation, "delegated": delegated, "names": names}[scenario](Repository(base))


if __name__ == "__main__":
    main()
