"""A chain: intentions of one incarnation of one author, each the successor of the one before, stored in columns."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from gossipcontrol.server.core.knowledge.level import LEVEL_SPACING, Levels
from gossipcontrol.server.core.knowledge.vector import LANE

POSITION_MASK = (1 << 32) - 1
"""The bits of a position that hold the count; the bits above are the number of the chain."""
NO_PARENT = -1
"""The parent of a chain that starts with an author's first intention."""
MARK_SPACING = 10
"""Seconds between two remembered times of a chain."""
WALK_LIMIT = 64
"""Most places that a walk from any place visits, itself included: the vector of a place beyond it is kept."""
CUT_SPACING = 50
"""Most intentions of a chain from one cut to the next."""


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

    A whole vector per intention would cost 4 bytes per chain. So only the newest is kept whole, and some in between
    (checkpoints) as rows; ``Graph.vector`` computes the others from those and from the dependencies. The *weight* of an
    intention bounds how many places that visits: 1 where the vector is kept, else one more than the weights of its
    predecessor and dependencies together. Where it would exceed ``WALK_LIMIT`` there is a checkpoint.
    """

    __slots__ = (
        "acks",
        "check_at",
        "check_levels",
        "cut_at",
        "cut_ends",
        "dependency_chains",
        "dependency_counts",
        "fan_ins",
        "first",
        "forgotten_acks",
        "hashes",
        "incarnation",
        "length",
        "levels",
        "mark_at",
        "mark_times",
        "named_from",
        "number",
        "offset",
        "order",
        "parent",
        "row_ends",
        "rows",
        "shift",
        "tip",
        "weights",
    )  # fmt: skip

    def __init__(self, number: int, incarnation: Incarnation, parent: int, offset: int, levels: Levels) -> None:
        self.number = number
        self.levels = levels
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
        self.weights = bytearray()
        """Per intention, the most places that a walk from it visits."""
        self.acks = array("I")
        """Counts of the bare acknowledgements."""
        self.forgotten_acks = 0
        self.check_at = array("I")
        """Counts of the checkpoints; parallel columns hold their levels and where their rows end."""
        self.check_levels = array("I")
        self.row_ends = array("I")
        self.rows = bytearray()
        self.cut_at = array("I")
        """Counts of the checkpoints at which the chain may be cut, where dependencies end: a parallel column."""
        self.cut_ends = array("I")
        self.mark_at = array("I")
        """Counts whose time is kept; a parallel column holds the times (whole seconds of service time)."""
        self.mark_times = array("Q")

    def append(
        self, name: bytes, vector: int, kept: Sequence[int], weight: int, ack: bool, order: int, stride: int, now: int
    ) -> None:
        """Append an intention with the positions that added to its vector; sometimes keep its vector or its time.

        ``weight`` is the sum of the weights of its predecessor and of those positions.
        """
        self.length = count = self.length + 1
        self.tip, self.order = vector, order
        self.hashes.append(name)
        if ack:
            self.acks.append(count)
        if not self.mark_times or now >= self.mark_times[-1] + MARK_SPACING:
            self.mark_at.append(count)
            self.mark_times.append(now)
        cuts = count - (self.cut_at[-1] if self.cut_at else 0) >= stride or len(kept) > 255
        if cuts:
            self.cut_at.append(count)
            self.cut_ends.append(len(self.dependency_counts))
        if cuts or weight >= WALK_LIMIT:
            self.fan_ins.append(0)
            self.weights.append(1)
            self._append_check(count, vector, order // LEVEL_SPACING)
            return
        self.fan_ins.append(len(kept))
        self.weights.append(weight + 1)
        for position in kept:
            self.dependency_chains.append(position >> 32)
            self.dependency_counts.append(position & POSITION_MASK)

    def _append_check(self, count: int, vector: int, level: int) -> None:
        self.check_at.append(count)
        self.check_levels.append(level)
        self.levels.hold(level)
        self.rows += self.levels.encode(vector, level)
        self.row_ends.append(len(self.rows))

    def checks(self) -> list[tuple[int, int, int]]:
        """The checkpoints: count, vector, level."""
        return [(count, self._row(index), self.check_levels[index]) for index, count in enumerate(self.check_at)]

    def has_check(self, count: int) -> bool:
        """Whether a checkpoint has this count."""
        index = bisect_left(self.check_at, count)
        return index < len(self.check_at) and self.check_at[index] == count

    def replace_checks(self, checks: Iterable[tuple[int, int, int]]) -> None:
        """Have these checkpoints and no others."""
        self.levels.release(self.check_levels)
        self.check_at, self.check_levels, self.row_ends, self.rows = array("I"), array("I"), array("I"), bytearray()
        for count, vector, level in checks:
            self._append_check(count, vector, level)

    def weight(self, count: int) -> int:
        """Most places that a walk from an intention visits."""
        return self.weights[count - self.first] if count >= self.first else 1

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
        return self._row(index) if index < len(self.check_at) and self.check_at[index] == count else None

    def cut(self, count: int) -> tuple[int, int]:
        """The last cut at or before a count, and its vector; (0, 0) when there is none."""
        index = bisect_right(self.cut_at, count) - 1
        if index < 0:
            return 0, 0
        cut = self.cut_at[index]
        return cut, self._row(bisect_left(self.check_at, cut))

    def _row(self, index: int) -> int:
        start = self.row_ends[index - 1] if index else 0
        return self.levels.decode(self.rows[start : self.row_ends[index]], self.check_levels[index])

    def estimate_order(self, count: int) -> int:
        """Roughly how many intentions the store had when this one was added, interpolated between checkpoints."""
        index = bisect_right(self.check_at, count) - 1
        low, low_order = (self.check_at[index], self.check_levels[index] * LEVEL_SPACING) if index >= 0 else (0, 0)
        high, high_order = self.length, self.order
        if index + 1 < len(self.check_at):
            high, high_order = self.check_at[index + 1], self.check_levels[index + 1] * LEVEL_SPACING
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
        fan_ins, checks = self.fan_ins[gone:], bisect_right(self.check_at, first)
        fan_ins[0] = 0
        self.dependency_chains = self.dependency_chains[end:]
        self.dependency_counts = self.dependency_counts[end:]
        level = self.check_levels[checks - 1] if checks else self.estimate_order(first) // LEVEL_SPACING
        self.levels.hold(level)
        self.levels.release(self.check_levels[:checks])
        row = self.levels.encode(vector, level)
        start = self.row_ends[checks - 1] if checks else 0
        self.rows = bytearray(row) + self.rows[start:]
        moved = len(row) - start
        self.row_ends = array("I", [len(row), *(one + moved for one in self.row_ends[checks:])])
        self.check_levels = array("I", [level]) + self.check_levels[checks:]
        self.check_at = array("I", [first]) + self.check_at[checks:]
        self.hashes = self.hashes[gone:]
        self.weights = self.weights[gone:]
        self.weights[0] = 1
        self.fan_ins = fan_ins
        self.first = first
        cuts = bisect_right(self.cut_at, first)
        self.cut_ends = array("I", [0, *(one - end for one in self.cut_ends[cuts:])])
        self.cut_at = array("I", [first]) + self.cut_at[cuts:]
        acks = bisect_left(self.acks, first)
        self.forgotten_acks += acks
        self.acks = self.acks[acks:]
        marks = bisect_right(self.mark_at, first) - 1
        self.mark_at = self.mark_at[marks:]
        self.mark_times = self.mark_times[marks:]
        return hashes

    def _end(self, count: int) -> int:
        """Where the dependencies of a retained intention end."""
        index = bisect_right(self.cut_at, count) - 1
        cut, end = (self.cut_at[index], self.cut_ends[index]) if index >= 0 else (self.first - 1, 0)
        return end + sum(self.fan_ins[cut - self.first + 1 : count - self.first + 1])
