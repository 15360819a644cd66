"""Broadcasts of one author, and how many of them a bounded sample of observers heard; kept in flat arrays."""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from gossipcontrol.server.core.event import NEVER

SAMPLED_OBSERVERS = 8
"""Most observers kept per author: its neighbours first, then a pseudo-random sample."""
IN_FLIGHT = 2.0
"""Seconds that a message and a report may take; broadcasts younger than this are not missed yet."""
SAMPLE_SPACING = 1.0
"""Seconds between two remembered broadcast counts; also how much later an age must be to mean a new message."""
COUNT_SAMPLES = 4
"""Broadcast counts remembered."""

_WIDTH = 6
_HEARD_AT, _SENT, _COUNT, _PENDING, _NEWER, _OLDER = range(_WIDTH)
"""Fields of an observer: when it last heard the author, the author's broadcast count at that moment, how many messages
it heard in all, and that number at the pending, the newer and the older mark.
"""
_NOT_NEIGHBOR = 1 << 32
_UNKNOWN = math.nan


class Loss(NamedTuple):
    """What one observer did not hear in a window."""

    number: int
    lost: float
    """Broadcasts it did not hear; a lower bound."""
    sent: float
    """Broadcasts in the window."""


class AuthorDeliveries:
    """One author of a store. Authors and observers are identified by numbers that are unique within the store."""

    __slots__ = (
        "_cells",
        "_marking",
        "_newer",
        "_number",
        "_numbers",
        "_older",
        "_ranks",
        "_samples",
        "broadcast_at",
        "count",
        "marked_at",
    )

    def __init__(self, number: int, now: float) -> None:
        self.count = -1
        """Broadcasts so far; negative before its first report."""
        self.marked_at = now
        self.broadcast_at = now
        """When its broadcast count last rose."""
        self._number = number
        self._samples = array("d")
        self._marking = False
        self._newer = self._older = _UNKNOWN
        self._numbers = array("i")
        self._ranks = array("Q")
        self._cells = array("d")

    def __len__(self) -> int:
        return len(self._numbers)

    # Reports.

    def record_broadcasts(self, count: int, now: float, period: float) -> None:
        """Record the author's broadcast count; set a new mark every ``period`` seconds.

        A mark is set in two steps: first the observers' counts are saved, then the author's next report adds its own
        count. So a mark holds what was heard *before* its broadcasts, and no delayed report makes a message look lost.
        """
        if count < self.count or self.count < 0:  # the author restarted
            self.reset_marks()
            self._samples = array("d")
        if count != self.count:
            self.broadcast_at = now
            self._clear_missed_since(self._samples[-2] - IN_FLIGHT if self._samples else NEVER, count)
        self.count = count
        if not self._samples or now - self._samples[-2] >= SAMPLE_SPACING:
            self._samples.extend((now, count))
            del self._samples[: -2 * COUNT_SAMPLES]
        if self._marking:
            self._marking = False
            self._rotate_marks()
            self._older, self._newer, self.marked_at = self._newer, count, now
        elif now - self.marked_at >= (period / 2 if math.isnan(self._older) else period) or math.isnan(self._newer):
            self._marking = True
            self._save_counts()

    def record_heard(self, number: int, heard_at: float, count: int, near: bool) -> None:
        """Record when an observer last heard the author and how often in all; ``near``: they are neighbours."""
        numbers, cells = self._numbers, self._cells
        if number in numbers:
            index = numbers.index(number)
            if near is (self._ranks[index] >= _NOT_NEIGHBOR):
                self._ranks[index] ^= _NOT_NEIGHBOR
        else:
            index = self._admit(number, near)
            if index < 0:
                return
        offset = index * _WIDTH
        known = cells[offset + _COUNT]
        if count < known:  # the observer restarted
            self._clear_marks(offset)
            cells[offset + _HEARD_AT], cells[offset + _SENT] = NEVER, self.count
            known = -1.0
        # Ages jitter: without message counts, only a clearly later time means another message.
        if heard_at > NEVER and (
            count > known or (not count and heard_at > cells[offset + _HEARD_AT] + SAMPLE_SPACING)
        ):
            cells[offset + _HEARD_AT] = heard_at
            cells[offset + _SENT] = self.count
        cells[offset + _COUNT] = count

    def clear_missed(self, number: int) -> None:
        """Ignore what an observer missed so far: it has just become the author's neighbour."""
        if number in self._numbers:
            self._cells[self._numbers.index(number) * _WIDTH + _SENT] = self.count

    def has_observer(self, number: int) -> bool:
        """Whether this observer is in the sample."""
        return number in self._numbers

    # Answers.

    def missing(self, reported: Mapping[int, float], least: float, before: float) -> tuple[int, list[int]]:
        """How many of these observers can tell, and which of them miss the author.

        An observer misses it if it last heard it ``before`` and at least ``least`` broadcasts were due since.
        ``reported`` maps an observer to the time of its last report.
        """
        cells, asked, found = self._cells, 0, list[int]()
        for index, number in enumerate(self._numbers):
            reported_at = reported.get(number)
            if reported_at is None:
                continue
            asked += 1
            offset = index * _WIDTH
            sent_then = cells[offset + _SENT]
            # The newest count is an upper bound of what was missed; it usually decides.
            may_miss = self.count - sent_then >= least and cells[offset + _HEARD_AT] <= before
            if may_miss and self._sent_until(reported_at - IN_FLIGHT) - sent_then >= least:
                found.append(number)
        return asked, found

    def asked(self, reported: Collection[int]) -> list[int]:
        """The observers of the sample among these."""
        return [number for number in self._numbers if number in reported]

    def is_neighbor(self, number: int) -> bool:
        """Whether this observer of the sample is the author's neighbour."""
        return self._ranks[self._numbers.index(number)] < _NOT_NEIGHBOR

    def last_heard(self, reported: Collection[int]) -> Iterator[tuple[int, float]]:
        """When each of these observers last heard the author; NEVER: it has not."""
        for index, number in enumerate(self._numbers):
            if number in reported:
                yield number, self._cells[index * _WIDTH + _HEARD_AT]

    def losses(
        self, reported: Mapping[int, float], names_neighbors: Collection[int] = (), names_everyone: Collection[int] = ()
    ) -> list[Loss]:
        """What each of these observers did not hear since the older mark, or the newer one where the older is unknown.

        Omitted are observers without either mark, those that heard the author but count no messages, and those that
        never heard it: a partial report may not name it. The last are kept if they would name it: its neighbours in
        ``names_neighbors``, others in ``names_everyone``.
        """
        found: list[Loss] = []
        for index, number in enumerate(self._numbers):
            reported_at = reported.get(number)
            offset = index * _WIDTH
            if reported_at is None:
                continue
            heard = self._cells[offset + _COUNT]
            would_name = names_neighbors if self._ranks[index] < _NOT_NEIGHBOR else names_everyone
            can_tell = number in would_name if self._cells[offset + _HEARD_AT] == NEVER else heard > 0
            if not can_tell:
                continue
            sent = self._sent_until(reported_at - IN_FLIGHT)
            sent_at_mark, heard_at_mark = self._older, self._cells[offset + _OLDER]
            if math.isnan(sent_at_mark + heard_at_mark):
                sent_at_mark, heard_at_mark = self._newer, self._cells[offset + _NEWER]
            if not math.isnan(sent + sent_at_mark + heard_at_mark):
                found.append(Loss(number, (sent - sent_at_mark) - (heard - heard_at_mark), sent - sent_at_mark))
        return found

    # Marks.

    def reset_marks(self) -> None:
        """Clear all marks; the comparison starts over with the next report."""
        self._newer = self._older = _UNKNOWN
        self._marking = False
        for offset in range(0, len(self._cells), _WIDTH):
            self._clear_marks(offset)

    def reset_marks_except(self, same_side: Collection[int]) -> None:
        """Clear the marks of every observer but these."""
        for index, number in enumerate(self._numbers):
            if number not in same_side:
                self._clear_marks(index * _WIDTH)

    def retain(self, numbers: Collection[int]) -> None:
        """Forget every observer but these."""
        kept = [index for index, number in enumerate(self._numbers) if number in numbers]
        if len(kept) < len(self._numbers):
            self._cells = array("d", [one for i in kept for one in self._cells[i * _WIDTH : (i + 1) * _WIDTH]])
            self._numbers = array("i", [self._numbers[index] for index in kept])
            self._ranks = array("Q", [self._ranks[index] for index in kept])

    def _admit(self, number: int, near: bool) -> int:
        """Add an observer to the sample, or replace the lowest-ranked one; -1 when it ranks too low."""
        mixed = ((number * 0x9E3779B1) ^ (self._number * 0x85EBCA6B)) & 0xFFFFFFFF
        rank = mixed if near else mixed | _NOT_NEIGHBOR
        ranks = self._ranks
        if len(ranks) < SAMPLED_OBSERVERS:
            self._numbers.append(number)
            ranks.append(rank)
            self._cells.extend(self._blank_cells())
            return len(ranks) - 1
        worst = max(ranks)
        if rank >= worst:
            return -1
        index = ranks.index(worst)
        self._numbers[index], ranks[index] = number, rank
        self._cells[index * _WIDTH : (index + 1) * _WIDTH] = array("d", self._blank_cells())
        return index

    def _blank_cells(self) -> tuple[float, ...]:
        return (NEVER, max(0, self.count), 0.0, _UNKNOWN, _UNKNOWN, _UNKNOWN)

    def _sent_until(self, at: float) -> float:
        """The newest broadcast count that is at least as old as ``at``; NaN when there is none."""
        samples = self._samples
        for offset in range(len(samples) - 2, -1, -2):
            if samples[offset] <= at:
                return samples[offset + 1]
        return _UNKNOWN

    def _save_counts(self) -> None:
        cells = self._cells
        for offset in range(0, len(cells), _WIDTH):
            cells[offset + _PENDING] = cells[offset + _COUNT]

    def _rotate_marks(self) -> None:
        cells = self._cells
        for offset in range(0, len(cells), _WIDTH):
            cells[offset + _OLDER], cells[offset + _NEWER] = cells[offset + _NEWER], cells[offset + _PENDING]
            cells[offset + _PENDING] = _UNKNOWN

    def _clear_marks(self, offset: int) -> None:
        self._cells[offset + _PENDING] = self._cells[offset + _NEWER] = self._cells[offset + _OLDER] = _UNKNOWN

    def _clear_missed_since(self, instant: float, count: int) -> None:
        """Assume that observers which heard the author since ``instant`` heard all of ``count``."""
        cells = self._cells
        for offset in range(0, len(cells), _WIDTH):
            if cells[offset + _HEARD_AT] >= instant:
                cells[offset + _SENT] = count
