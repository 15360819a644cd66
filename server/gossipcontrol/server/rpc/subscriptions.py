"""Who watches which store, and is to be woken when its presence changes."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from gossipcontrol.server.errors import GossipControlError, Overloaded

FULL_RETRY = 5.0
"""Seconds after which a watcher that found no place may ask again."""
PAUSE = 0.02
"""Least seconds between two wakings: what changes meanwhile is told together."""
COST = 0.001
"""Seconds that wakings are further apart for each watcher: telling one takes a tenth of it."""


class Subscription:
    """One watcher of a store; ``woken`` is set when there may be something to tell it."""

    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self._end: GossipControlError | None = None

    async def wait(self) -> None:
        """Wait until there may be something to tell; raises the error with which the watching ends."""
        if self._end is None:
            await self.woken.wait()
        if self._end is not None:
            raise self._end
        self.woken.clear()

    def close(self, error: GossipControlError) -> None:
        """End the watching."""
        self._end = error
        self.woken.set()


class SubscriptionHub:
    """At most ``limit`` watchers. Runs in one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._places: dict[str, set[Subscription]] = {}
        self._changed: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.count = 0

    @contextmanager
    def place(self, store_id: str) -> Generator[Subscription]:
        """A place to watch a store from; raises Overloaded."""
        if self.count >= self._limit:
            raise Overloaded(f"{self.count} watchers are served already", FULL_RETRY)
        place = Subscription()
        self._places.setdefault(store_id, set()).add(place)
        self.count += 1
        try:
            yield place
        finally:
            self.count -= 1
            watching = self._places[store_id]
            watching.discard(place)
            if not watching:
                del self._places[store_id]

    def wake(self, store_id: str) -> None:
        """Wake the watchers of a store soon."""
        if store_id not in self._places:
            return
        self._changed.add(store_id)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PAUSE + COST * self.count, self._wake)

    def close(self, error: GossipControlError) -> None:
        """End all watching."""
        if self._timer is not None:
            self._timer.cancel()
        for watching in self._places.values():
            for place in watching:
                place.close(error)

    def _wake(self) -> None:
        self._timer = None
        changed, self._changed = self._changed, set()
        for store_id in changed:
            for place in self._places.get(store_id, ()):
                place.woken.set()
