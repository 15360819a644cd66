"""Who tries to reach whom across a partition: one node of each side in turn, and its target, in turn."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from gossipcontrol.server.core.liveness.partition import Side

DIALED = 256
"""Most nodes whose last attempt is remembered."""


class Bridge:
    """The attempts of one store; they are bounded over all its partitions."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self.next_at = -math.inf
        """No attempt is due before."""
        self._turn = 0
        self._dialed_at: dict[str, float] = {}
        """Node -> when it was last asked; the one asked longest ago first."""

    def attempt(self, sides: Sequence[Side], able: Collection[str], now: float) -> tuple[str, str] | None:
        """The attempt that is due, a node and a peer of another side, or none; sets when the next one may be.

        A side tries at most once per interval, whatever nodes it gains or loses; the sides take turns within it.
        """
        dialing = [side for side in sides if any(node_id in able for node_id in side)]
        last_at = [max(self._dialed_at.get(node_id, -math.inf) for node_id in side) for side in dialing]
        self.next_at = min(last_at, default=now) + self._interval
        if not dialing or now < self.next_at:
            return None
        own = dialing[last_at.index(min(last_at))]
        others = [side for side in sides if side is not own]
        nodes = [node_id for node_id in own if node_id in able]
        turn = self._turn
        self._turn += 1
        other, node_id = others[turn % len(others)], nodes[turn % len(nodes)]
        # The target runs ahead of the node by one in each round of nodes, so that in time every pair is tried.
        peer_id = other[(turn + turn // len(nodes)) % len(other)]
        self.next_at = now + self._interval / len(dialing)
        self._note(node_id, now)
        return node_id, peer_id

    def _note(self, node_id: str, now: float) -> None:
        self._dialed_at.pop(node_id, None)
        self._dialed_at[node_id] = now
        if len(self._dialed_at) > DIALED:
            del self._dialed_at[next(iter(self._dialed_at))]
