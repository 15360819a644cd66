"""Joins of a Serf agent, one at a time: it serves one at a time whatever it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from gossipcontrol.agent.daemon import DaemonGoneError
from gossipcontrol.serf.connection import Connection, RefusedError, SerfGoneError
from gossipcontrol.serf.wire import number, text

JOIN_TIME = 25.0
"""Seconds that a join of two addresses may take: 10 for each behind which nothing answers."""


class Joining:
    """A connection of its own, opened when it is needed.

    A join goes on when nobody waits for it any more, because Serf carries it out all the same; the next one waits.
    """

    def __init__(self, connect: Callable[[], Awaitable[Connection]]) -> None:
        self._connect = connect
        self._connection: Connection | None = None
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[tuple[int, str]] | None = None

    async def join(self, addresses: Sequence[str]) -> tuple[int, str]:
        """How many of these were joined, and what Serf says of the others; raises DaemonGoneError."""
        async with self._turn:
            if self._task is not None:
                await asyncio.wait([self._task])
            self._task = asyncio.create_task(self._join(addresses))
            return await asyncio.shield(self._task)

    async def close(self) -> None:
        """Close the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._connection is not None:
            await self._connection.wait_closed()

    async def _join(self, addresses: Sequence[str]) -> tuple[int, str]:
        if self._connection is None or not self._connection.is_open:
            self._connection = await self._connect()
        try:
            body = {"Existing": list(addresses), "Replay": False}
            answer = await self._connection.call("join", body, within=JOIN_TIME)
        except (SerfGoneError, RefusedError) as error:
            raise DaemonGoneError(str(error)) from error
        return number(answer.get(b"Num")), " ".join(text(answer.get(b"Error")).split())
