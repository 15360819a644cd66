"""Looks for writes that no other peer provably holds: where they stay alone, gossip has rotted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gossipcontrol.server.core.knowledge.record import Unshared
from gossipcontrol.server.core.knowledge.store import KnowledgeStore
from gossipcontrol.server.runtime.clock import ServiceClock

STEP = 0.05
"""Least seconds between two stores: a look costs milliseconds."""


class UnsharedWriteScanner:
    """Looks at one store after the other; ``suspect`` says whether it acted on what it was told.

    A peer of a store is suspected at most once per ``unshared_age``.
    """

    def __init__(self, book: KnowledgeStore, clock: ServiceClock, suspect: Callable[[Unshared, float], bool]) -> None:
        self._book = book
        self._clock = clock
        self._suspect = suspect
        self._waiting: list[str] = []
        self._suspected: dict[tuple[str, str], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look."""
        wait = max(STEP, self._book.parameters.look_every / max(1, len(self._book.store_ids())))
        self._timer = asyncio.get_running_loop().call_later(wait, self._tick)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def look(self, store_id: str) -> None:
        """Suspect the peers of a store whose old writes nobody else provably holds."""
        now, age = self._clock.now(), self._book.parameters.unshared_age
        self._suspected = {key: at for key, at in self._suspected.items() if at + age > now}
        for found in self._book.unshared(store_id, now):
            key = (store_id, found.author_id)
            if key not in self._suspected and self._suspect(found, now):
                self._suspected[key] = now

    def _tick(self) -> None:
        self._waiting = self._waiting or self._book.store_ids()
        if self._waiting:
            self.look(self._waiting.pop())
        self.start()
