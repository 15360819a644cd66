"""The secret key of the reference node."""

from __future__ import annotations

import secrets
from pathlib import Path


def read_key(path: Path) -> bytes:
    """The secret key kept in a file of mode 0600, made if there is none: the node keeps its id over restarts."""
    try:
        return bytes.fromhex(path.read_text())
    except FileNotFoundError:
        key = secrets.token_bytes(32)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(key.hex())
        return key
