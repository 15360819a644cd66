"""When what came is decided and committed: at once while calls come alone, many together while many come."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

STEPS = 2
"""Most steps for which a call waits for others."""
STEP = 0.002
"""Seconds of a step. If nothing came in one, nothing more is waited for. uvloop counts whole milliseconds, and from the
beginning of a pass, so one of them may be over at once."""
LONGEST = 0.02
"""Seconds for which a call waits at most while the event loop is busy: what it does then, it must do anyway."""
BUSY = 0.5
"""Share of a step that the event loop's thread must work for it to count as busy."""
RECENT = 0.1
"""Seconds after many came within which as many are expected: to answer them takes some milliseconds."""
VAIN_TIME = 0.005
"""Seconds without waiting after one waited for others in vain; doubled each further time."""
LONGEST_VAIN_TIME = 0.16
DECAY = 0.75
"""Share of those who were expected that is expected again, if fewer came."""
LONE_DECAY = 0.25
"""The same, if one came alone: a client that comes alone after many is soon waited for no more."""
PROBE = 8
"""Times that no more than the expected are waited for, before one waits for more: fewer after few came."""


class Gathering:
    """Calls ``run`` in the event loop after something ``came``; ``others`` says whether further calls have arrived.

    gRPC hands over one call after the other, however many there are. What comes alone waits for nobody. Once another
    call has arrived before the last one was answered, what comes waits for more. Clients that wait for their answers
    come again once they have them, so as many as came together are waited for, and no longer, but sometimes for more.
    While the event loop is busy and more comes, a step follows another: to wait costs nobody anything then, and how
    many come in a step depends on how fast the machine is. ``cpu`` counts seconds that the loop's thread has worked.
    """

    def __init__(
        self,
        run: Callable[[], None],
        others: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self._run = run
        self._others = others
        self._clock = clock
        self._cpu = cpu
        self._came = self._came_before = 0
        """In all, and before this step."""
        self._expected = 0
        """How many are waited for: as came together last, or a little fewer than before."""
        self._steps = 0
        """Of waiting that are left; 0 while it does not wait."""
        self._waits_since = self._step_at = self._step_cpu = 0.0
        """When it began to wait, when this step began, and what the thread had worked by then."""
        self._cuts = 0
        """Times in a row in which no more than the expected ones were waited for."""
        self._ran_at = self._waits_from = -math.inf
        self._vain_time = VAIN_TIME
        self._is_rest = False
        """Whether it runs for what is left of the last time."""
        self._due: asyncio.Handle | None = None

    def is_waiting(self) -> bool:
        """Whether what comes now waits for others."""
        return self._steps > 0 if self._due is not None else self._expects_many()

    def came(self) -> None:
        """Something came."""
        self._came += 1
        if self._due is None:
            if self._expects_many():
                self._begin_to_wait()
            else:
                self._due = asyncio.get_running_loop().call_soon(self._look)
        elif (
            self._steps
            and self._came >= self._expected > 1
            and self._cuts < min(PROBE, 2 * self._came)
            and not self._others()
        ):
            self._cuts += 1
            self._due.cancel()
            self._soon()

    def run_alone(self) -> None:
        """Run now, instead of in the next pass of the event loop, if only one came and no other call has arrived."""
        if self._due is not None and self._came == 1 and not (self._steps or self._is_rest or self._others()):
            self._due.cancel()
            self._fire()

    def again(self) -> None:
        """Run once more in the next pass of the event loop, unless that is due anyway."""
        if self._due is None:
            self._is_rest = True
            self._soon()

    def cancel(self) -> bool:
        """Do not run; returns whether that was due."""
        if self._due is None:
            return False
        self._due.cancel()
        self._due, self._came, self._steps, self._is_rest = None, 0, 0, False
        return True

    def _soon(self) -> None:
        self._steps = 0
        self._due = asyncio.get_running_loop().call_soon(self._fire)

    def _begin_to_wait(self) -> None:
        self._waits_since = self._clock()
        self._wait(STEPS)

    def _wait(self, steps: int) -> None:
        self._steps, self._came_before = steps, self._came
        self._step_at, self._step_cpu = self._clock(), self._cpu()
        self._due = asyncio.get_running_loop().call_later(STEP, self._step)

    def _expects_many(self) -> bool:
        return self._expected > 1 and self._clock() - self._ran_at < RECENT

    def _look(self) -> None:
        """Run, unless another call has arrived meanwhile."""
        if self._others() and self._clock() >= self._waits_from:
            self._begin_to_wait()
        else:
            self._fire()

    def _step(self) -> None:
        if self._came > self._came_before and (self._steps > 1 or self._may_go_on()):
            self._wait(max(1, self._steps - 1))
            return
        self._cuts = 0
        if self._came > 1:
            self._vain_time = VAIN_TIME
        else:
            self._waits_from = self._clock() + self._vain_time
            self._vain_time = min(2 * self._vain_time, LONGEST_VAIN_TIME)
        self._fire()

    def _may_go_on(self) -> bool:
        """Whether the event loop was busy in this step, and nobody has waited for long."""
        now = self._clock()
        is_busy = self._cpu() - self._step_cpu >= BUSY * (now - self._step_at)
        return is_busy and now - self._waits_since < LONGEST

    def _fire(self) -> None:
        came, self._came = self._came, 0
        if not self._is_rest or came > 1:  # what comes during the rest of a long run says little about how many come
            decay = DECAY if came > 1 else LONE_DECAY
            self._expected = max(came, int(self._expected * decay))
        self._due, self._steps, self._is_rest = None, 0, False
        try:
            self._run()
        finally:
            self._ran_at = self._clock()
