"""Looks for writes that no other peer provably holds: where they stay alone, gossip has rotted."""

from __future__ import annotations

from collections.abc import Iterator

from gossipcontrol.server.core.knowledge.record import Unshared
from gossipcontrol.server.core.knowledge.store import KnowledgeStore

STEP = 0.05
"""Least seconds between two stores: a scan costs milliseconds."""


class UnsharedWriteScanner:
    """Scans one store after the other. A peer of a store is suspected at most once per ``unshared_age``."""

    def __init__(self, knowledge: KnowledgeStore) -> None:
        self._knowledge = knowledge
        self._next_at: float | None = None
        self._waiting: list[str] = []
        """Stores that this round has yet to scan."""
        self._suspected: dict[tuple[str, str], float] = {}

    def next_deadline(self) -> float | None:
        """When the next store is due; None while none is tracked."""
        return self._next_at

    def arm(self, now: float) -> None:
        """A store may have become known: make sure that a scan is due."""
        if self._next_at is None:
            self._schedule(now)

    def scan_due(self, now: float) -> Iterator[Unshared]:
        """What stands out in the store that is due, if one is."""
        if self._next_at is None or now < self._next_at:
            return
        self._waiting = self._waiting or self._knowledge.store_ids()
        store_id = self._waiting.pop() if self._waiting else ""
        self._schedule(now)
        if store_id:
            yield from self.scan(store_id, now)

    def scan(self, store_id: str, now: float) -> Iterator[Unshared]:
        """The peers of a store whose old writes nobody else provably holds, and which were not suspected lately."""
        age = self._knowledge.parameters.unshared_age
        self._suspected = {key: at for key, at in self._suspected.items() if at + age > now}
        for found in self._knowledge.unshared(store_id, now):
            if (store_id, found.author_id) not in self._suspected:
                yield found

    def suspect(self, found: Unshared, now: float) -> None:
        """Somebody acted on it: say nothing of this peer for a while."""
        self._suspected[found.store_id, found.author_id] = now

    def _schedule(self, now: float) -> None:
        stores = self._knowledge.store_count
        wait = max(STEP, self._knowledge.parameters.look_every / max(1, stores))
        self._next_at = now + wait if stores else None
