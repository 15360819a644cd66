"""Lists of what deciding knows: rejoins, stores, gauges. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nsmallest
from typing import Any, TypeAlias, TypeVar

from gossipcontrol.server.core.deciding.history import History
from gossipcontrol.server.core.deciding.record import RejoinRecord, StoreNode, StoreRecord
from gossipcontrol.server.core.deciding.registry import Registry, Slot, Store
from gossipcontrol.server.core.decision import Cause, Outcome

LISTED_NODES = 100
"""Most nodes listed in one StoreRecord."""
SORTED_BATCH = 100
"""Ids of stores looked up at a time."""
COUNTED = 1000
"""Nodes of a store counted between two pauses."""

T = TypeVar("T")
Scan: TypeAlias = "Iterator[T | None]"
"""What is found, and None where the search may be interrupted: all may change meanwhile."""


class Catalog:
    """Reads registry and history for those who ask."""

    def __init__(self, registry: Registry, history: History) -> None:
        self._registry = registry
        self._history = history

    def rejoin(self, rejoin_id: str) -> RejoinRecord | None:
        """One rejoin, unless it is unknown or forgotten."""
        rejoin = self._history.get(rejoin_id)
        return rejoin.record() if rejoin else None

    def rejoins(self, **filters: Any) -> Iterator[RejoinRecord]:
        """What ``scan_rejoins`` finds."""
        return (one for one in self.scan_rejoins(**filters) if one is not None)

    def scan_rejoins(
        self,
        *,
        node_id: str = "",
        store_id: str = "",
        cause: Cause | None = None,
        outcome: Outcome | None = None,
        request_id: str = "",
        since: float | None = None,
        before: str = "",
    ) -> Scan[RejoinRecord]:
        """Rejoins that match every filter given, newest first; with ``before``, only those older than that id."""
        found = self._history.of_request(request_id) if request_id else self._history.newest(before)
        for rejoin in found:
            if since is not None and rejoin.requested_at < since:
                return
            matches = (
                (not node_id or rejoin.node_id == node_id)
                and (not store_id or rejoin.store_id == store_id)
                and (outcome is None or rejoin.outcome is outcome)
                and (cause is None or cause is rejoin.cause or cause in (rejoin.causes or ()))
            )
            yield rejoin.record() if matches else None

    def has_store(self, store_id: str) -> bool:
        """Whether a store is known."""
        return store_id in self._registry.stores

    def stores(self, *, node_id: str = "", after: str = "") -> Iterator[StoreRecord]:
        """What ``scan_stores`` finds."""
        return (one for one in self.scan_stores(node_id=node_id, after=after) if one is not None)

    def scan_stores(self, *, node_id: str = "", after: str = "") -> Scan[StoreRecord]:
        """Stores by id; with ``after``, only those behind it."""
        registry = self._registry
        for _ in registry.store_order.catch_up(registry.stores):
            yield None
        for store_id in self._store_ids(node_id, after):
            store = registry.stores.get(store_id)
            if store is not None and (not node_id or node_id in store.slots):
                yield from self._describe(store)

    def _store_ids(self, node_id: str, after: str) -> Iterator[str]:
        """Ids of stores behind ``after`` in order, at a cost in proportion to those that are taken."""
        if node_id:
            yield from sorted(one for one in self._registry.store_ids(node_id) if one > after)
            return
        while found := self._registry.store_order.after(after, SORTED_BATCH):
            yield from found
            after = found[-1]

    def _describe(self, store: Store) -> Scan[StoreRecord]:
        """One store, with pauses: it may have as many nodes as are known. Those that go meanwhile are left out."""
        node_ids = nsmallest(LISTED_NODES, store.slots)
        attached = running = waiting = 0
        for number, slot in enumerate(list(store.slots.values()), start=1):
            attached += slot.node.attached
            running += slot.running is not None
            waiting += slot.waiting is not None
            if number % COUNTED == 0:
                yield None
        yield StoreRecord(
            store_id=store.store_id,
            nodes=tuple(_store_node(store.slots[one]) for one in node_ids if one in store.slots),
            node_count=len(store.slots),
            peer_count=self._registry.liveness.peer_count(store.store_id),
            rejoin_at=store.rejoin_at,
            attached=attached,
            running=running,
            waiting=waiting,
        )


def _store_node(slot: Slot) -> StoreNode:
    node = slot.node
    return StoreNode(node.node_id, node.host_id, node.attached, len(slot.neighbors), slot.reported_at, node.name)
