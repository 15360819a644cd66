"""A gossip overlay of one store as HyParView keeps it: small active views that evict, and that rot in silence."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

VIEW = 5
"""Size of an active view (iroh-gossip's)."""


class Overlay:
    """Symmetric links. ``told(node, peer, up)`` hears of every change that a node notices."""

    def __init__(self, chance: random.Random, told: Callable[[str, str, bool], None]) -> None:
        self._chance = chance
        self._told = told
        self.views: dict[str, dict[str, None]] = {}

    def add(self, node_id: str) -> None:
        """A member without neighbours."""
        self.views[node_id] = {}

    def link(self, one: str, other: str) -> None:
        """Connect two members; a full view evicts a random neighbour."""
        if one == other or other in self.views[one]:
            return
        for full in (one, other):
            if len(self.views[full]) >= VIEW:
                self.unlink(full, self._chance.choice(list(self.views[full])))
        self._set(one, other, up=True)

    def unlink(self, one: str, other: str) -> None:
        """Drop a link; both ends notice."""
        if other in self.views[one]:
            self._set(one, other, up=False)

    def join(self, node_id: str, peers: Sequence[str], reachable: Callable[[str, str], bool]) -> None:
        """Connect through these peers, or, when there are none, through one that the member knows itself."""
        known = [peer for peer in peers if peer in self.views] or [self._chance.choice(list(self.views))]
        for peer in known:
            if reachable(node_id, peer):
                self.link(node_id, peer)

    def _set(self, one: str, other: str, *, up: bool) -> None:
        for node_id, peer_id in ((one, other), (other, one)):
            if up:
                self.views[node_id][peer_id] = None
            else:
                self.views[node_id].pop(peer_id)
            self._told(node_id, peer_id, up)
