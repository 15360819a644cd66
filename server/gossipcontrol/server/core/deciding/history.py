"""Every rejoin that is kept: those that wait or run, and a bounded number of ended ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from gossipcontrol.server.core.codec import Plain, capture_fields, decode
from gossipcontrol.server.core.deciding.rejoin import LAST_TRIGGERS, UNSAVED, Rejoin, Trigger


class History:
    """Rejoins by id, in the order in which they came up."""

    def __init__(self, id_prefix: str, limit: int, age: float) -> None:
        self._prefix = id_prefix
        self._limit = limit
        self._age = age
        self._rejoins: dict[str, Rejoin] = {}
        self._ended: deque[Rejoin] = deque()
        self._count = 0

    def new(self, node_id: str, store_id: str, trigger: Trigger) -> Rejoin:
        """A rejoin with an id of its own."""
        self._count += 1
        rejoin_id = f"{self._prefix}-{self._count}"
        at = trigger.arrived_at
        rejoin = Rejoin(self._count, rejoin_id, node_id, store_id, trigger.cause, requested_at=at, uncovered_at=at)
        rejoin.bridge, rejoin.blind = trigger.bridge, trigger.blind
        self._rejoins[rejoin_id] = rejoin
        return rejoin

    def get(self, rejoin_id: str) -> Rejoin | None:
        """The rejoin, unless it is unknown or forgotten."""
        return self._rejoins.get(rejoin_id)

    def end(self, rejoin: Rejoin, now: float) -> None:
        """Count a rejoin as ended, and forget what is beyond the limit or too old."""
        ended = self._ended
        ended.append(rejoin)
        while len(ended) > self._limit or (ended[0].ended_at or now) < now - self._age:
            del self._rejoins[ended.popleft().rejoin_id]

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
            "ended": [rejoin.rejoin_id for rejoin in self._ended],
        }

    def load(self, plain: Plain) -> None:
        """Take over what was saved."""
        self._prefix, self._count = plain["prefix"], plain["count"]
        self._rejoins = {rejoin.rejoin_id: rejoin for rejoin in (decode(one, Rejoin) for one in plain["rejoins"])}
        for rejoin in self._rejoins.values():
            if rejoin.last_triggers is not None:
                rejoin.last_triggers = deque(rejoin.last_triggers, maxlen=LAST_TRIGGERS)
        self._ended = deque(self._rejoins[rejoin_id] for rejoin_id in plain["ended"])
