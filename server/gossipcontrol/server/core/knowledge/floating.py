"""Intentions that wait for a predecessor or a dependency."""

from __future__ import annotations

from collections import OrderedDict

from gossipcontrol.server.core.knowledge.intention import Intention


class Floating:
    """At most ``limit`` hashes named in all; beyond it the intention that floats longest is given up.

    What is given up is not remembered: it can be recorded again.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.waiting: OrderedDict[bytes, tuple[Intention, set[bytes]]] = OrderedDict()
        """Those that float by their hash, the oldest first, each with the hashes that are missing."""
        self._wanted: dict[bytes, dict[bytes, None]] = {}
        """By missing hash, who waits for it; ordered, so that every run is the same."""
        self._named = 0
        self.dropped = 0
        """How many were given up."""

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
        """The intentions that wait no more now that this hash is known."""
        free: list[Intention] = []
        for waiter in self._wanted.pop(name, ()):
            one, missing = self.waiting[waiter]
            missing.remove(name)
            if not missing:
                self._remove(one)
                free.append(one)
        return free

    def intentions(self) -> list[Intention]:
        """Those that wait, the oldest first."""
        return [one for one, _ in self.waiting.values()]

    def _remove(self, one: Intention) -> None:
        del self.waiting[one.hash]
        self._named -= 1 + len(one.dependencies)
