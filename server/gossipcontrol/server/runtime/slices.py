"""Long work in the event loop, in slices between which other work goes on."""

from __future__ import annotations

import time
from typing import TypeVar

from gossipcontrol.server.core.slices import Slices
from gossipcontrol.server.runtime.turns import wait_turn

SLICE_TIME = 0.005
"""Seconds of work after which others have their turn."""

T = TypeVar("T")


class Slice:
    """The work of one task; ``rest`` is called where it may be interrupted."""

    def __init__(self) -> None:
        self._began_at = time.perf_counter()

    def expect(self, seconds: float) -> None:
        """Count what the next bit will take already, so that a long one has a slice of its own."""
        self._began_at -= seconds

    async def rest(self) -> None:
        """Let others have their turn if this one took its slice."""
        if time.perf_counter() - self._began_at >= SLICE_TIME:
            await wait_turn()
            self._began_at = time.perf_counter()


async def in_slices(work: Slices[T]) -> T:
    """The result of work that pauses between its bits."""
    own = Slice()
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        await own.rest()
