"""Coroutines that only sleep, run in virtual time: thousands of clients for an hour within a second."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any


@coroutine
def _sleep(seconds: float) -> Generator[float, None, None]:
    yield seconds


class VirtualTime:
    """``sleep`` and ``clock`` for what takes them as parameters."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = itertools.count()
        self._waiting: list[tuple[float, int, Coroutine[Any, Any, Any]]] = []

    def clock(self) -> float:
        """Seconds since the beginning."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Wait for so long."""
        await _sleep(seconds)

    def start(self, work: Coroutine[Any, Any, Any], delay: float = 0.0) -> None:
        """Run a coroutine from then on."""
        heapq.heappush(self._waiting, (self.now + delay, next(self._order), work))

    def run(self, until: float) -> None:
        """Let time pass; what still waits then is closed."""
        while self._waiting and self._waiting[0][0] <= until:
            self.now, _, work = heapq.heappop(self._waiting)
            try:
                seconds = work.send(None)
            except StopIteration:
                continue
            self.start(work, seconds)
        self.now = until
        for _, _, work in self._waiting:
            work.close()
        self._waiting.clear()
