"""Floating intentions: those whose predecessor or a dependency is not known yet, or which await their turn."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from gossipcontrol.server.core.knowledge.intention import Intention


class Floating:
    """A bounded waiting room: at most ``limit`` hashes named in all; beyond it the oldest intention is dropped.

    A dropped intention is not remembered, so it can be recorded again.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.waiting: OrderedDict[bytes, tuple[Intention, set[bytes]]] = OrderedDict()
        """Hash -> (floating intention, its missing hashes); the oldest first."""
        self.wanted: dict[bytes, dict[bytes, None]] = {}
        """Missing hash -> the hashes that wait for it; a dict, so that the order is deterministic."""
        self.named = 0
        self.dropped = 0
        """Number of dropped intentions."""

    def __len__(self) -> int:
        return len(self.waiting)

    def add(self, one: Intention, missing: set[bytes]) -> None:
        """Let an intention wait until every missing hash has come."""
        self.waiting[one.hash] = (one, missing)
        for name in missing:
            self.wanted.setdefault(name, {})[one.hash] = None
        self.named += 1 + len(one.dependencies)
        while self.named > self._limit:
            oldest, names = next(iter(self.waiting.values()))
            self.remove(oldest)
            self.dropped += 1
            for name in names:
                # Who waits for a name that has come is not listed any more.
                if others := self.wanted.get(name):
                    others.pop(oldest.hash, None)
                    if not others:
                        del self.wanted[name]

    def waiters(self, name: bytes) -> Iterator[bytes]:
        """The hashes that wait for this one, which has come; they are listed no more."""
        return iter(self.wanted.pop(name, ()))

    def come(self, name: bytes, waiter: bytes) -> Intention | None:
        """A hash for which an intention waits has come; returns the intention if it waits for no other."""
        waiting = self.waiting.get(waiter)
        if waiting is None or name not in waiting[1]:
            return None  # it was dropped, and perhaps recorded again
        one, missing = waiting
        missing.remove(name)
        return None if missing else one

    def intentions(self) -> list[Intention]:
        """The floating intentions, the oldest first."""
        return [one for one, _ in self.waiting.values()]

    def remove(self, one: Intention) -> None:
        """An intention waits no more."""
        del self.waiting[one.hash]
        self.named -= 1 + len(one.dependencies)
