"""Who tries to reach whom across a partition: one node of each side in turn, and its target, in turn."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TypeVar

from gossipcontrol.server.core.event import NEVER
from gossipcontrol.server.core.liveness.partition import Side

REMEMBERED = 256
"""Most nodes, and sides, whose last attempt is remembered."""
Number = TypeVar("Number", int, float)


class Bridge:
    """The attempts of one store; they are bounded over all its partitions."""

    __slots__ = ("_dialed_at", "_interval", "_turns", "next_at")

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self.next_at = -math.inf
        """No attempt is due before."""
        self._turns: dict[str, int] = {}
        """Attempts of each side, by its first node; the one that tried longest ago first."""
        self._dialed_at: dict[str, float] = {}
        """Node -> when it was last asked; the one asked longest ago first."""

    def attempt(self, sides: Sequence[Side], able: Collection[str], now: float) -> tuple[str, str] | None:
        """The attempt that is due, a node and a peer of another side, or none; sets when the next one may be.

        A side tries at most once per interval, whatever nodes it gains or loses; the sides take turns within it.
        """
        dialing = [side for side in sides if any(node_id in able for node_id in side)]
        last_at = [max(self._dialed_at.get(node_id, NEVER) for node_id in side) for side in dialing]
        self.next_at = min(last_at, default=now) + self._interval
        if not dialing or now < self.next_at:
            return None
        own = dialing[last_at.index(min(last_at))]
        nodes = [node_id for node_id in own if node_id in able]
        peers = [node_id for side in sides if side is not own for node_id in side]
        turn = self._turns.get(own[0], 0)
        # Two wheels turn together; whenever both are where they began one skips a place, so every pair comes.
        node_id = nodes[turn % len(nodes)]
        peer_id = peers[(turn + turn // math.lcm(len(nodes), len(peers))) % len(peers)]
        self.next_at = now + self._interval / len(dialing)
        _put_last(self._turns, own[0], turn + 1)
        _put_last(self._dialed_at, node_id, now)
        return node_id, peer_id


def _put_last(known: dict[str, Number], key: str, value: Number) -> None:
    known.pop(key, None)
    known[key] = value
    if len(known) > REMEMBERED:
        del known[next(iter(known))]
