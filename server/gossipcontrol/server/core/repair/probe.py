"""Chooses which node probes which peer across a partition; sides, nodes and targets take turns."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from heapq import heapify, heappop, heappush
from itertools import accumulate
from typing import TypeVar

from gossipcontrol.server.core.diagnosis.partition import Side
from gossipcontrol.server.core.event import NEVER

MAX_REMEMBERED = 256
"""Nodes, and sides, whose last attempt is remembered; more if more nodes are apart."""
MAX_ATTEMPT_RATE = 32.0
"""Most attempts per second in one store."""
Number = TypeVar("Number", int, float)


class PartitionProber:
    """The probes of one store, limited over all its partitions. An attempt costs about the size of its side."""

    __slots__ = ("_dialed_at", "_interval", "_known", "_nodes", "_queue", "_sides", "_starts", "_turns", "next_at")

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self.next_at = -math.inf
        """No attempt is due before."""
        self._sides: Sequence[Side] = ()
        self._nodes: Sequence[str] = ()
        """The nodes of all sides, concatenated; those of strange sides come last."""
        self._known = 0
        """Number of the others: only they are probed."""
        self._starts: Sequence[int] = ()
        """The index of each side's first node in ``_nodes``."""
        self._queue: list[tuple[float, int]] = []
        """Heap of (last attempt, index of the side)."""
        self._turns: dict[str, int] = {}
        """First node of a side -> its number of attempts; the least recent comes first."""
        self._dialed_at: dict[str, float] = {}
        """Node -> when it last probed; the least recent comes first."""

    def set_sides(self, sides: Sequence[Side], capable: Collection[str], strange: Collection[int] = ()) -> None:
        """Set the current sides, and the nodes that can probe; sides in ``strange`` (indexes) are probed by nobody."""
        known = [side for index, side in enumerate(sides) if index not in strange]
        self._known = sum(map(len, known))
        self._sides = sides = [*known, *(side for index, side in enumerate(sides) if index in strange)]
        self._nodes = [node_id for side in sides for node_id in side]
        self._starts = list(accumulate(map(len, sides), initial=0))
        self._queue = [
            (max(self._dialed_at.get(node_id, NEVER) for node_id in side), index)
            for index, side in enumerate(sides)
            if any(node_id in capable for node_id in side) and (index >= len(known) or len(known) > 1)
        ]
        heapify(self._queue)

    def attempt(self, capable: Collection[str], now: float) -> tuple[str, str] | None:
        """The attempt that is due, as (node, peer of another side), or None; sets ``next_at``.

        A side probes at most once per interval, whichever nodes join or leave it. Sides take turns within the
        interval, or within a longer time if there are too many for ``MAX_ATTEMPT_RATE``.
        """
        queue = self._queue
        if not queue or now < queue[0][0] + self._interval:
            self.next_at = (queue[0][0] if queue else now) + self._interval
            return None
        self.next_at = now + max(self._interval / len(queue), 1 / MAX_ATTEMPT_RATE)
        _, index = heappop(queue)
        own = self._sides[index]
        nodes = [node_id for node_id in own if node_id in capable]
        if not nodes:  # its last capable node is gone; the side waits for the next ``set_sides``
            return None
        heappush(queue, (now, index))
        turn = self._turns.get(own[0], 0)
        node_id, peer_id = self._pair(nodes, index, turn)
        self._remember(self._turns, own[0], turn + 1)
        self._remember(self._dialed_at, node_id, now)
        return node_id, peer_id

    def _pair(self, nodes: Sequence[str], index: int, turn: int) -> tuple[str, str]:
        """One of these nodes of a side, and a peer of another side."""
        start, size = self._starts[index], len(self._sides[index])
        count = self._known if start >= self._known else self._known - size
        # Both indexes advance together; each time both are back at the start, one skips a step, so all pairs occur.
        index_of_peer = (turn + turn // math.lcm(len(nodes), count)) % count
        return nodes[turn % len(nodes)], self._nodes[index_of_peer if index_of_peer < start else index_of_peer + size]

    def _remember(self, known: dict[str, Number], key: str, value: Number) -> None:
        known.pop(key, None)
        known[key] = value
        while len(known) > max(MAX_REMEMBERED, len(self._nodes)):
            del known[next(iter(known))]
