"""Suspends a node while no peer of it can be reached at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

GRACE = 3.0
"""Seconds without a network before a node is suspended: longer than a flap, shorter than a QUIC idle timeout."""


class Suspendable(Protocol):
    """A node that can leave its overlay for a while."""

    async def suspend(self) -> None:
        """Leave every topic, if it has not yet: no peer can be reached, and failed dials do harm."""
        ...

    async def resume(self) -> None:
        """Join every topic again; does nothing when it is not suspended."""
        ...


class OutageGuard:
    """Suspends a node when an outage lasts, and resumes it at once when it ends.

    The service's rejoin, which names peers, comes about half a second later and adds to that; a node that waited for
    it would miss messages that a node without an agent hears.

    An outage is what the watcher calls one: no interface has a carrier and an address. A lost default route is none,
    for peers in the same network are still reached. A rejoin during an outage, as when the host wakes without a
    network, resumes the node for moments only.
    """

    def __init__(self, node: Suspendable, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._node = node
        self._sleep = sleep
        self._next: asyncio.Task[None] | None = None

    def lost(self) -> None:
        """No peer can be reached any more."""
        self._plan(self._keep_suspended())

    def back(self) -> None:
        """Peers may be reached again: whoever sees the first sign of it says so."""
        self._plan(self._node.resume())

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
