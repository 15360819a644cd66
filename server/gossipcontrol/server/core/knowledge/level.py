"""Rows: vectors in few bytes, as differences from a level, which is all that a store had at one time.

Peers of a lively store know nearly the same, so most counts of a vector lie within a few of those of a level of about
the same age: half a byte per chain says how far, where a whole vector takes four bytes per chain.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from functools import lru_cache
from sys import byteorder

from gossipcontrol.server.core.knowledge.vector import LANE

LEVEL_SPACING = 256
"""Intentions of a store between two levels."""
_HALVES, _BYTES, _WHOLE = 1, 2, 3
"""First byte of a row: differences of half a byte or of one byte each; or, with the number of planes added, counts."""
_HALF_BIAS, _BYTE_BIAS = 8, 128
"""Added to each difference, so that none is negative."""
_MANY, _MANY_BIAS = 256, 13
"""In a store of that many chains none grows much while a level lasts, so most differences are negative."""


class Levels:
    """The levels of one store by number; those that no row needs any longer are dropped."""

    def __init__(self) -> None:
        self.bases: dict[int, int] = {}
        self._rows: dict[int, int] = {}
        """Number -> how many rows refer to this level."""
        self._newest = 0

    def add(self, order: int, lengths: Iterable[int]) -> None:
        """Keep the lengths of all chains as the level of the rows that follow this number of intentions."""
        column = array("I", lengths)
        if byteorder == "big":
            column.byteswap()
        before, self._newest = self._newest, order // LEVEL_SPACING
        self.bases[self._newest] = int.from_bytes(column.tobytes(), "little")
        if before not in self._rows:
            self.bases.pop(before, None)

    def recall(self, bases: Iterable[tuple[int, int]]) -> None:
        """Keep these levels, as restored from a snapshot."""
        self.bases = dict(bases)
        self._newest = max(self.bases, default=0)

    def hold(self, level: int) -> None:
        """A row refers to the level of this number."""
        self._rows[level] = self._rows.get(level, 0) + 1

    def release(self, levels: Iterable[int]) -> None:
        """Rows that referred to these levels are gone."""
        for level in levels:
            left = self._rows[level] = self._rows[level] - 1
            if not left:
                del self._rows[level]
                if level != self._newest:
                    self.bases.pop(level, None)

    def encode(self, vector: int, level: int) -> bytes:
        """The row of a vector that refers to the level of this number, if there is one."""
        lanes = (vector.bit_length() + LANE - 1) // LANE
        base = self.bases.get(level)
        if base is not None:
            lanes = max(lanes, (base.bit_length() + LANE - 1) // LANE)
            lanes += lanes & 1
            half, byte, above_half, above_byte = _patterns(lanes)
            near = vector + half - base
            if not near & above_half:
                # Every other lane moves into the upper half of the lowest byte of the lane below it.
                return b"\x01" + (near | near >> LANE - 4).to_bytes(lanes * 4, "little")[::8]
            near += byte - half
            if not near & above_byte:
                return b"\x02" + near.to_bytes(lanes * 4, "little")[::4]
        whole = vector.to_bytes(lanes * 4, "little")
        planes = [whole[start::4] for start in range(4)]
        while planes and not any(planes[-1]):
            planes.pop()
        return bytes((_WHOLE + len(planes),)) + b"".join(planes)

    def decode(self, row: bytes | bytearray, level: int) -> int:
        """The vector of a row that refers to the level of this number."""
        form, body = row[0], row[1:]
        if form >= _WHOLE:
            size = len(body) // max(1, form - _WHOLE)
            whole = bytearray(size * 4)
            for plane in range(form - _WHOLE):
                whole[plane::4] = body[plane * size : (plane + 1) * size]
            return int.from_bytes(whole, "little")
        if form == _HALVES:
            lanes = len(body) * 2
            bias = _patterns(lanes)[0]
            pairs, mask = int.from_bytes(body, "little"), int.from_bytes(b"\x0f" * len(body), "little")
            whole = bytearray(lanes * 4)
            whole[::8] = (pairs & mask).to_bytes(len(body), "little")
            whole[4::8] = (pairs >> 4 & mask).to_bytes(len(body), "little")
        else:
            lanes = len(body)
            bias = _patterns(lanes)[1]
            whole = bytearray(lanes * 4)
            whole[::4] = body
        return int.from_bytes(whole, "little") + self.bases[level] - bias


@lru_cache(maxsize=8)
def _patterns(lanes: int) -> tuple[int, int, int, int]:
    """What is added to every lane for half a byte, and for one; its bits above the lowest four, and eight."""
    ones = int.from_bytes(b"\x01\x00\x00\x00" * lanes, "little")
    return (
        ones * (_MANY_BIAS if lanes >= _MANY else _HALF_BIAS),
        ones * _BYTE_BIAS,
        int.from_bytes(b"\xf0\xff\xff\xff" * lanes, "little"),
        int.from_bytes(b"\x00\xff\xff\xff" * lanes, "little"),
    )
