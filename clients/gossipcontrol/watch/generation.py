"""The host's counter of distinct network states, shared by all its watchers and kept over their restarts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from gossipcontrol.client.clock import boottime
from gossipcontrol.system.file import lock, open_shared

SAME_EVENT = 2.0
"""Seconds within which two watchers see one and the same event."""
LONGEST = 4096
"""Most bytes that are read of the shared file."""
HIGHEST = 1 << 62
"""No honest counter exceeds this; the service accepts 64 bits."""


class GenerationCounter:
    """One number per event. Without a usable file it counts from the milliseconds since the boot.

    No number is given twice in one boot: each is above the last, and at least the boot's age in milliseconds.
    """

    def __init__(self, path: Path, boot_id: str, clock: Callable[[], float] = boottime) -> None:
        self._path = path
        self._boot_id = boot_id
        self._clock = clock
        self._last = 0

    def advance(self, event: str) -> int:
        """The number of this event; that of another watcher if it has just seen the same."""
        try:
            self._last = self._advance_shared(event)
        except OSError:  # no place for the file, no room in it, no locks there
            self._last = self._next(self._last)
        return self._last

    def _advance_shared(self, event: str) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(open_shared(self._path), "r+b", buffering=0) as file:
            lock(file.fileno(), wait=True)
            now = self._clock()
            known = _parse(file.read(LONGEST), self._boot_id)
            is_new_to_us = known.generation > self._last and now - known.at < SAME_EVENT
            if is_new_to_us and known.event == event:
                return known.generation
            counted = _Counted(self._next(max(known.generation, self._last)), event, now)
            file.seek(0)
            file.truncate()
            file.write(json.dumps({"boot_id": self._boot_id, **asdict(counted)}).encode())
            return counted.generation

    def _next(self, last: int) -> int:
        return max(last + 1, int(self._clock() * 1000))


@dataclass(frozen=True, slots=True)
class _Counted:
    """The newest event that a watcher counted."""

    generation: int = 0
    event: str = ""
    at: float = 0.0


def _parse(text: bytes, boot_id: str) -> _Counted:
    """What watchers shared in this boot; nothing when the file is empty, torn, foreign or of another boot."""
    try:
        shared = json.loads(text)
    except (ValueError, RecursionError):
        return _Counted()
    match shared:
        case {"boot_id": str(boot), "generation": int(generation), "event": str(event), "at": float(at)}:
            return _Counted(generation, event, at) if boot == boot_id and 0 <= generation < HIGHEST else _Counted()
        case _:
            return _Counted()
