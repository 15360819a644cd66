"""What was answered before, kept for a bounded time and number."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

from gossipcontrol.server.core.codec import Later, Plain, decode

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

    def save(self) -> Plain:
        """Every entry, the oldest first."""
        return [Later((key, at, value)) for key, (at, value) in self._entries.items()]

    def load(self, plain: Plain, key_hint: Any, value_hint: Any) -> None:
        """Take over what was saved."""
        decoded = ((decode(key, key_hint), at, decode(value, value_hint)) for key, at, value in plain)
        self._entries = OrderedDict((key, (at, value)) for key, at, value in decoded)
