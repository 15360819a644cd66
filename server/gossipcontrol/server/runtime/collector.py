"""Looks for cycles of garbage without a long pause: among young objects, and among all only while little is to do.

The core keeps a great many small objects and makes no cycles, and a call leaves none when it ends. Python's collector
cannot pause, and takes half a second to look at all of 200,000 slots. So what survived two looks is not looked at
again, unless memory grows for which no book accounts, or very many objects came.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

YOUNG = 50
"""Objects after which the new ones are looked at, less those that went meanwhile: in a service whose books are full as
many go as come. So with 500, a look found 17,500 now and then, which took 4 to 10 ms, and with 50 it finds 1,300."""
ROUNDS = 20
"""Such looks after which all that came in them is looked at together, for the last time for long."""
FULL_AFTER = 20_000
"""Those after which all objects are due to be looked at, once little is to do and books are small: some 20 million
objects came."""
SMALL_BOOKS = 64_000_000
"""Bytes for which the books account at most for that: a look then takes 50 ms. With fuller books it takes up to a
second, for which no call should wait to free less than 32 MB."""
IDLE_GROWTH = 32_000_000
"""Bytes for which no book accounts, and after which all objects are looked at once little is to do."""
MOST_GROWTH = 96_000_000
"""Those after which they are looked at whatever is to do. What books gave up counts as theirs then: memory that they
took stays with the allocator, and a fleet that has just vanished comes back at once."""
IDLE_PART, MOST_PART = 8, 4
"""Growth by less than the 8th, or the 4th, part of what books account for is no reason: they count entries at average
costs. While 20,000 nodes with 10 stores first reported, 200 of 635 MB were in no book, and a look took up to 5 s."""
INTERVAL = 1.0
"""Seconds between two looks at how much there is to do."""
IDLE_SHARE = 0.05
"""Share of the time that the event loop's thread works at most while little is to do."""
SMALL_OBJECT = 100
"""Bytes of a small object, about."""
SELDOM = 1_000_000
"""So that Python itself never looks at all objects."""


EVENTS = 50
"""Events of the core after which the new objects are looked at, whatever Python counts: about 5,000 of them."""


class Collector:
    """Runs in one event loop. ``worked``: the seconds that its thread worked so far; ``memory``: the resident bytes."""

    def __init__(
        self,
        worked: Callable[[], float] = time.thread_time,
        collect_all: Callable[[], object] | None = None,
        memory: Callable[[], int] | None = None,
    ) -> None:
        self._worked = worked
        self._collect_all = collect_all or _collect_all
        self._memory = memory or resident_bytes
        self._accounted: Callable[[], int] = int
        self._rounds = 0
        """Young objects were set aside so often since all were looked at."""
        self._least = 0
        """The fewest bytes for which no book accounted since all were looked at; they may be below zero."""
        self._most_accounted = self._least_beyond = 0
        """The most bytes for which books accounted since then, and the fewest beyond the most."""
        self._before = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def tune(self) -> None:
        """Set aside what there is, and from now on what survives."""
        gc.set_threshold(YOUNG, ROUNDS, SELDOM)
        gc.freeze()
        gc.callbacks.append(self.on_collection)

    def start(self, accounted: Callable[[], int] = int) -> None:
        """Begin to look at how much there is to do; call it in the event loop.

        ``accounted`` says for how many bytes the books account: as much may be kept without any garbage.
        """
        self._accounted = accounted
        self._before = self._worked()
        self._begin()
        self._wait()

    def close(self) -> None:
        """Look at everything again, as Python does by itself."""
        if self._timer is not None:
            self._timer.cancel()
        if self.on_collection in gc.callbacks:
            gc.callbacks.remove(self.on_collection)
        gc.unfreeze()

    def look(self) -> None:
        """Look at all objects if that is due and little was to do since the last look, or if it cannot wait."""
        is_idle = self._worked() - self._before <= INTERVAL * IDLE_SHARE
        if self._is_due(is_idle):
            self._collect_all()
            self._begin()
        self._before = self._worked()

    def _begin(self) -> None:
        """Growth counts from now on."""
        memory, self._most_accounted = self._memory(), self._accounted()
        self._rounds, self._least = 0, memory - self._most_accounted
        self._least_beyond = self._least

    def _is_due(self, is_idle: bool) -> bool:
        memory, accounted = self._memory(), self._accounted()
        self._most_accounted = max(self._most_accounted, accounted)
        self._least = min(self._least, memory - accounted)
        self._least_beyond = min(self._least_beyond, memory - self._most_accounted)
        if not self._rounds:
            return False  # nothing was set aside
        if is_idle and memory - accounted - self._least >= max(IDLE_GROWTH, accounted // IDLE_PART):
            return True
        if is_idle and self._rounds >= FULL_AFTER and accounted <= SMALL_BOOKS:
            return True
        most = max(MOST_GROWTH, self._most_accounted // MOST_PART)
        return memory - self._most_accounted - self._least_beyond >= most

    def on_collection(self, phase: str, info: Mapping[str, Any]) -> None:
        """Python calls it around each collection."""
        if phase == "stop" and info["generation"] == 1:
            gc.freeze()
            self._rounds += 1

    def _tick(self) -> None:
        self.look()
        self._wait()

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._tick)


def set_aside() -> None:
    """Set aside what there is, if a collector is at work: to look at a list of 100,000 objects takes 20 ms."""
    if _is_at_work():
        gc.freeze()


def look_at_young() -> None:
    """Look at the new objects, if a collector is at work; call it after ``EVENTS`` events of the core.

    Python counts those that came less those that went, old ones too. An event that replaces what the core keeps brings
    as many as it takes away: after all peers of 2,500 nodes fell silent, Python's next look found 91,000.
    """
    if _is_at_work():
        gc.collect(1)


def _is_at_work() -> bool:
    # ``gc.get_freeze_count`` would say it too, but counts: 90 ms for all of 200,000 slots.
    return any(isinstance(getattr(one, "__self__", None), Collector) for one in gc.callbacks)


def _collect_all() -> None:
    gc.unfreeze()
    gc.collect()
    gc.freeze()


if sys.platform == "linux":

    def resident_bytes() -> int:
        """The memory of this process."""
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

else:

    def resident_bytes() -> int:
        """The memory of the small objects of this process, which is nearly all that garbage can keep."""
        return sys.getallocatedblocks() * SMALL_OBJECT
