"""The host's counter of distinct network states, shared by all its watchers and kept over their restarts."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

SAME_EVENT = 2.0
"""Seconds within which two watchers see one and the same event."""


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class GenerationCounter:
    """Gives one number per event. Without a usable file it counts on from the milliseconds since the boot.

    A number never comes twice in a boot: each is above the last, and at least the boot's age in milliseconds.
    """

    def __init__(self, path: Path, boot_id: str, clock: Callable[[], float] = _boottime) -> None:
        self._path = path
        self._boot_id = boot_id
        self._clock = clock
        self._last = 0

    def advance(self, event: str) -> int:
        """The number of this event; that of another watcher if it has just seen the same."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            self._last = self._next(self._last)
            return self._last
        with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._last = self._advance_in(file.read(), event, file)
        return self._last

    def _advance_in(self, text: str, event: str, file: IO[str]) -> int:
        now = self._clock()
        shared = _parse(text, self._boot_id)
        known = int(shared.get("generation", 0))
        is_new_to_us = known > self._last and now - float(shared.get("at", 0.0)) < SAME_EVENT
        if is_new_to_us and shared.get("event") == event:
            return known
        generation = self._next(max(known, self._last))
        file.seek(0)
        file.truncate()
        json.dump({"boot_id": self._boot_id, "generation": generation, "event": event, "at": now}, file)
        return generation

    def _next(self, last: int) -> int:
        return max(last + 1, int(self._clock() * 1000))


def _parse(text: str, boot_id: str) -> dict[str, str | int | float]:
    """What watchers shared in this boot; nothing when the file is empty, torn or of another boot."""
    try:
        shared = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(shared, dict):
        return {}
    known = cast("dict[str, str | int | float]", shared)
    return known if known.get("boot_id") == boot_id else {}
