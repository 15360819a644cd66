"""Which commands an agent had received when it wrote a frame: nothing older than a command proves its rejoin."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from gossipcontrol.system.boot import boottime

REMEMBERED = 1024
"""Most commands remembered: an agent that names the newest that it received leaves one."""
NOTHING = math.inf
"""The delay of a frame that proves nothing."""


class CommandLog:
    """The commands of one stream, numbered from 1 in the order in which they were sent."""

    def __init__(self, clock: Callable[[], float] = boottime) -> None:
        self._clock = clock
        self._sent_at: deque[float] = deque([clock()], maxlen=REMEMBERED)
        """Of the newest commands, from the newest that the agent is known to have received; 0 is the registration."""
        self._count = 0
        self._newest: dict[str, int] = {}
        """Number of the newest command for each store, until the agent is known to have received it."""

    def add(self, store_id: str) -> None:
        """A command for this store is sent now."""
        self._count += 1
        self._sent_at.append(self._clock())
        self._newest.pop(store_id, None)
        self._newest[store_id] = self._count
        if len(self._newest) > REMEMBERED:
            del self._newest[next(iter(self._newest))]

    def delay(self, store_id: str, received: int, age: float) -> float:
        """At most so many seconds ago a frame about this store was written, or NOTHING.

        ``received`` commands had reached the agent, the newest ``age`` seconds before. It was sent before that, so the
        frame was written at least ``age`` seconds after it was sent: what the frame says is no older than that.
        """
        received = min(received, self._count)
        oldest = self._count - len(self._sent_at) + 1
        if received < oldest or self._newest.get(store_id, 0) > received:
            return NOTHING
        self._newest.pop(store_id, None)
        for _ in range(received - oldest):
            self._sent_at.popleft()
        return max(0.0, self._clock() - self._sent_at[0] - age)
