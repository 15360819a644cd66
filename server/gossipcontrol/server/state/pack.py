"""A snapshot as compressed JSON, made piece by piece: that of a large fleet takes seconds."""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Iterator
from typing import cast

from gossipcontrol.server.core.codec import Later, Plain

PIECE = 100
"""Entries of a list that are written at a time: about a millisecond."""
NESTING = 3
"""Objects within objects that are taken apart; the long lists of a snapshot are not deeper."""


class Packer:
    """Packs in steps: between two pieces the event loop may go on, and between two steps a commit."""

    def __init__(self, plain: Plain) -> None:
        self._pieces = _pieces(plain, NESTING)
        self._compressor = zlib.compressobj(1)
        self._packed: list[bytes] = []

    def step(self, seconds: float = math.inf) -> bytes | None:
        """Pack for so long, at least one piece; all of it once it is done, None before."""
        until = time.perf_counter() + seconds
        for piece in self._pieces:
            self._packed.append(self._compressor.compress(piece))
            if time.perf_counter() >= until:
                return None
        return b"".join([*self._packed, self._compressor.flush()])


def pack(plain: Plain) -> bytes:
    """All at once."""
    body = Packer(plain).step()
    assert body is not None, "it had all the time"
    return body


def _pieces(plain: Plain, nesting: int) -> Iterator[bytes]:
    if nesting and isinstance(plain, dict) and plain:
        before = "{"
        for name, value in cast("dict[str, Plain]", plain).items():
            yield f"{before}{json.dumps(name)}:".encode()
            yield from _pieces(value, nesting - 1)
            before = ","
        yield b"}"
    elif isinstance(plain, list):
        values = cast("list[Plain]", plain)  # type: ignore[redundant-cast] # not to pyright
        before = "["
        for start in range(0, len(values), PIECE):
            yield before.encode() + _write(values[start : start + PIECE])[1:-1]
            before = ","
        yield b"]" if values else b"[]"
    else:
        yield _write(plain)


def _write(plain: Plain) -> bytes:
    return json.dumps(plain, separators=(",", ":"), default=Later.plain).encode()
