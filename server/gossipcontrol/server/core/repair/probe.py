"""Who tries to reach whom across a partition: one node of each side in turn, and its target, in turn."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from heapq import heapify, heappop, heappush
from itertools import accumulate
from typing import TypeVar

from gossipcontrol.server.core.diagnosis.partition import Side
from gossipcontrol.server.core.event import NEVER

MAX_REMEMBERED = 256
"""Nodes, and sides, whose last attempt is remembered; more where more nodes are apart."""
MAX_ATTEMPT_RATE = 32.0
"""Most attempts of one store per second."""
Number = TypeVar("Number", int, float)


class PartitionProber:
    """The attempts of one store; they are bounded over all its partitions. An attempt costs about its side's size."""

    __slots__ = ("_dialed_at", "_interval", "_nodes", "_queue", "_sides", "_starts", "_turns", "next_at")

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self.next_at = -math.inf
        """No attempt is due before."""
        self._sides: Sequence[Side] = ()
        self._nodes: Sequence[str] = ()
        """The nodes of all sides, side by side."""
        self._starts: Sequence[int] = ()
        """Where each side begins among them."""
        self._queue: list[tuple[float, int]] = []
        """When each side tried last, and its index: a heap."""
        self._turns: dict[str, int] = {}
        """Attempts of each side, by its first node; the one that tried longest ago first."""
        self._dialed_at: dict[str, float] = {}
        """Node -> when it was last asked; the one asked longest ago first."""

    def set_sides(self, sides: Sequence[Side], capable: Collection[str]) -> None:
        """Take the sides as they are now, and who can try."""
        self._sides = sides
        self._nodes = [node_id for side in sides for node_id in side]
        self._starts = list(accumulate(map(len, sides), initial=0))
        self._queue = [
            (max(self._dialed_at.get(node_id, NEVER) for node_id in side), index)
            for index, side in enumerate(sides)
            if any(node_id in capable for node_id in side)
        ]
        heapify(self._queue)

    def attempt(self, capable: Collection[str], now: float) -> tuple[str, str] | None:
        """The attempt that is due, a node and a peer of another side, or none; sets when the next one may be.

        A side tries at most once per interval, whatever nodes it gains or loses; the sides take turns within it, and
        longer where they are too many for ``RATE``.
        """
        queue = self._queue
        if not queue or now < queue[0][0] + self._interval:
            self.next_at = (queue[0][0] if queue else now) + self._interval
            return None
        self.next_at = now + max(self._interval / len(queue), 1 / MAX_ATTEMPT_RATE)
        _, index = heappop(queue)
        own = self._sides[index]
        nodes = [node_id for node_id in own if node_id in capable]
        if not nodes:  # its last one has gone since; so it is till the sides are taken anew
            return None
        heappush(queue, (now, index))
        turn = self._turns.get(own[0], 0)
        node_id, peer_id = self._pair(nodes, index, turn)
        self._remember(self._turns, own[0], turn + 1)
        self._remember(self._dialed_at, node_id, now)
        return node_id, peer_id

    def _pair(self, nodes: Sequence[str], index: int, turn: int) -> tuple[str, str]:
        """One of these nodes of a side, and a peer of another."""
        start, size = self._starts[index], len(self._sides[index])
        count = len(self._nodes) - size
        # Two wheels turn together; whenever both are where they began one skips a place, so every pair comes.
        index_of_peer = (turn + turn // math.lcm(len(nodes), count)) % count
        return nodes[turn % len(nodes)], self._nodes[index_of_peer if index_of_peer < start else index_of_peer + size]

    def _remember(self, known: dict[str, Number], key: str, value: Number) -> None:
        known.pop(key, None)
        known[key] = value
        while len(known) > max(MAX_REMEMBERED, len(self._nodes)):
            del known[next(iter(known))]
