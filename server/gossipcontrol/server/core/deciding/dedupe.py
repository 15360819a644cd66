"""What was answered before, kept for a bounded time and number."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from gossipcontrol.server.core.codec import LaterList, Plain, decode, encode

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class DedupeCache(Generic[K, V]):
    """A map that forgets: entries older than ``age`` seconds, and the oldest beyond ``limit``, or beyond a size.

    The sizes of all values are at most ``room`` in sum, unless that of the newest alone is greater: it is always kept.
    """

    def __init__(self, limit: int, age: float, room: int, size: Callable[[V], int]) -> None:
        self._limit = limit
        self._age = age
        self._room = room
        self._size = size
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()
        """The oldest first."""
        self.taken = 0
        """The sizes of all values in sum."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K, now: float) -> V | None:
        """The value put less than ``age`` seconds ago, or None."""
        entry = self._entries.get(key)
        return entry[1] if entry is not None and now - entry[0] < self._age else None

    def put(self, key: K, value: V, now: float) -> None:
        """Remember a value, and forget what is due."""
        known = self._entries.pop(key, None)
        if known is not None:
            self.taken -= self._size(known[1])
        self._entries[key] = (now, value)
        self.taken += self._size(value)
        self._forget(now)

    def _forget(self, now: float) -> None:
        entries = self._entries
        while len(entries) > 1:
            at, value = next(iter(entries.values()))
            if len(entries) <= self._limit and self.taken <= self._room and now - at < self._age:
                break
            entries.popitem(last=False)
            self.taken -= self._size(value)

    def save(self) -> Plain:
        """Every entry, the oldest first."""
        entries = tuple(self._entries.items())
        return LaterList(lambda: entries, lambda entry: encode((entry[0], *entry[1])), is_heavy=True)

    def load(self, plain: Plain, key_hint: Any, value_hint: Any) -> None:
        """Take over what was saved, as far as it is to be remembered."""
        decoded = ((decode(key, key_hint), at, decode(value, value_hint)) for key, at, value in plain)
        self._entries = OrderedDict((key, (at, value)) for key, at, value in decoded)
        self.taken = sum(self._size(value) for _, value in self._entries.values())
        if self._entries:
            self._forget(self._entries[next(reversed(self._entries))][0])
