"""Work that pauses, so that a caller in an event loop can let others go on."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")
Slices = Generator[None, None, T]
"""Work that pauses after each bit of it, which takes well below a millisecond, and returns its result."""

LongSlices = Generator[float | None, None, T]
"""The same, where a bit may take long: yields the seconds that the next one takes, None for a short one."""


def finish(work: LongSlices[T]) -> T:
    """Do all of it at once."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result
