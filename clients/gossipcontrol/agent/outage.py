"""What a node does while its host has no way out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

GRACE = 3.0
"""Seconds without a way out before a node is suspended: longer than a flap, shorter than a transport's idle timeout."""
PATIENCE = 5.0
"""Seconds after the way out is back for which a suspended node waits for the service's rejoin."""


class Suspendable(Protocol):
    """A node that can leave its overlay for a while."""

    async def suspend(self) -> None:
        """Leave every topic: nobody can be reached, and dialling in vain does harm."""
        ...

    async def resume(self) -> None:
        """Join every topic again; nothing happens when it is not suspended."""
        ...


class Outage:
    """Suspends a node when an outage lasts. A rejoin ends that; should none come, the node resumes alone."""

    def __init__(self, node: Suspendable, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._node = node
        self._sleep = sleep
        self._next: asyncio.Task[None] | None = None

    def lost(self) -> None:
        """The host has no way out any more."""
        self._after(GRACE, self._node.suspend)

    def back(self) -> None:
        """The host has a way out, the same or another."""
        self._after(PATIENCE, self._node.resume)

    def close(self) -> None:
        """Forget what was about to be done."""
        if self._next is not None:
            self._next.cancel()

    def _after(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        self.close()
        self._next = asyncio.create_task(self._act(seconds, act))

    async def _act(self, seconds: float, act: Callable[[], Awaitable[None]]) -> None:
        await self._sleep(seconds)
        await act()
