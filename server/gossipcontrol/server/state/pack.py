"""A snapshot as compressed JSON, made piece by piece, because that of a large fleet takes seconds."""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import cast

from gossipcontrol.server.core.codec import LaterList, LaterMap, Plain, resolve
from gossipcontrol.server.core.slices import Slices

PIECE = 100
"""List elements encoded at a time: about a millisecond."""
NESTING = 5
"""Depth of objects that are encoded in pieces; the long lists of a snapshot lie no deeper."""


class Packer:
    """Packs in steps: the event loop can run between two pieces, a commit between two steps.

    Its last steps free what was captured, unless it ``keeps`` that; freed at once, it holds up every thread.
    """

    def __init__(self, plain: Plain, *, keeps: bool = False) -> None:
        self._releases = [] if keeps else list(_releases(plain))
        self._pieces = _pieces(plain, NESTING)
        self._compressor = zlib.compressobj(1)
        self._packed: list[bytes] = []

    def step(self, seconds: float = math.inf) -> bytes | None:
        """Pack at least one piece, until the time is up; returns the snapshot once it is complete, None before."""
        until = time.perf_counter() + seconds
        for piece in self._pieces:
            self._packed.append(self._compressor.compress(piece))
            if time.perf_counter() >= until:
                return None
        for slices in self._releases:
            for _ in slices:
                if time.perf_counter() >= until:
                    return None
        return b"".join([*self._packed, self._compressor.flush()])


def pack(plain: Plain) -> bytes:
    """Pack in one step; it can be packed again."""
    body = Packer(plain, keeps=True).step()
    assert body is not None, "it had all the time"
    return body


def _releases(plain: Plain) -> Iterator[Slices[None]]:
    """What frees the parts of it."""
    if isinstance(plain, dict):
        for value in cast("dict[str, Plain]", plain).values():
            yield from _releases(value)
    elif isinstance(plain, LaterList) and plain.release is not None:
        yield plain.release()


def _pieces(plain: Plain, nesting: int) -> Iterator[bytes]:
    if nesting and isinstance(plain, dict) and plain:
        before = "{"
        for name, value in cast("dict[str, Plain]", plain).items():
            yield f"{before}{json.dumps(name)}:".encode()
            yield from _pieces(value, nesting - 1)
            before = ","
        yield b"}"
    elif isinstance(plain, LaterMap):
        items, before = iter(plain.items()), "{"
        while some := dict(islice(items, PIECE)):
            yield before.encode() + _write(some)[1:-1]
            before = ","
        yield b"}" if before == "," else b"{}"
    elif isinstance(plain, (list, LaterList)):
        values = iter(cast("Iterable[Plain]", plain))
        size = 1 if isinstance(plain, LaterList) and plain.is_heavy else PIECE
        before = "["
        while piece := list(islice(values, size)):
            yield before.encode() + _write(piece)[1:-1]
            before = ","
        yield b"]" if before == "," else b"[]"
    else:
        yield _write(plain)


def _write(plain: Plain) -> bytes:
    return json.dumps(plain, separators=(",", ":"), default=resolve).encode()
