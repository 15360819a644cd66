"""Versions as clients see them: each run of the service numbers its own, and never accepts those of another run."""

from __future__ import annotations

import base64
import struct
import zlib

REATTACH_TIME = 5.0
"""Seconds within which agents come back to a service that has started: the longest wait between their attempts."""
VERSION_BITS = 32
"""The lower bits of a number count versions, the upper bits name the run."""
_TOKEN = struct.Struct(">QI")


class ResumeTokens:
    """Numbers are positive and fit into 63 bits; each run draws its own ``run`` from 1 to 2**31 - 1.

    ``settled_at``: service time from which on views of this run are complete, because agents have come back.
    """

    def __init__(self, run: int, settled_at: float = 0.0) -> None:
        self._first = run << VERSION_BITS
        self._settled_at = settled_at

    def settling(self, now: float) -> float:
        """Seconds until views are complete; 0.0: they are."""
        return max(0.0, self._settled_at - now)

    def number(self, version: int) -> int:
        """The number by which clients know a version."""
        return self._first + version

    def version(self, number: int) -> int | None:
        """The version with this number; None when the number is of another run, or 0."""
        version = number - self._first
        return version if 0 <= version < 1 << VERSION_BITS else None

    def token(self, store_id: str, version: int) -> str:
        """The token of a version of a store."""
        packed = _TOKEN.pack(self.number(version), zlib.crc32(store_id.encode()))
        return base64.urlsafe_b64encode(packed).decode()

    def read(self, store_id: str, token: str) -> int | None:
        """The version of a token, None when it is of another run; raises ValueError when it is not of this store."""
        packed = base64.b64decode(token.encode("ascii"), b"-_", validate=True)
        if len(packed) != _TOKEN.size:
            raise ValueError("not as long as a token")
        number, store = _TOKEN.unpack(packed)
        if store != zlib.crc32(store_id.encode()):
            raise ValueError("a token of another store")
        return self.version(number)
