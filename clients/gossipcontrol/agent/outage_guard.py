"""Suspends a node while its host has no default route."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from gossipcontrol.client.clock import boottime
from gossipcontrol.watch.change import Change, ChangeKind

GRACE = 3.0
"""Seconds without a default route before a node is suspended: longer than a flap, shorter than a QUIC idle timeout."""
PATIENCE = 5.0
"""Seconds for which a suspended node waits for the service's rejoin once the default route is back."""


class Suspendable(Protocol):
    """A node that can leave its overlay for a while."""

    async def suspend(self) -> None:
        """Leave every topic, if it has not yet: no peer can be reached, and failed dials do harm."""
        ...

    async def resume(self) -> None:
        """Join every topic again; does nothing when it is not suspended."""
        ...


class OutageGuard:
    """Suspends a node when an outage lasts. A rejoin resumes it; if none comes, it resumes by itself.

    A rejoin while there is no default route, as when the host wakes without a network, resumes it for moments only.
    """

    def __init__(self, node: Suspendable, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._node = node
        self._sleep = sleep
        self._lost_at = float("-inf")
        self._next: asyncio.Task[None] | None = None

    def route_lost(self) -> None:
        """The host has no default route any more."""
        self._lost_at = boottime()
        self._plan(self._keep_suspended())

    def observe(self, change: Change) -> None:
        """Note a change of the host; only one of its network, seen since the loss, means that the route is back."""
        if change.kind is ChangeKind.CHANGED and change.seen_at >= self._lost_at:
            self._plan(self._resume())

    def close(self) -> None:
        """Cancel what is planned."""
        if self._next is not None:
            self._next.cancel()

    def _plan(self, work: Coroutine[Any, Any, None]) -> None:
        self.close()
        self._next = asyncio.create_task(work)

    async def _keep_suspended(self) -> None:
        while True:
            await self._sleep(GRACE)
            await self._node.suspend()

    async def _resume(self) -> None:
        await self._sleep(PATIENCE)
        await self._node.resume()
