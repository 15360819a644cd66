"""What was answered before, kept for a bounded time and number."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A map that forgets: entries older than ``age`` seconds, and the oldest beyond ``limit``."""

    def __init__(self, limit: int, age: float = float("inf")) -> None:
        self._limit = limit
        self._age = age
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K, now: float) -> V | None:
        """The value put less than ``age`` seconds ago, or None."""
        entry = self._entries.get(key)
        return entry[1] if entry is not None and now - entry[0] < self._age else None

    def put(self, key: K, value: V, now: float) -> None:
        """Remember a value, and forget what is due."""
        entries = self._entries
        entries[key] = (now, value)
        entries.move_to_end(key)
        while len(entries) > self._limit or now - next(iter(entries.values()))[0] >= self._age:
            entries.popitem(last=False)
