"""Samples how stale the live peers of each store are, store by store, because staleness grows with time alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from gossipcontrol.server.core.liveness import Liveness
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.server.core.slices import Slices, finish
from gossipcontrol.server.runtime.clock import ServiceClock
from gossipcontrol.server.runtime.slices import BACKGROUND_TIME
from gossipcontrol.server.runtime.turns import Turns

SAMPLE_INTERVAL = 0.25
"""Least seconds between two samples."""
SAMPLING_SHARE = 0.02
"""Largest share of time for sampling: a store of ten thousand peers takes ten milliseconds."""
SAMPLE_SIZE = 100
"""About how many ages are observed per store and sample."""
LIVE = frozenset({PeerState.ONLINE, PeerState.SUSPECT})


class StalenessSampler:
    """Calls ``observe`` with the ages of some live peers of each sampled store, in seconds; calls go first."""

    def __init__(
        self, liveness: Liveness, clock: ServiceClock, observe: Callable[[float], None], turns: Turns | None = None
    ) -> None:
        self._turns = turns or Turns()
        self._liveness = liveness
        self._clock = clock
        self._observe = observe
        self._stores: dict[str, float | None] = {}
        """When the stalest live peer was last heard, as of the last sample; the store sampled longest ago is first."""
        self._timer: asyncio.TimerHandle | None = None
        self._sampling: asyncio.Task[None] | None = None

    def track(self, store_id: str) -> None:
        """Sample a store until it has no peers."""
        if store_id not in self._stores:
            self._stores[store_id] = None
            if self._timer is None and self._sampling is None:
                self._wait(SAMPLE_INTERVAL)

    def stalest(self) -> dict[str, float]:
        """When the stalest live peer of each store was last heard, for stores with live peers."""
        return {store_id: at for store_id, at in self._stores.copy().items() if at is not None}

    def stalest_at(self, store_id: str) -> float | None:
        """When the stalest live peer of a store was last heard."""
        return self._stores.get(store_id)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
        if self._sampling is not None:
            self._sampling.cancel()

    def sample(self, store_id: str) -> None:
        """Sample a store now."""
        finish(self.sample_slices(store_id))

    def sample_slices(self, store_id: str) -> Slices[None]:
        """The same in slices; until the last, what the sample before showed stands."""
        heard: list[float] = []
        known = False
        for peer in self._liveness.peers(store_id):
            yield
            known = True
            if peer.heard_at is not None and peer.state in LIVE:
                heard.append(peer.heard_at)
        self._stores.pop(store_id, None)
        if known:
            self._stores[store_id] = min(heard, default=None)
        now = self._clock.now()
        for heard_at in heard[:: 1 + len(heard) // SAMPLE_SIZE]:
            self._observe(max(0.0, now - heard_at))

    async def _sample_some(self) -> None:
        """Sample the stores in turn, each at most once, for the share of one interval."""
        spent, began_at = 0.0, time.perf_counter()
        for store_id in list(self._stores):
            for _ in self.sample_slices(store_id):
                worked = time.perf_counter() - began_at
                if worked >= BACKGROUND_TIME:  # in this store and in those before it
                    spent += worked
                    self._turns.count(worked)
                    await self._turns.let_calls_go_first()
                    began_at = time.perf_counter()
            if spent + time.perf_counter() - began_at > SAMPLE_INTERVAL * SAMPLING_SHARE:
                break
        spent += time.perf_counter() - began_at
        self._sampling = None
        if self._stores:
            self._wait(max(SAMPLE_INTERVAL, spent / SAMPLING_SHARE))

    def _tick(self) -> None:
        self._timer = None
        self._sampling = asyncio.get_running_loop().create_task(self._sample_some())

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._tick)
