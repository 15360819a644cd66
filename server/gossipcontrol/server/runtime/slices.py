"""Long work in the event loop, in slices between which other work goes on."""

from __future__ import annotations

import time
from typing import TypeVar

from gossipcontrol.server.core.slices import LongSlices
from gossipcontrol.server.runtime.turns import current_call, wait_turn

BACKGROUND_TIME = 0.002
"""Seconds of work that belongs to no call after which others have their turn."""

T = TypeVar("T")


class Slice:
    """The work of one task; ``rest`` is called where it may be interrupted."""

    def __init__(self) -> None:
        self._call = current_call()
        self._began_at = time.perf_counter()
        self._ahead = 0.0

    def expect(self, seconds: float) -> None:
        """Count what the next bit will take already, so that a long one has a slice of its own."""
        self._ahead = seconds

    async def rest(self) -> None:
        """Let others have their turn if the slice is used up: that of its call, whatever the call did before."""
        if self._call is not None:
            is_over = self._call.is_over(self._ahead)
        else:
            is_over = time.perf_counter() - self._began_at + self._ahead >= BACKGROUND_TIME
        self._ahead = 0.0
        if is_over:
            await wait_turn()
            self._began_at = time.perf_counter()


async def in_slices(work: LongSlices[T]) -> T:
    """The result of work that pauses between its bits."""
    own = Slice()
    while True:
        try:
            ahead = next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        if ahead is not None:
            own.expect(ahead)
        await own.rest()
