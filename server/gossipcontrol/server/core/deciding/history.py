"""Every rejoin that is kept: those that wait or run, and a bounded number of ended ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from heapq import merge

from gossipcontrol.server.core.codec import Plain, capture_fields, decode
from gossipcontrol.server.core.deciding.record import UNSEEN, Seen
from gossipcontrol.server.core.deciding.rejoin import LAST_TRIGGERS, UNSAVED, Rejoin, Trigger
from gossipcontrol.server.core.decision import DecisionKind, Outcome, Rule

SKIPPED_SHARE = 4
"""Where there is no room for all, skipped rejoins are kept up to a quarter of the limit."""


class History:
    """Rejoins by id, in the order in which they came up."""

    def __init__(self, id_prefix: str, limit: int, age: float) -> None:
        self._prefix = id_prefix
        self._limit = limit
        self._age = age
        self._rejoins: dict[str, Rejoin] = {}
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

    def add_trigger(
        self, rejoin: Rejoin, trigger: Trigger, kind: DecisionKind, rule: Rule, seen: Seen = UNSEEN
    ) -> None:
        """Remember a trigger that shares a rejoin, and what was decided about it."""
        before = rejoin.kept_triggers
        rejoin.add_trigger(trigger, kind, rule, seen)
        self.triggers += rejoin.kept_triggers - before

    def new(self, node_id: str, store_id: str, trigger: Trigger) -> Rejoin:
        """A rejoin with an id of its own."""
        self._count += 1
        rejoin_id = f"{self._prefix}-{self._count}"
        at = trigger.arrived_at
        rejoin = Rejoin(self._count, rejoin_id, node_id, store_id, trigger.cause, requested_at=at, uncovered_at=at)
        rejoin.bridge, rejoin.rejoin_only = trigger.bridge, trigger.rejoin_only
        self._rejoins[rejoin_id] = rejoin
        return rejoin

    def get(self, rejoin_id: str) -> Rejoin | None:
        """The rejoin, unless it is unknown or forgotten."""
        return self._rejoins.get(rejoin_id)

    def end(self, rejoin: Rejoin, now: float) -> None:
        """Count a rejoin as ended, and forget what is beyond the limit or too old."""
        self._ends += 1
        (self._skipped if rejoin.outcome is Outcome.SKIPPED else self._ended).append((self._ends, rejoin))
        while (oldest := self._oldest(now)) is not None:
            gone = self._rejoins.pop(oldest.popleft()[1].rejoin_id)
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
        """Rejoins, the newest first; with ``before``, those that came up earlier than that id, kept or not."""
        number = before.rpartition("-")[2]
        limit = int(number) if number.isascii() and number.isdigit() else None
        for rejoin in reversed(self._rejoins.values()):
            if limit is None or rejoin.number < limit:
                yield rejoin

    def rename(self, id_prefix: str) -> None:
        """Give further rejoins ids with this prefix; numbers go on, so that they order all."""
        self._prefix = id_prefix

    def save(self) -> Plain:
        """Every rejoin, and the order in which they ended."""
        return {
            "prefix": self._prefix,
            "count": self._count,
            "rejoins": [capture_fields(rejoin, UNSAVED) for rejoin in self._rejoins.values()],
            "ended": [rejoin.rejoin_id for _, rejoin in merge(self._ended, self._skipped, key=lambda one: one[0])],
        }

    def load(self, plain: Plain) -> None:
        """Take over what was saved."""
        self._prefix, self._count = plain["prefix"], plain["count"]
        self._rejoins = {rejoin.rejoin_id: rejoin for rejoin in (decode(one, Rejoin) for one in plain["rejoins"])}
        for rejoin in self._rejoins.values():
            self.triggers += rejoin.kept_triggers
            if rejoin.last_triggers is not None:
                rejoin.last_triggers = deque(rejoin.last_triggers, maxlen=LAST_TRIGGERS)
        for rejoin in (self._rejoins[rejoin_id] for rejoin_id in plain["ended"]):
            self._ends += 1
            (self._skipped if rejoin.outcome is Outcome.SKIPPED else self._ended).append((self._ends, rejoin))
