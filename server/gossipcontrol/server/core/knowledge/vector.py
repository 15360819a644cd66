"""Version vectors with one count per chain, packed into one integer.

A store of 100 authors joins vectors of 100 counts for every intention. A list costs an interpreter step per count; an
integer with one 32-bit lane per chain costs eight operations for all of them ("SIMD within a register", Lamport 1975).
The top bit of each lane is kept free: it takes the borrow of a subtraction.
"""

from __future__ import annotations

from array import array
from sys import byteorder

LANE = 32
"""Bits per count."""
LANE_MASK = (1 << 31) - 1
"""The bits of a lane that hold the count."""


def guards(lanes: int) -> int:
    """The top bit of every lane."""
    return int.from_bytes(b"\x00\x00\x00\x80" * lanes, "little")


def join(one: int, other: int, guard: int) -> int:
    """The greater count of each lane: the least upper bound of two vectors."""
    greater = ((one | guard) - other) & guard
    mask = greater - (greater >> 31)
    return other ^ ((one ^ other) & mask)


def meet(one: int, other: int, guard: int) -> int:
    """The smaller count of each lane: the greatest lower bound of two vectors."""
    greater = ((one | guard) - other) & guard
    mask = greater - (greater >> 31)
    return one ^ ((one ^ other) & mask)


def counts(vector: int, lanes: int) -> array[int]:
    """The counts, indexed by the number of the chain."""
    found = array("I", vector.to_bytes(lanes * 4, "little"))
    if byteorder == "big":
        found.byteswap()
    return found
