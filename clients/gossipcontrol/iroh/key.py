"""The secret key of the reference node."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from gossipcontrol.system.file import keep_private

SIZE = 32
"""Bytes of a key."""


class KeyFileError(ValueError):
    """A file holds no key; the message says what is wrong with it."""


def read_key(path: Path) -> bytes:
    """The secret key kept in a file that only the user can read, made if there is none: the node keeps its id.

    Raises KeyFileError for a file with anything else in it, and OSError.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return _make_key(path)
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != SIZE:
        raise KeyFileError(f"{path} holds no key of {SIZE} bytes, written as {2 * SIZE} hexadecimal digits")
    return key


def _make_key(path: Path) -> bytes:
    """A new key in a new file, which is whole as soon as it is there."""
    key = secrets.token_bytes(SIZE)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            keep_private(Path(temporary))
            file.write(key.hex())
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return key
