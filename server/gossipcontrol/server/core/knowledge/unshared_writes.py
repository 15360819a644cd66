"""Looks for writes that no other peer provably holds: where they stay alone, gossip has rotted."""

from __future__ import annotations

from collections.abc import Iterator

from gossipcontrol.server.core.knowledge.record import Unshared
from gossipcontrol.server.core.knowledge.store import KnowledgeStore
from gossipcontrol.server.core.slices import Slices, finish

STEP = 0.05
"""Least seconds between two steps of a scan, and between two stores."""
STEP_WORK = 500
"""Peers that one step of a scan looks at, in a store of few chains."""
STEP_CHAINS = 250
"""Chains that make a peer cost as much again."""


class UnsharedWriteScanner:
    """Scans one store after the other. A peer of a store is suspected at most once per ``unshared_age``."""

    def __init__(self, knowledge: KnowledgeStore) -> None:
        self._knowledge = knowledge
        self._next_at: float | None = None
        self._waiting: list[str] = []
        """Stores that this round has yet to scan."""
        self._scan: tuple[str, Slices[list[Unshared]]] | None = None
        """The store whose scan is under way, and what is left of it."""
        self._suspected: dict[tuple[str, str], float] = {}

    def next_deadline(self) -> float | None:
        """When the next step is due; None while no store is tracked."""
        return self._next_at

    def arm(self, now: float) -> None:
        """A store may have become known: make sure that a scan is due."""
        if self._next_at is None:
            self._schedule(now)

    def scan_due(self, now: float) -> Iterator[Unshared]:
        """Go on with a scan if a step is due; what stands out in a store once it is scanned."""
        if self._next_at is None or now < self._next_at:
            return
        if self._scan is None:
            self._waiting = self._waiting or self._knowledge.store_ids()
            if self._waiting:
                store_id = self._waiting.pop()
                self._scan = store_id, self._knowledge.unshared_slices(store_id, now)
        result = self._go_on() if self._scan else []
        if result is None:
            self._next_at = now + STEP
            return
        store_id, self._scan = self._scan[0] if self._scan else "", None
        self._schedule(now)
        yield from self._unsuspected(result, store_id, now)

    def scan(self, store_id: str, now: float) -> Iterator[Unshared]:
        """The peers of a store whose old writes nobody else provably holds, and which were not suspected lately."""
        return self._unsuspected(finish(self._knowledge.unshared_slices(store_id, now)), store_id, now)

    def _go_on(self) -> list[Unshared] | None:
        """A step of the scan under way; its result at the end."""
        assert self._scan is not None
        store_id, work = self._scan
        tracker = self._knowledge.tracker(store_id)
        chains = len(tracker.graph.chains) if tracker else 0
        for _ in range(STEP_WORK // (1 + chains // STEP_CHAINS)):
            try:
                next(work)
            except StopIteration as end:
                result: list[Unshared] = end.value
                return result
        return None

    def _unsuspected(self, result: list[Unshared], store_id: str, now: float) -> Iterator[Unshared]:
        age = self._knowledge.parameters.unshared_age
        self._suspected = {key: at for key, at in self._suspected.items() if at + age > now}
        for found in result:
            if (store_id, found.author_id) not in self._suspected:
                yield found

    def suspect(self, found: Unshared, now: float) -> None:
        """Somebody acted on it: say nothing of this peer for a while."""
        self._suspected[found.store_id, found.author_id] = now

    def _schedule(self, now: float) -> None:
        stores = self._knowledge.store_count
        wait = max(STEP, self._knowledge.parameters.look_every / max(1, stores))
        self._next_at = now + wait if stores else None
