"""Every rejoin that is kept: those that wait or run, and a bounded number of ended ones."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from heapq import merge
from operator import itemgetter
from typing import Any

from gossipcontrol.server.core.codec import LaterList, Plain, decode, layout_of
from gossipcontrol.server.core.deciding.capture import Capture, Read
from gossipcontrol.server.core.deciding.record import UNSEEN, Seen
from gossipcontrol.server.core.deciding.rejoin import LAST_TRIGGERS, UNSAVED, Rejoin, Trigger
from gossipcontrol.server.core.decision import DecisionKind, Outcome, Rule

SKIPPED_SHARE = 4
"""Where there is no room for all, skipped rejoins are kept up to a quarter of the limit."""


BLOCK = 256
"""Rejoins with consecutive numbers that are listed in one go."""


class History:
    """Rejoins by id, in the order in which they came up."""

    def __init__(self, id_prefix: str, limit: int, age: float) -> None:
        self._prefix = id_prefix
        self._limit = limit
        self._age = age
        self._rejoins: dict[str, Rejoin] = {}
        self._blocks: dict[int, dict[int, Rejoin]] = {}
        """The same by number, in blocks."""
        self._block_order: list[int] = []
        """The blocks that are not empty, in order."""
        self._by_request: dict[str, dict[int, Rejoin]] = {}
        """Request id -> the rejoins of which a trigger that is kept came with it, by number."""
        self._ended: deque[tuple[int, Rejoin]] = deque()
        """In the order in which they ended, by number."""
        self._skipped: deque[tuple[int, Rejoin]] = deque()
        """Likewise; beyond their share these go first, so that triggers for nothing do not flush the others out."""
        self._ends = 0
        self._count = 0
        self.triggers = 0
        """Triggers that are kept with rejoins."""

    def __len__(self) -> int:
        return len(self._rejoins)

    def new(self, node_id: str, store_id: str, trigger: Trigger) -> Rejoin:
        """A rejoin with an id of its own."""
        self._count += 1
        rejoin_id = f"{self._prefix}-{self._count}"
        at = trigger.arrived_at
        rejoin = Rejoin(self._count, rejoin_id, node_id, store_id, trigger.cause, requested_at=at, uncovered_at=at)
        rejoin.bridge, rejoin.rejoin_only, rejoin.first_rung = trigger.bridge, trigger.rejoin_only, trigger.first_rung
        self._keep(rejoin)
        return rejoin

    def _keep(self, rejoin: Rejoin) -> None:
        self._rejoins[rejoin.rejoin_id] = rejoin
        index = rejoin.number // BLOCK
        block = self._blocks.get(index)
        if block is None:
            block = self._blocks[index] = {}
            self._block_order.append(index)  # numbers only grow
        block[rejoin.number] = rejoin

    def _drop(self, rejoin: Rejoin) -> None:
        del self._rejoins[rejoin.rejoin_id]
        for request_id in rejoin.request_ids():
            self._unlist(request_id, rejoin)
        index = rejoin.number // BLOCK
        block = self._blocks[index]
        del block[rejoin.number]
        if not block:
            del self._blocks[index], self._block_order[bisect_left(self._block_order, index)]

    def add_trigger(
        self, rejoin: Rejoin, trigger: Trigger, kind: DecisionKind, rule: Rule, seen: Seen = UNSEEN
    ) -> None:
        """Remember a trigger that shares a rejoin, and what was decided about it."""
        outdated = rejoin.add_trigger(trigger, kind, rule, seen)
        if outdated is None:
            self.triggers += 1
        if trigger.request_id:
            self._list(trigger.request_id, rejoin)
        if outdated and not rejoin.has_request(outdated):
            self._unlist(outdated, rejoin)

    def _list(self, request_id: str, rejoin: Rejoin) -> None:
        self._by_request.setdefault(request_id, {})[rejoin.number] = rejoin

    def _unlist(self, request_id: str, rejoin: Rejoin) -> None:
        listed = self._by_request.get(request_id, {})
        listed.pop(rejoin.number, None)
        if not listed:
            self._by_request.pop(request_id, None)

    def get(self, rejoin_id: str) -> Rejoin | None:
        """The rejoin, unless it is unknown or forgotten."""
        return self._rejoins.get(rejoin_id)

    def end(self, rejoin: Rejoin, now: float) -> None:
        """Count a rejoin as ended, and forget what is beyond the limit or too old."""
        self._ends += 1
        (self._skipped if rejoin.outcome is Outcome.SKIPPED else self._ended).append((self._ends, rejoin))
        while (oldest := self._oldest(now)) is not None:
            gone = oldest.popleft()[1]
            self._drop(gone)
            self.triggers -= gone.kept_triggers

    def _oldest(self, now: float) -> deque[tuple[int, Rejoin]] | None:
        """Where the next one to be forgotten is first; None when nothing is beyond the limit or too old."""
        ended, skipped = self._ended, self._skipped
        if len(skipped) > max(1, self._limit // SKIPPED_SHARE) and len(ended) + len(skipped) > self._limit:
            return skipped
        first = min((one for one in (ended, skipped) if one), key=lambda one: one[0][0])
        is_old = (first[0][1].ended_at or now) < now - self._age
        return first if is_old or len(ended) + len(skipped) > self._limit else None

    def newest(self, before: str = "") -> Iterator[Rejoin]:
        """Rejoins, the newest first; with ``before``, those that came up earlier than that id, kept or not.

        More may come and go meanwhile: those that came later are left out.
        """
        number = before.rpartition("-")[2]
        limit = int(number) if number.isascii() and number.isdigit() else self._count + 1
        index = limit // BLOCK + 1
        while (at := bisect_left(self._block_order, index)) > 0:
            index = self._block_order[at - 1]
            yield from [one for one in self._blocks[index].values() if one.number < limit][::-1]

    def of_request(self, request_id: str) -> Iterator[Rejoin]:
        """Rejoins of which a trigger that is kept came with this request id, the newest first."""
        listed = self._by_request.get(request_id, {})
        for number in sorted(listed, reverse=True):
            if number in listed:  # it may have been forgotten meanwhile
                yield listed[number]

    def rename(self, id_prefix: str) -> None:
        """Give further rejoins ids with this prefix; numbers go on, so that they order all."""
        self._prefix = id_prefix

    def capture(self, capture: Capture) -> Plain:
        """Every rejoin, and the order in which they ended."""
        rejoins, ended, skipped = tuple(self._rejoins.values()), tuple(self._ended), tuple(self._skipped)
        capture.expect(rejoins)
        return {
            "prefix": self._prefix,
            "count": self._count,
            "rejoins": LaterList(lambda: rejoins, lambda rejoin: _LAYOUT.encode(capture.of(rejoin))),
            "ended": LaterList(lambda: merge(ended, skipped, key=itemgetter(0)), lambda one: one[1].rejoin_id),
        }

    def load(self, plain: Plain) -> None:
        """Take over what was saved."""
        self._prefix, self._count = plain["prefix"], plain["count"]
        for rejoin in (decode(one, Rejoin) for one in plain["rejoins"]):
            self.triggers += rejoin.kept_triggers
            if rejoin.last_triggers is not None:
                rejoin.last_triggers = deque(rejoin.last_triggers, maxlen=LAST_TRIGGERS)
            self._keep(rejoin)
            for request_id in rejoin.request_ids():
                self._list(request_id, rejoin)
        for rejoin in (self._rejoins[rejoin_id] for rejoin_id in plain["ended"]):
            self._ends += 1
            (self._skipped if rejoin.outcome is Outcome.SKIPPED else self._ended).append((self._ends, rejoin))


_LAYOUT = layout_of(Rejoin, UNSAVED)
HISTORY_READS: dict[type[Any], Read] = {Rejoin: _LAYOUT.read}
"""How a snapshot reads a rejoin."""


def has_timer(capture: Capture, rejoin: Rejoin, number: int) -> bool:
    """Whether the timer of this number held the deadline of a rejoin when a capture began."""
    fields = capture.of(rejoin)
    return _LAYOUT.value(fields, "timer") == number and _LAYOUT.value(fields, "deadline") is not None
