"""Forgetting in slices: first the stability frontier, peer by peer, then what lies below it, chain by chain."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, islice

from gossipcontrol.server.core.knowledge.graph import Graph
from gossipcontrol.server.core.knowledge.vector import LANE, LANE_MASK, meet

FORGET_WORK = 2048
"""Work of one event: forgotten intentions, and what else costs as much."""
CHAIN_WORK = 16
"""Work of cutting a chain."""
LANES_PER_WORK = 256
"""Counts of a vector that cost as much as one forgotten intention."""


class Forgetting:
    """One round. Vectors only grow, so a frontier that is gathered over several events lies at or below the true one.

    The state: how many peers were read, what they all hold, and how many chains were cut.
    """

    def __init__(self, peers: int = 0, stable: int | None = None, chains: int = -1, again: bool = False) -> None:
        self.peers = peers
        """How many peers were read, authors first, in the order of their first appearance."""
        self.stable = stable
        """What those that are active hold; None while there is none."""
        self.chains = chains
        """How many chains were cut; -1 while peers are read."""
        self.again = again
        """Whether another round is wanted after this one."""

    def include(self, vector: int, guard: int) -> None:
        """A peer that may have been read has begun an incarnation, or was added."""
        if self.chains < 0:
            self.stable = vector if self.stable is None else meet(self.stable, vector, guard)

    def step(self, graph: Graph, added: dict[str, str], held: Callable[[str], int | None], name_limit: int) -> bool:
        """Go on for one event; ``held`` gives an active peer's vector, else None. Returns whether the round is over."""
        work = FORGET_WORK
        price = 1 + len(graph.chains) // LANES_PER_WORK
        if self.chains < 0:
            for peer_id in islice(chain(graph.incarnations, added), self.peers, self.peers + work // price):
                self.peers += 1
                work -= price
                if (vector := held(peer_id)) is not None:
                    self.include(vector, graph.guard)
            if self.peers < len(graph.incarnations) + len(added):
                return False
            self.chains = 0
        stable = self.stable or 0
        while self.chains < len(graph.chains) and work > 0:
            stable_at = stable >> self.chains * LANE & LANE_MASK
            work -= 1
            if stable_at > graph.chains[self.chains].first:
                forgotten, complete = graph.forget(self.chains, stable_at, max(work, CHAIN_WORK), name_limit)
                work -= forgotten + CHAIN_WORK
                if not complete:
                    return False
            self.chains += 1
        return self.chains == len(graph.chains)
