"""A chain: intentions of one incarnation of one author, each the successor of the one before, stored in columns."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from gossipcontrol.server.core.knowledge.vector import LANE

POSITION_MASK = (1 << 32) - 1
"""The bits of a position that hold the count; the bits above are the number of the chain."""
NO_PARENT = -1
"""The parent of a chain that starts with an author's first intention."""
MARK_SPACING = 10
"""Seconds between two remembered times of a chain."""


class Incarnation:
    """An author between two losses of its data: what it provably holds, and when that was last proved."""

    __slots__ = ("author_id", "chains", "label", "proved_at", "vector")

    def __init__(self, author_id: str, label: str) -> None:
        self.author_id = author_id
        self.label = label
        self.vector = 0
        self.proved_at = 0.0
        self.chains: list[Chain] = []


class Chain:
    """Counts start at 1. Intentions below ``first`` are forgotten, but the vector of ``first`` is kept.

    A whole vector per intention would cost 4 bytes per chain. So only the newest and some in between (checkpoints) are
    kept; ``Graph.vector`` computes the others from those and from the dependencies.
    """

    __slots__ = (
        "acks",
        "check_at",
        "check_ends",
        "check_orders",
        "checks",
        "dependency_chains",
        "dependency_counts",
        "fan_ins",
        "first",
        "forgotten_acks",
        "hashes",
        "incarnation",
        "length",
        "mark_at",
        "mark_times",
        "named_from",
        "number",
        "offset",
        "order",
        "parent",
        "shift",
        "tip",
    )  # fmt: skip

    def __init__(self, number: int, incarnation: Incarnation, parent: int, offset: int) -> None:
        self.number = number
        self.shift = number * LANE
        self.incarnation = incarnation
        self.parent = parent
        """The position it branches off; NO_PARENT when it starts with its author's first intention."""
        self.offset = offset
        """Position of its parent among the author's intentions."""
        self.first = 1
        self.named_from = 1
        """Lowest count whose hash is still recognised."""
        self.length = 0
        self.tip = 0
        """Vector of the newest intention."""
        self.order = 0
        """Number of intentions in the store when the newest was added."""
        self.hashes: list[bytes] = []
        self.dependency_chains = array("H")
        self.dependency_counts = array("I")
        """Positions that added to the vector of the predecessor, as two columns; other dependencies are implied."""
        self.fan_ins = bytearray()
        """Per intention, how many of those dependencies it has; 0 where its vector is kept."""
        self.acks = array("I")
        """Counts of the bare acknowledgements."""
        self.forgotten_acks = 0
        self.check_at = array("I")
        """Counts of the checkpoints; parallel columns hold their vectors, ends of dependencies, and orders."""
        self.checks: list[int] = []
        self.check_ends = array("I")
        self.check_orders = array("Q")
        self.mark_at = array("I")
        """Counts whose time is kept; a parallel column holds the times (whole seconds of service time)."""
        self.mark_times = array("I")

    def append(
        self, name: bytes, vector: int, kept: Sequence[int], ack: bool, order: int, stride: int, now: float
    ) -> None:
        """Append an intention with the positions that added to its vector; sometimes keep its vector or its time."""
        self.length = count = self.length + 1
        self.tip, self.order = vector, order
        self.hashes.append(name)
        if ack:
            self.acks.append(count)
        if not self.mark_times or now >= self.mark_times[-1] + MARK_SPACING:
            self.mark_at.append(count)
            self.mark_times.append(int(now))
        if count - (self.check_at[-1] if self.check_at else 0) >= stride or len(kept) > 255:
            self.fan_ins.append(0)
            self.check_at.append(count)
            self.checks.append(vector)
            self.check_ends.append(len(self.dependency_counts))
            self.check_orders.append(order)
        else:
            self.fan_ins.append(len(kept))
            for position in kept:
                self.dependency_chains.append(position >> 32)
                self.dependency_counts.append(position & POSITION_MASK)

    def dependencies_of(self, count: int) -> list[int]:
        """The stored dependencies of a retained intention; empty where its vector is kept."""
        end = self._end(count)
        start = end - self.fan_ins[count - self.first]
        return [self.dependency_chains[one] << 32 | self.dependency_counts[one] for one in range(start, end)]

    def kept_vector(self, count: int) -> int | None:
        """The vector at a count; None when it is not kept."""
        if count == self.length:
            return self.tip
        index = bisect_left(self.check_at, count)
        return self.checks[index] if index < len(self.check_at) and self.check_at[index] == count else None

    def checkpoint(self, count: int) -> tuple[int, int]:
        """The last checkpoint at or before a count, and its vector; (0, 0) when there is none."""
        index = bisect_right(self.check_at, count) - 1
        return (self.check_at[index], self.checks[index]) if index >= 0 else (0, 0)

    def estimate_order(self, count: int) -> int:
        """Roughly how many intentions the store had when this one was added, interpolated between checkpoints."""
        index = bisect_right(self.check_at, count) - 1
        low, low_order = (self.check_at[index], self.check_orders[index]) if index >= 0 else (0, 0)
        high, high_order = self.length, self.order
        if index + 1 < len(self.check_at):
            high, high_order = self.check_at[index + 1], self.check_orders[index + 1]
        return low_order + (high_order - low_order) * (count - low) // max(1, high - low)

    def contents(self, count: int) -> int:
        """How many of the first ``count`` intentions carry content; a lower bound below ``first``."""
        if count < self.first:
            return max(0, count - self.forgotten_acks)
        return count - self.forgotten_acks - bisect_right(self.acks, count)

    def next_content(self, after: int) -> int | None:
        """The lowest retained count above ``after`` that carries content; None when there is none."""
        count = max(after + 1, self.first)
        index = bisect_left(self.acks, count)
        while index < len(self.acks) and self.acks[index] == count:
            count, index = count + 1, index + 1
        return count if count <= self.length else None

    def hash_at(self, count: int) -> bytes:
        """The hash at a count; empty when it is forgotten."""
        return self.hashes[count - self.first] if count >= self.first else b""

    def recorded_at(self, count: int) -> float:
        """When a retained intention was recorded (service time); up to ``MARK_SPACING`` seconds too early."""
        return float(self.mark_times[bisect_right(self.mark_at, count) - 1])

    def recorded_until(self, instant: float) -> int:
        """The highest count that ``recorded_at`` dates at or before an instant; below ``first`` when there is none."""
        index = bisect_right(self.mark_times, instant)
        return self.mark_at[index] - 1 if index < len(self.mark_at) else self.length

    def forget(self, first: int, vector: int) -> list[bytes]:
        """Forget the intentions below ``first``, whose vector is given; return their hashes.

        Columns are replaced, not cut in place, because a snapshot may still be reading the old ones.
        """
        gone = first - self.first
        hashes = self.hashes[:gone]
        end = self._end(first)
        self.dependency_chains = self.dependency_chains[end:]
        self.dependency_counts = self.dependency_counts[end:]
        checks = bisect_right(self.check_at, first)
        self.check_orders = array("Q", [self.estimate_order(first)]) + self.check_orders[checks:]
        self.check_at = array("I", [first]) + self.check_at[checks:]
        self.check_ends = array("I", [0, *(one - end for one in self.check_ends[checks:])])
        self.checks = [vector, *self.checks[checks:]]
        self.hashes = self.hashes[gone:]
        self.fan_ins = self.fan_ins[gone:]
        self.fan_ins[0] = 0
        acks = bisect_left(self.acks, first)
        self.forgotten_acks += acks
        self.acks = self.acks[acks:]
        marks = bisect_right(self.mark_at, first) - 1
        self.mark_at = self.mark_at[marks:]
        self.mark_times = self.mark_times[marks:]
        self.first = first
        return hashes

    def _end(self, count: int) -> int:
        """Where the dependencies of a retained intention end."""
        index = bisect_right(self.check_at, count) - 1
        checked, end = (self.check_at[index], self.check_ends[index]) if index >= 0 else (self.first - 1, 0)
        return end + sum(self.fan_ins[checked - self.first + 1 : count - self.first + 1])
