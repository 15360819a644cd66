"""Resume seen by the clocks: one goes on while the host sleeps, the other does not."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Self

from gossipcontrol.system.boot import awake_time, boottime
from gossipcontrol.watch.change import ChangeKind

INTERVAL = 5.0
"""Seconds between two checks, where the kernel does not wake us."""
SHORTEST = 1.0
"""Seconds of sleep that count."""
TFD_TIMER_ABSTIME, TFD_TIMER_CANCEL_ON_SET = 1, 2
FAR = 1 << 33
"""An instant that never comes, in seconds since the epoch."""


class Suspension:
    """Growth of the difference of both: immune to steps of the wall clock, and to a frozen process."""

    def __init__(
        self,
        boottime: Callable[[], float],
        monotonic: Callable[[], float],
        *,
        shortest: float = SHORTEST,
        adds_up: bool = True,
    ) -> None:
        self._boottime = boottime
        self._monotonic = monotonic
        self._shortest = shortest
        self._adds_up = adds_up
        self._slept = boottime() - monotonic()

    @classmethod
    def of_this_boot(cls, *, shortest: float = SHORTEST, adds_up: bool = True) -> Self:
        """Seen by this system's clocks; ``adds_up``: several short sleeps make one that counts."""
        return cls(boottime, awake_time, shortest=shortest, adds_up=adds_up)

    def grown(self) -> float:
        """Seconds slept since this last returned more than 0; 0 when fewer than ``shortest``."""
        slept = self._boottime() - self._monotonic()
        growth = slept - self._slept
        if growth < self._shortest:
            self._slept = self._slept if self._adds_up else slept
            return 0.0
        self._slept = slept
        return growth


class ClockSource:
    """Reads the clocks when the kernel cancels a timer, as it does at resume, and every few seconds."""

    name = "clocks"

    def __init__(self, suspension: Suspension | None = None, wait: Callable[[], Awaitable[None]] | None = None) -> None:
        self._suspension = suspension
        self._wait = wait

    async def watch(self) -> AsyncGenerator[ChangeKind, None]:
        """RESUMED each time; raises OSError where the kernel refuses timers."""
        suspension = self._suspension or Suspension.of_this_boot()
        with ClockStep() as step:
            while True:
                await (self._wait() if self._wait else step.wait(INTERVAL))
                if suspension.grown():
                    yield ChangeKind.RESUMED


if sys.platform == "linux":

    class _Itimerspec(ctypes.Structure):
        _fields_ = (
            ("interval_seconds", ctypes.c_long),
            ("interval_nanoseconds", ctypes.c_long),
            ("seconds", ctypes.c_long),
            ("nanoseconds", ctypes.c_long),
        )

    class ClockStep:
        """A timer of the kernel that is cancelled when the wall clock is set, as it is at resume."""

        def __init__(self) -> None:
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._descriptor = -1

        def __enter__(self) -> ClockStep:
            self._descriptor = self._libc.timerfd_create(time.CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
            if self._descriptor < 0:
                raise OSError(ctypes.get_errno(), "timerfd_create")
            return self

        def __exit__(self, *error: object) -> None:
            os.close(self._descriptor)

        async def wait(self, timeout: float) -> bool:
            """Wait until the clock is set; returns False when it was not within ``timeout`` seconds."""
            spec = _Itimerspec(0, 0, FAR, 0)
            flags = TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET
            self._libc.timerfd_settime(self._descriptor, flags, ctypes.byref(spec), None)
            loop = asyncio.get_running_loop()
            fired: asyncio.Future[None] = loop.create_future()
            loop.add_reader(self._descriptor, _fire, fired)
            try:
                async with asyncio.timeout(timeout):
                    await fired
            except TimeoutError:
                return False
            finally:
                loop.remove_reader(self._descriptor)
            return True

    def _fire(fired: asyncio.Future[None]) -> None:
        if not fired.done():
            fired.set_result(None)

else:

    class ClockStep:
        """Stands where no timer of the kernel is cancelled: the clocks are compared at each interval."""

        def __enter__(self) -> ClockStep:
            return self

        def __exit__(self, *error: object) -> None:
            del error

        async def wait(self, timeout: float) -> bool:
            """Wait for so many seconds; returns False."""
            await asyncio.sleep(timeout)
            return False
