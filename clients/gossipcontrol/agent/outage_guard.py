"""What a node does while its host has no way out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from gossipcontrol.client.clock import boottime
from gossipcontrol.watch.change import Change, ChangeKind

GRACE = 3.0
"""Seconds without a way out before a node is suspended: longer than a flap, shorter than a transport's idle timeout."""
PATIENCE = 5.0
"""Seconds after the way out is back for which a suspended node waits for the service's rejoin."""


class Suspendable(Protocol):
    """A node that can leave its overlay for a while."""

    async def suspend(self) -> None:
        """Leave every topic, if it has not yet: nobody can be reached, and dialling in vain does harm."""
        ...

    async def resume(self) -> None:
        """Join every topic again; nothing happens when it is not suspended."""
        ...


class OutageGuard:
    """Suspends a node when an outage lasts. A rejoin ends that; should none come, the node resumes alone.

    A rejoin that comes while there is no way out, as when the host wakes without a network, ends it for moments only.
    """

    def __init__(self, node: Suspendable, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._node = node
        self._sleep = sleep
        self._lost_at = float("-inf")
        self._next: asyncio.Task[None] | None = None

    def lost(self) -> None:
        """The host has no way out any more."""
        self._lost_at = boottime()
        self._begin(self._keep_suspended())

    def observe(self, change: Change) -> None:
        """Take a change of the host; only one of its network, seen since the loss, says that it has a way out."""
        if change.kind is ChangeKind.CHANGED and change.seen_at >= self._lost_at:
            self._begin(self._resume())

    def close(self) -> None:
        """Forget what was about to be done."""
        if self._next is not None:
            self._next.cancel()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self.close()
        self._next = asyncio.create_task(work)

    async def _keep_suspended(self) -> None:
        while True:
            await self._sleep(GRACE)
            await self._node.suspend()

    async def _resume(self) -> None:
        await self._sleep(PATIENCE)
        await self._node.resume()
