"""Reads a repository with python-tuf as a client would.

usage: read.py BASE_URL ANCHOR STATE_DIR TARGET...

Refreshes and downloads each target; prints one JSON object {"versions": ..., "targets": {name: hex
of the content}}, or {"error": the exception's class, "why": its text} and exits 1.
"""

import json
import sys
from pathlib import Path

from tuf.ngclient import Updater


def main() -> int:
    base, anchor, state, *names = sys.argv[1:]
    metadata, targets = Path(state, "metadata"), Path(state, "targets")
    metadata.mkdir(parents=True, exist_ok=True)
    targets.mkdir(parents=True, exist_ok=True)
    try:
        updater = Updater(
            metadata_dir=str(metadata),
            metadata_base_url=f"{base}/metadata/",
            target_dir=str(targets),
            target_base_url=f"{base}/targets/",
            bootstrap=Path(anchor).read_bytes(),
        )
        updater.refresh()
        found = {}
        for name in names:
            info = updater.get_targetinfo(name)
            if info is None:
                raise RuntimeError(f"no target {name}")
            found[name] = Path(updater.download_target(info)).read_bytes().hex()
        versions = {
            role: json.loads((metadata / f"{role}.json").read_bytes())["signed"]["version"]
            for role in ("root", "timestamp", "snapshot", "targets")
        }
    except Exception as error:  # every failure is an answer
        print(json.dumps({"error": type(error).__name__, "why": str(error)}))
        return 1
    print(json.dumps({"versions": versions, "targets": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
