"""The subscriptions to stores: who watches a store is notified when its presence changes."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from itertools import islice

from gossipcontrol.server.errors import GossipControlError, Overloaded
from gossipcontrol.server.runtime.turns import SLICE_TIME

SUBSCRIBE_RETRY = 5.0
"""Seconds after which a subscriber beyond the limit may try again: a guess, for a subscription lasts as long as its
reader wants, so nobody knows when one ends."""
NOTIFY_INTERVAL = 0.02
"""Least seconds between two notifications; changes in between are sent together."""
INTERVAL_PER_SUBSCRIPTION = 0.001
"""Seconds by which each subscription lengthens the interval: ten times what one update costs."""
SHARE, LEAST_SHARE = 8, 16
"""One connection may hold one in so many of all places, but always the least share."""
LARGEST_BATCH = 64
"""Most subscribers notified in one turn of the event loop, however little each has to do."""
LEAST_REST = 0.001
"""Seconds of work from which on subscribers rest as long as they worked; timers are no finer."""
LOCAL_PEER = "unix:"
"""What gRPC calls every client on the Unix socket, who are all of one user: they have no share."""


class Subscription:
    """One watcher of a store; ``notified`` is set when the store may have changed."""

    def __init__(self, hub: SubscriptionHub) -> None:
        self.notified = asyncio.Event()
        self._hub = hub
        self._error: GossipControlError | None = None

    async def wait(self) -> None:
        """Wait until the store may have changed, and it is this subscription's turn; ``work`` belongs to the turn.

        Raises the error with which the subscription was closed.
        """
        while True:
            if self._error is None:
                await self.notified.wait()
            if self._error is not None:
                raise self._error
            self.notified.clear()
            if self._hub.may_work():
                return
            self.again(first=True)

    @contextmanager
    def work(self) -> Generator[None]:
        """Count the time until the context ends as work of this turn, so that others wait for the next one."""
        began_at = time.perf_counter()
        try:
            yield
        finally:
            self._hub.spent += time.perf_counter() - began_at

    def again(self, *, first: bool = False) -> None:
        """Have another turn after those who wait, or before them."""
        self._hub.wake([self], first=first)

    def close(self, error: GossipControlError) -> None:
        """End the subscription with an error."""
        self._error = error
        self.notified.set()


class SubscriptionHub:
    """At most ``limit`` subscriptions. Runs in one event loop."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._subscriptions: dict[str, set[Subscription]] = {}
        self._changed: set[str] = set()
        self._held: dict[str, int] = {}
        """Places held by each connection."""
        self._waking: OrderedDict[Subscription, None] = OrderedDict()
        """Subscriptions to be notified in the next turns of the event loop, in order."""
        self._passed_over: OrderedDict[Subscription, None] = OrderedDict()
        """Those for which the slice of their turn did not last: they are notified before all others, in order."""
        self._is_waking = False
        """Whether some were notified in this turn, or will be in the next."""
        self.spent = 0.0
        """Seconds that subscribers worked in this turn."""
        self._timer: asyncio.TimerHandle | None = None
        self.count = 0

    @contextmanager
    def subscribe(self, store_id: str, peer: str = "") -> Generator[Subscription]:
        """Subscribe to a store for as long as the context lasts; it is notified once, soon.

        Raises Overloaded at the limit, or when this connection (``peer``) holds its share.
        """
        if self.count >= self.limit:
            raise Overloaded(f"the limit of {self.limit} WatchPeers calls is reached", SUBSCRIBE_RETRY)
        share = max(LEAST_SHARE, self.limit // SHARE)
        if self._held.get(peer, 0) >= share and not peer.startswith(LOCAL_PEER):
            raise Overloaded(f"this connection has {share} WatchPeers calls, all that one may have", SUBSCRIBE_RETRY)
        subscription = Subscription(self)
        self._subscriptions.setdefault(store_id, set()).add(subscription)
        self._held[peer] = self._held.get(peer, 0) + 1
        self.count += 1
        self.wake([subscription])
        try:
            yield subscription
        finally:
            self._leave(store_id, peer, subscription)

    def _leave(self, store_id: str, peer: str, subscription: Subscription) -> None:
        self.count -= 1
        self._held[peer] -= 1
        if not self._held[peer]:
            del self._held[peer]
        self._waking.pop(subscription, None)
        self._passed_over.pop(subscription, None)
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
            self._timer = None
        for of_store in self._subscriptions.values():
            for subscription in of_store:
                subscription.close(error)

    def _notify(self) -> None:
        self._timer = None
        changed, self._changed = self._changed, set()
        for store_id in changed:
            self.wake(self._subscriptions.get(store_id, ()))

    def may_work(self) -> bool:
        """Whether the slice of this turn is not used up."""
        return self.spent < SLICE_TIME

    def wake(self, subscriptions: Iterable[Subscription], *, first: bool = False) -> None:
        """Give these subscriptions a turn, each once, after or before all who wait."""
        for subscription in subscriptions:
            if first:
                self._passed_over[subscription] = None
            elif subscription not in self._passed_over:
                self._waking[subscription] = None
        if (self._waking or self._passed_over) and not self._is_waking:
            self._wake_some()

    def _wake_some(self) -> None:
        """Begin a turn; those notified work before it ends."""
        self.spent = 0.0
        self._is_waking = bool(self._waking or self._passed_over)
        for subscription in list(islice((*self._passed_over, *self._waking), LARGEST_BATCH)):
            self._passed_over.pop(subscription, None)
            self._waking.pop(subscription, None)
            subscription.notified.set()
        if self._is_waking:
            asyncio.get_running_loop().call_soon(self._rest)

    def _rest(self) -> None:
        """End a turn. gRPC needs some turns of the loop for each call: all others get as much time as subscribers."""
        loop = asyncio.get_running_loop()
        if self.spent < LEAST_REST:
            loop.call_soon(self._wake_some)
        else:
            loop.call_later(self.spent, self._wake_some)
