"""Lists of what deciding knows: rejoins, stores, gauges. Nothing here changes anything."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice

from gossipcontrol.server.core.deciding.history import History
from gossipcontrol.server.core.deciding.record import RejoinRecord, StoreNode, StoreRecord
from gossipcontrol.server.core.deciding.registry import Registry, Slot
from gossipcontrol.server.core.decision import Cause, Outcome

LISTED_NODES = 100
"""Most nodes listed in one StoreRecord."""


class Catalog:
    """Reads registry and history for those who ask."""

    def __init__(self, registry: Registry, history: History) -> None:
        self._registry = registry
        self._history = history
        self._sorted: list[str] = []
        self._sorted_at = -1

    def rejoin(self, rejoin_id: str) -> RejoinRecord | None:
        """One rejoin, unless it is unknown or forgotten."""
        rejoin = self._history.get(rejoin_id)
        return rejoin.record() if rejoin else None

    def rejoins(
        self,
        *,
        node_id: str = "",
        store_id: str = "",
        cause: Cause | None = None,
        outcome: Outcome | None = None,
        request_id: str = "",
        since: float | None = None,
        before: str = "",
    ) -> Iterator[RejoinRecord]:
        """Rejoins that match every filter given, newest first; with ``before``, only those older than that id."""
        for rejoin in self._history.newest(before):
            if since is not None and rejoin.requested_at < since:
                return
            if (
                (not node_id or rejoin.node_id == node_id)
                and (not store_id or rejoin.store_id == store_id)
                and (outcome is None or rejoin.outcome is outcome)
                and (not request_id or rejoin.has_request(request_id))
                and (cause is None or cause is rejoin.cause or cause in (rejoin.causes or ()))
            ):
                yield rejoin.record()

    def _store_ids(self, node_id: str, after: str) -> Iterator[str]:
        """Ids of stores behind ``after`` in order, at a cost in proportion to those that are taken.

        The ids are sorted once per change of the stores, not once per page.
        """
        if node_id:
            node = self._registry.nodes.get(node_id)
            return iter(sorted(one for one in (node.slots if node else ()) if one > after))
        if self._sorted_at != self._registry.store_changes:
            self._sorted, self._sorted_at = sorted(self._registry.stores), self._registry.store_changes
        return islice(self._sorted, bisect_right(self._sorted, after), None)

    def stores(self, *, node_id: str = "", after: str = "") -> Iterator[StoreRecord]:
        """Stores by id; with ``after``, only those behind it."""
        for store_id in self._store_ids(node_id, after):
            store = self._registry.stores.get(store_id)
            if store is not None and (not node_id or node_id in store.slots):
                yield StoreRecord(
                    store_id=store_id,
                    nodes=tuple(_store_node(store.slots[one]) for one in sorted(store.slots)[:LISTED_NODES]),
                    node_count=len(store.slots),
                    peer_count=self._registry.liveness.peer_count(store_id),
                    rejoin_at=store.rejoin_at,
                    attached=sum(slot.node.attached for slot in store.slots.values()),
                    running=sum(slot.running is not None for slot in store.slots.values()),
                    waiting=sum(slot.waiting is not None for slot in store.slots.values()),
                )


def _store_node(slot: Slot) -> StoreNode:
    node = slot.node
    return StoreNode(node.node_id, node.host_id, node.attached, len(slot.neighbors), slot.reported_at)
