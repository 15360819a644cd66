"""How this run of the service numbers its views, so that no other run's number is taken for one of its own."""

from __future__ import annotations

import base64
import struct
import zlib

BITS = 32
"""The lower bits of a number count versions, the upper ones name the run."""
_TOKEN = struct.Struct(">QI")


class ResumeTokens:
    """Numbers are positive and fit into 63 bits; ``run`` is from 1 to 2**31 - 1, drawn anew by every run."""

    def __init__(self, run: int) -> None:
        self._first = run << BITS

    def number(self, version: int) -> int:
        """What clients are told of a version."""
        return self._first + version

    def version(self, number: int) -> int | None:
        """The version that a client names; None when another run gave the number, or none did."""
        version = number - self._first
        return version if 0 <= version < 1 << BITS else None

    def token(self, store_id: str, version: int) -> str:
        """Names a place in a store's changes."""
        packed = _TOKEN.pack(self.number(version), zlib.crc32(store_id.encode()))
        return base64.urlsafe_b64encode(packed).decode()

    def place(self, store_id: str, token: str) -> int | None:
        """The version that a token names, None when it is another run's; raises ValueError when it is no token."""
        packed = base64.b64decode(token.encode("ascii"), b"-_", validate=True)
        if len(packed) != _TOKEN.size:
            raise ValueError("not as long as a token")
        number, store = _TOKEN.unpack(packed)
        if store != zlib.crc32(store_id.encode()):
            raise ValueError("a token of another store")
        return self.version(number)
