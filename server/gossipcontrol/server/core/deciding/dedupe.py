"""What was answered before, kept for a bounded time and number."""

from __future__ import annotations

from collections import deque
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
        self._entries: dict[K, tuple[K, float, V]] = {}
        self._order: deque[tuple[K, float, V]] = deque()
        """The oldest first, for a snapshot copies it at once: an OrderedDict looks up each key, 0.5 us each."""
        self._replaced: dict[int, tuple[K, float, V]] = {}
        """Those in it that a newer one of their key replaced, by identity."""
        self.taken = 0
        """The sizes of all values in sum."""

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K, now: float) -> V | None:
        """The value put less than ``age`` seconds ago, or None."""
        entry = self._entries.get(key)
        return entry[2] if entry is not None and now - entry[1] < self._age else None

    def put(self, key: K, value: V, now: float) -> None:
        """Remember a value, and forget what is due."""
        known = self._entries.pop(key, None)
        if known is not None:
            self.taken -= self._size(known[2])
            self._replaced[id(known)] = known
        entry = self._entries[key] = (key, now, value)
        self._order.append(entry)
        self.taken += self._size(value)
        self._forget(now)

    def _forget(self, now: float) -> None:
        entries, order, replaced = self._entries, self._order, self._replaced
        while len(entries) > 1:
            key, at, value = oldest = order[0]
            if replaced.pop(id(oldest), None) is None:
                if len(entries) <= self._limit and self.taken <= self._room and now - at < self._age:
                    break
                del entries[key]
                self.taken -= self._size(value)
            order.popleft()
        if len(replaced) > len(entries):
            self._order = deque(one for one in order if id(one) not in replaced)
            replaced.clear()

    def save(self) -> Plain:
        """Every entry, the oldest first."""
        order, replaced = tuple(self._order), frozenset(self._replaced)
        return LaterList(lambda: (one for one in order if id(one) not in replaced), encode, is_heavy=True)

    def load(self, plain: Plain, key_hint: Any, value_hint: Any) -> None:
        """Take over what was saved, as far as it is to be remembered."""
        decoded = ((decode(key, key_hint), at, decode(value, value_hint)) for key, at, value in plain)
        self._entries = {entry[0]: entry for entry in decoded}
        self._order = deque(self._entries.values())
        self.taken = sum(self._size(value) for *_, value in self._order)
        if self._order:
            self._forget(self._order[-1][1])
