"""Syncs that are wanted of nodes without an agent, until their next report is answered."""

from __future__ import annotations

from collections import OrderedDict

from gossipcontrol.server.core.finding import SyncWanted

NODES = 10_000
"""Most nodes for which syncs wait; the one that waits longest goes first."""
PER_NODE = 16
"""Most syncs that wait for one node; the oldest goes first, for it will be asked for again."""


class SyncQueue:
    """Bounded in both directions: a node that never reports again must not fill the memory."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, OrderedDict[tuple[str, str], SyncWanted]] = OrderedDict()

    def put(self, wanted: SyncWanted) -> None:
        """Keep a sync; asked for twice, it waits once."""
        of_node = self._waiting.setdefault(wanted.node_id, OrderedDict())
        of_node[wanted.store_id, wanted.peer_id] = wanted
        if len(of_node) > PER_NODE:
            of_node.popitem(last=False)
        if len(self._waiting) > NODES:
            self._waiting.popitem(last=False)

    def take(self, node_id: str) -> list[SyncWanted]:
        """The syncs that wait for a node, which wait no more."""
        of_node = self._waiting.pop(node_id, None)
        return list(of_node.values()) if of_node else []
