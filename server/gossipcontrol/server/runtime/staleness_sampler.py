"""Looks at one store's peers after the other: how stale each is cannot be kept up to date, for it grows by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from gossipcontrol.server.core.liveness import Liveness
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.server.runtime.clock import ServiceClock

STEP = 0.25
"""Least seconds between two looks."""
SHARE = 0.02
"""Most of the time that looks may take: one at ten thousand peers costs ten milliseconds."""
SAMPLE = 100
"""Most ages told of one store per look."""
LIVE = frozenset({PeerState.ONLINE, PeerState.SUSPECT})


class StalenessSampler:
    """``observe`` is told the ages of some live peers of the store that is looked at, in seconds."""

    def __init__(self, liveness: Liveness, clock: ServiceClock, observe: Callable[[float], None]) -> None:
        self._liveness = liveness
        self._clock = clock
        self._observe = observe
        self._stores: dict[str, float | None] = {}
        """Since when the stalest live peer is unheard, as of the last look; the store longest not looked at first."""
        self._timer: asyncio.TimerHandle | None = None

    def note(self, store_id: str) -> None:
        """Look at a store that has peers from now on, until it has none."""
        if store_id not in self._stores:
            self._stores[store_id] = None
            if self._timer is None:
                self._wait(STEP)

    def stalest(self) -> dict[str, float]:
        """Since when the stalest live peer of each store is unheard; stores without live peers are left out."""
        return {store_id: at for store_id, at in self._stores.copy().items() if at is not None}

    def stalest_at(self, store_id: str) -> float | None:
        """The same of one store."""
        return self._stores.get(store_id)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def look(self, store_id: str) -> None:
        """Look at a store now."""
        self._stores.pop(store_id, None)
        stalest: float | None = None
        heard: list[float] = []
        known = False
        for peer in self._liveness.peers(store_id):
            known = True
            if peer.heard_at is not None and peer.state in LIVE:
                heard.append(peer.heard_at)
        if known:
            stalest = min(heard, default=None)
            self._stores[store_id] = stalest
        now = self._clock.now()
        for heard_at in heard[:: 1 + len(heard) // SAMPLE]:
            self._observe(max(0.0, now - heard_at))

    def _tick(self) -> None:
        """Look at the stores in turn, each at most once, for as long as the share of one step allows."""
        started_at = time.perf_counter()
        spent = 0.0
        for store_id in list(self._stores):
            self.look(store_id)
            spent = time.perf_counter() - started_at
            if spent > STEP * SHARE:
                break
        self._timer = None
        if self._stores:
            self._wait(max(STEP, spent / SHARE))

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._tick)
