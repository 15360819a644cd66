"""Floating intentions: those whose predecessor or a dependency is not known yet."""

from __future__ import annotations

from collections import OrderedDict

from gossipcontrol.server.core.knowledge.intention import Intention


class Floating:
    """A bounded waiting room: at most ``limit`` hashes named in all; beyond it the oldest intention is dropped.

    A dropped intention is not remembered, so it can be recorded again.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.waiting: OrderedDict[bytes, tuple[Intention, set[bytes]]] = OrderedDict()
        """Hash -> (floating intention, its missing hashes); the oldest first."""
        self._wanted: dict[bytes, dict[bytes, None]] = {}
        """Missing hash -> the hashes that wait for it; a dict, so that the order is deterministic."""
        self._named = 0
        self.dropped = 0
        """Number of dropped intentions."""

    def __len__(self) -> int:
        return len(self.waiting)

    def add(self, one: Intention, missing: set[bytes]) -> None:
        """Let an intention wait until every missing hash has been released."""
        self.waiting[one.hash] = (one, missing)
        for name in missing:
            self._wanted.setdefault(name, {})[one.hash] = None
        self._named += 1 + len(one.dependencies)
        while self._named > self._limit:
            oldest, names = next(iter(self.waiting.values()))
            self._remove(oldest)
            self.dropped += 1
            for name in names:
                others = self._wanted[name]
                del others[oldest.hash]
                if not others:
                    del self._wanted[name]

    def release(self, name: bytes) -> list[Intention]:
        """Remove and return the intentions that waited only for this hash."""
        free: list[Intention] = []
        for waiter in self._wanted.pop(name, ()):
            one, missing = self.waiting[waiter]
            missing.remove(name)
            if not missing:
                self._remove(one)
                free.append(one)
        return free

    def intentions(self) -> list[Intention]:
        """The floating intentions, the oldest first."""
        return [one for one, _ in self.waiting.values()]

    def _remove(self, one: Intention) -> None:
        del self.waiting[one.hash]
        self._named -= 1 + len(one.dependencies)
