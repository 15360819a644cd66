"""The subscriptions to stores: who watches a store is notified when its presence changes."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from gossipcontrol.server.errors import GossipControlError, Overloaded

SUBSCRIBE_RETRY = 5.0
"""Seconds after which a subscriber beyond the limit may try again."""
NOTIFY_INTERVAL = 0.02
"""Least seconds between two notifications; changes in between are sent together."""
INTERVAL_PER_SUBSCRIPTION = 0.001
"""Seconds by which each subscription lengthens the interval: ten times what one update costs."""


class Subscription:
    """One watcher of a store; ``notified`` is set when the store may have changed."""

    def __init__(self) -> None:
        self.notified = asyncio.Event()
        self._error: GossipControlError | None = None

    async def wait(self) -> None:
        """Wait until the store may have changed; raises the error with which the subscription was closed."""
        if self._error is None:
            await self.notified.wait()
        if self._error is not None:
            raise self._error
        self.notified.clear()

    def close(self, error: GossipControlError) -> None:
        """End the subscription with an error."""
        self._error = error
        self.notified.set()


class SubscriptionHub:
    """At most ``limit`` subscriptions. Runs in one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._subscriptions: dict[str, set[Subscription]] = {}
        self._changed: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.count = 0

    @contextmanager
    def subscribe(self, store_id: str) -> Generator[Subscription]:
        """Subscribe to a store for as long as the context lasts; raises Overloaded at the limit."""
        if self.count >= self._limit:
            raise Overloaded(f"the limit of {self._limit} WatchPeers calls is reached", SUBSCRIBE_RETRY)
        subscription = Subscription()
        self._subscriptions.setdefault(store_id, set()).add(subscription)
        self.count += 1
        try:
            yield subscription
        finally:
            self.count -= 1
            of_store = self._subscriptions[store_id]
            of_store.discard(subscription)
            if not of_store:
                del self._subscriptions[store_id]

    def notify(self, store_id: str) -> None:
        """Notify the subscribers of a store soon."""
        if store_id not in self._subscriptions:
            return
        self._changed.add(store_id)
        if self._timer is None:
            interval = NOTIFY_INTERVAL + INTERVAL_PER_SUBSCRIPTION * self.count
            self._timer = asyncio.get_running_loop().call_later(interval, self._notify)

    def close(self, error: GossipControlError) -> None:
        """End all subscriptions with an error."""
        if self._timer is not None:
            self._timer.cancel()
        for of_store in self._subscriptions.values():
            for subscription in of_store:
                subscription.close(error)

    def _notify(self) -> None:
        self._timer = None
        changed, self._changed = self._changed, set()
        for store_id in changed:
            for subscription in self._subscriptions.get(store_id, ()):
                subscription.notified.set()
