"""The one model of a gossip overlay of one store: small active views that evict, as HyParView keeps them."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

VIEW = 5
"""Size of an active view (iroh-gossip's)."""

OnChange: TypeAlias = Callable[[str, str, bool], None]
"""Called with node, peer and whether the link is up, for every change that a node notices."""
Passes: TypeAlias = Callable[[str, str], bool]
"""Whether a message from a sender to a receiver arrives."""


class Overlay:
    """Links between members. A link is symmetric until one end notices alone that it is dead (``drop``)."""

    def __init__(self, chance: random.Random, on_change: OnChange, size: int = VIEW) -> None:
        self._chance = chance
        self._on_change = on_change
        self._size = size
        self.views: dict[str, dict[str, None]] = {}

    def add(self, node_id: str) -> None:
        """Add a member without neighbours."""
        self.views[node_id] = {}

    def is_full(self, node_id: str) -> bool:
        """Whether a further neighbour would take the place of one."""
        return len(self.views[node_id]) >= self._size

    def link(self, one: str, other: str) -> None:
        """Connect two members; a full view evicts a random neighbour first."""
        if one == other or other in self.views[one]:
            return
        for full in (one, other):
            if len(self.views[full]) >= self._size:
                self.unlink(full, self._chance.choice(list(self.views[full])))
        self._set(one, other, up=True)

    def unlink(self, one: str, other: str) -> None:
        """Remove a link; both ends notice."""
        if other in self.views[one]:
            self._set(one, other, up=False)

    def drop(self, node_id: str, peer_id: str) -> None:
        """Remove a neighbour from one view: this end alone notices."""
        if peer_id in self.views[node_id]:
            del self.views[node_id][peer_id]
            self._on_change(node_id, peer_id, False)

    def join(self, node_id: str, peers: Sequence[str], passes: Passes) -> None:
        """Connect through these peers, or, when there are none, through one that the member knows itself."""
        known = [peer for peer in peers if peer in self.views] or [self._chance.choice(list(self.views))]
        for peer in known:
            if passes(node_id, peer):
                self.link(node_id, peer)

    def flood(self, author: str, passes: Passes) -> dict[str, str]:
        """Broadcast: each member that the flood reaches, in order, and the neighbour that it came from."""
        came_from, frontier = {author: author}, deque([author])
        while frontier:
            sender = frontier.popleft()
            for peer in self.views[sender]:
                if peer not in came_from and sender in self.views[peer] and passes(sender, peer):
                    came_from[peer] = sender
                    frontier.append(peer)
        del came_from[author]
        return came_from

    def components(self, passes: Passes, members: Collection[str] | None = None) -> list[list[str]]:
        """The connected components among these members (all by default), over links that pass messages."""
        left = dict.fromkeys(self.views if members is None else members)
        found: list[list[str]] = []
        while left:
            first = next(iter(left))
            del left[first]
            component, frontier = [first], [first]
            while frontier:
                one = frontier.pop()
                for other in self.views[one]:
                    if other in left and passes(one, other):
                        del left[other]
                        component.append(other)
                        frontier.append(other)
            found.append(component)
        return found

    def _set(self, one: str, other: str, *, up: bool) -> None:
        for node_id, peer_id in ((one, other), (other, one)):
            if up:
                self.views[node_id][peer_id] = None
            else:
                self.views[node_id].pop(peer_id, None)
            self._on_change(node_id, peer_id, up)


class ShuffledOverlay(Overlay):
    """An overlay that no eviction splits, as after shuffles: a full view keeps the links that hold it together.

    ``passes`` and ``members`` give the components as they are now: which links pass messages, and who is alive.
    """

    def __init__(
        self,
        chance: random.Random,
        on_change: OnChange,
        size: int,
        passes: Passes,
        members: Callable[[], Collection[str]],
    ) -> None:
        super().__init__(chance, on_change, size)
        self._passes = passes
        self._members = members

    def link(self, one: str, other: str) -> None:
        """Connect two members; a full view then evicts a random neighbour that is connected without it."""
        if one == other or other in self.views[one]:
            return
        self._set(one, other, up=True)
        for full in (one, other):
            if len(self.views[full]) > self._size:
                for victim in sorted(self.views[full], key=lambda _: self._chance.random()):
                    if victim not in (one, other) and self._is_redundant(full, victim):
                        self.unlink(full, victim)
                        break

    def _is_redundant(self, one: str, other: str) -> bool:
        """Whether as many components remain without a link."""
        before = len(self.components(self._passes, self._members()))
        del self.views[one][other], self.views[other][one]
        after = len(self.components(self._passes, self._members()))
        self.views[one][other] = self.views[other][one] = None
        return after == before
