"""Syncs that are wanted of nodes without an agent, until their next report is answered."""

from __future__ import annotations

from collections import OrderedDict

from gossipcontrol.server.core.finding import OfferSync

NODES = 10_000
"""Most nodes for which syncs wait; the one that waits longest goes first."""
PER_NODE = 16
"""Most syncs that wait for one node; the oldest goes first, for it will be asked for again."""


class SyncOffers:
    """Bounded in both directions: a node that never reports again must not fill the memory."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, OrderedDict[tuple[str, str], OfferSync]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, offer: OfferSync) -> None:
        """Keep a sync; asked for twice, it waits once."""
        of_node = self._waiting.setdefault(offer.node_id, OrderedDict())
        self._count += (offer.store_id, offer.peer_id) not in of_node
        of_node[offer.store_id, offer.peer_id] = offer
        if len(of_node) > PER_NODE:
            of_node.popitem(last=False)
            self._count -= 1
        if len(self._waiting) > NODES:
            self._count -= len(self._waiting.popitem(last=False)[1])

    def pop(self, node_id: str) -> list[OfferSync]:
        """The syncs that wait for a node, which wait no more."""
        of_node = self._waiting.pop(node_id, None)
        if not of_node:
            return []
        self._count -= len(of_node)
        return list(of_node.values())
