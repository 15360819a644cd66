"""A file's content that follows the file: read again when it changes, and the last good one kept when it is broken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

LOOK_INTERVAL = 1.0
"""Seconds between two looks at whether a file has changed."""

T = TypeVar("T")
_Stamp = tuple[tuple[int, int, int] | None, ...]


class Fresh(Generic[T]):
    """What ``read`` makes of some files. Any thread may ask; ``failed`` is told each new error once.

    Whatever ``read`` raises at the construction is raised there.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        read: Callable[[], T],
        failed: Callable[[Exception], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._paths = tuple(paths)
        self._read = read
        self._failed = failed
        self._clock = clock
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._value = read()
        self._looked_at = clock()

    def __call__(self) -> T:
        """The content, at most ``LOOK_INTERVAL`` old."""
        if self._clock() - self._looked_at >= LOOK_INTERVAL:
            self.refresh()
        return self._value

    def refresh(self) -> None:
        """Look now."""
        with self._lock:
            self._looked_at = self._clock()
            stamp = self._look()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            try:
                self._value = self._read()
            except Exception as error:  # noqa: BLE001 - a broken file must not end what runs on the last good one
                self._failed(error)

    def _look(self) -> _Stamp:
        return tuple(_stamp(path) for path in self._paths)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
