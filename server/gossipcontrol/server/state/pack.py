"""A snapshot as compressed JSON, made piece by piece."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import cast

from gossipcontrol.server.core.codec import Plain

PIECE = 100
"""Entries of a list that are written at a time: about a millisecond."""
NESTING = 3
"""Objects within objects that are taken apart; the long lists of a snapshot are not deeper."""


def pack(plain: Plain) -> bytes:
    """Compressed JSON, made piece by piece: between two the event loop may go on."""
    packer = zlib.compressobj(1)
    return b"".join([*map(packer.compress, _pieces(plain, NESTING)), packer.flush()])


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
            yield before.encode() + json.dumps(values[start : start + PIECE], separators=(",", ":"))[1:-1].encode()
            before = ","
        yield b"]" if values else b"[]"
    else:
        yield json.dumps(plain, separators=(",", ":")).encode()
