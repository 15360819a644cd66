"""Syncs wanted from nodes without an agent, until the answer to their next report carries them."""

from __future__ import annotations

from collections import OrderedDict

from gossipcontrol.server.core.finding import SyncWanted

QUEUED_NODES = 10_000
"""Most nodes with queued syncs; beyond, the node that waits longest is dropped."""
SYNCS_PER_NODE = 16
"""Most queued syncs of one node; beyond, the oldest is dropped, because it will be wanted again."""


class SyncQueue:
    """Bounded in nodes and in syncs per node: nodes that never report again must not fill the memory."""

    def __init__(self) -> None:
        self._queued: OrderedDict[str, OrderedDict[tuple[str, str], SyncWanted]] = OrderedDict()

    def put(self, wanted: SyncWanted) -> None:
        """Queue a sync, once however often it is wanted."""
        of_node = self._queued.setdefault(wanted.node_id, OrderedDict())
        of_node[wanted.store_id, wanted.peer_id] = wanted
        if len(of_node) > SYNCS_PER_NODE:
            of_node.popitem(last=False)
        if len(self._queued) > QUEUED_NODES:
            self._queued.popitem(last=False)

    def pop(self, node_id: str) -> list[SyncWanted]:
        """Remove and return the syncs of a node."""
        of_node = self._queued.pop(node_id, None)
        return list(of_node.values()) if of_node else []
