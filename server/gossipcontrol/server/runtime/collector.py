"""Looks for cycles of garbage without a long pause: among young objects, and among all only while little is to do.

The core keeps a great many small objects and makes no cycles. Python's collector cannot pause, and takes half a second
to look at all of 100,000 slots. So what survived two looks is not looked at again, until very many objects came.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Mapping
from typing import Any

YOUNG = 500
"""Objects after which the new ones are looked at: some 0.1 ms, but 4 ms where each of them holds a thousand names."""
ROUNDS = 10
"""Such looks after which all that came in them is looked at together, for the last time for long."""
FULL_AFTER = 4_000
"""Those after which all objects are due to be looked at, once little is to do: 22 million objects came."""
FULL_AT_LAST = 4 * FULL_AFTER
"""Those after which they are looked at whatever is to do."""
INTERVAL = 1.0
"""Seconds between two looks at how much there is to do."""
IDLE_SHARE = 0.05
"""Share of the time that the event loop's thread works at most while little is to do."""
SELDOM = 1_000_000
"""So that Python itself never looks at all objects."""


class Collector:
    """Runs in one event loop; ``worked`` says how many seconds its thread worked so far."""

    def __init__(
        self, worked: Callable[[], float] = time.thread_time, collect_all: Callable[[], object] | None = None
    ) -> None:
        self._worked = worked
        self._collect_all = collect_all or _collect_all
        self._rounds = 0
        """Young objects were set aside so often since all were looked at."""
        self._before = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def tune(self) -> None:
        """Set aside what there is, and from now on what survives."""
        gc.set_threshold(YOUNG, ROUNDS, SELDOM)
        gc.freeze()
        gc.callbacks.append(self.on_collection)

    def start(self) -> None:
        """Begin to look at how much there is to do; call it in the event loop."""
        self._before = self._worked()
        self._wait()

    def close(self) -> None:
        """Look at everything again, as Python does by itself."""
        if self._timer is not None:
            self._timer.cancel()
        if self.on_collection in gc.callbacks:
            gc.callbacks.remove(self.on_collection)
        gc.unfreeze()

    def look(self) -> None:
        """Look at all objects if that is due and little was to do since the last look."""
        worked, before = self._worked(), self._before
        is_idle = worked - before <= INTERVAL * IDLE_SHARE
        if self._rounds >= FULL_AT_LAST or (is_idle and self._rounds >= FULL_AFTER):
            self._collect_all()
            self._rounds = 0
        self._before = self._worked()

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
    if gc.get_freeze_count():
        gc.freeze()


def _collect_all() -> None:
    gc.unfreeze()
    gc.collect()
    gc.freeze()
