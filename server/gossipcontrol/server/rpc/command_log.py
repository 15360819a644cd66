"""Which commands an agent had received when it wrote a frame: nothing older than a command proves its rejoin."""

from __future__ import annotations

import math
from collections.abc import Callable

from gossipcontrol.system.boot import boottime

REMEMBERED = 1024
"""Most commands remembered: an agent that names the newest that it received leaves one."""
NOTHING = math.inf
"""The delay of a frame that proves nothing."""
UNARY_DELAY = 1.0
"""Seconds that the network may hold a unary report: nothing on the stream bounds it."""
Attempt = tuple[str, int]
"""A rejoin and the number of its attempt: what a result names."""


class CommandLog:
    """The commands of one stream, numbered from 1 in the order in which they were sent."""

    def __init__(self, clock: Callable[[], float] = boottime) -> None:
        self._clock = clock
        self._sent_at = [clock()]
        """Of the newest commands, from the newest that the agent is known to have received; 0 is the registration. Not
        a deque, which takes 0.7 kB of a stream: mostly there is one."""
        self._count = 0
        self._newest: dict[str, int] = {}
        """Number of the newest command for each store, until the agent is known to have received it."""
        self._unanswered: dict[str, Attempt] = {}
        """The newest attempt for each store, until its result arrives."""
        self._frame_at = clock()
        self._held, self._held_at = 0.0, -math.inf
        """How long the newest frame after a silence may have been held, and when it came."""

    def add(self, store_id: str, attempt: Attempt | None = None) -> None:
        """A command for this store is sent now."""
        if attempt is not None:
            self._unanswered.pop(store_id, None)
            self._unanswered[store_id] = attempt
            if len(self._unanswered) > REMEMBERED:
                del self._unanswered[next(iter(self._unanswered))]
        self._count += 1
        self._sent_at.append(self._clock())
        del self._sent_at[:-REMEMBERED]
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
        del self._sent_at[: received - oldest]
        return max(0.0, self._clock() - self._sent_at[0] - age)

    # Agents of earlier versions do not say what they had received.

    def record_answer(self, attempt: Attempt) -> None:
        """The result of an attempt arrived: frames that follow it on the stream were written after the command came."""
        for store_id, newest in self._unanswered.items():
            if newest == attempt:
                del self._unanswered[store_id]
                return

    def record_frame(self, interval: float) -> None:
        """A frame arrived; an agent writes one at least every ``interval`` seconds, so a longer silence held it."""
        now = self._clock()
        held = max(0.0, now - self._frame_at - interval)
        if held >= self._held or now - self._held_at > interval:
            self._held, self._held_at = held, now
        self._frame_at = now

    def assumed_delay(self, store_id: str, *, unary: bool = False) -> float:
        """For how long a frame that does not say what its agent had received may have been held, or NOTHING.

        Until the result of the newest command for its store has arrived it proves nothing. Then it counts as late as
        the stream was silent, and so do the frames right behind it. A ``unary`` report may have overtaken the stream.
        """
        if store_id in self._unanswered:
            return NOTHING
        return max(self._held, UNARY_DELAY) if unary else self._held
