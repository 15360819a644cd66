"""From the thread of a request into the event loop and back, charged to the client's account."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from gossipcontrol.server.runtime.turns import Turns

ANSWER_TIME = 10.0
"""Seconds in which the event loop must answer."""

T = TypeVar("T")


class LoopSilent(Exception):
    """The event loop did not answer in time, or has ended."""


class Bridge:
    """Runs work of requests in one event loop. All requests of an address share an account there."""

    def __init__(self, loop: asyncio.AbstractEventLoop, turns: Turns) -> None:
        self.loop = loop
        self._turns = turns

    def ask(self, client: str, work: Callable[[], Awaitable[T]], within: float = ANSWER_TIME) -> T:
        """The result of work, which begins when it is this client's turn; raises LoopSilent."""
        return self.run(self.charged(client, work), within)

    async def charged(self, client: str, work: Callable[[], Awaitable[T]]) -> T:
        """The result of work in the event loop."""
        with self._turns.call(f"http:{client}") as call:
            return await call.run(work)

    def run(self, work: Coroutine[Any, Any, T], within: float = ANSWER_TIME) -> T:
        """The result of a coroutine that costs next to nothing; raises LoopSilent."""
        try:
            future = asyncio.run_coroutine_threadsafe(work, self.loop)
        except RuntimeError as error:  # the loop is closed
            work.close()
            raise LoopSilent("the service is stopping") from error
        try:
            return future.result(within)
        except CancelledError as error:
            raise LoopSilent("the service is stopping") from error
        except TimeoutError as error:
            if future.done():
                raise
            future.cancel()
            raise LoopSilent(f"the event loop did not answer within {within:g} s") from error
