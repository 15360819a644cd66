"""A server of asyncio in a test that leaves no connection behind when the test ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from tests.kit.address import start_local_server

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

ACCEPTING = 3
"""Turns of the loop from a connection that was accepted to the start of its task."""


class LocalServer:
    """Serves each connection by a task; the end of the context ends the tasks and closes the connections.

    A client such as gRPC connects again whenever it likes, so also while a test ends. A connection that is left open
    then is a ResourceWarning in whatever test the garbage collector runs in next.
    """

    def __init__(self, serve: Serve, path: Path | None = None) -> None:
        self._serve, self._path = serve, path
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> LocalServer:
        if self._path is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        else:
            self._server = await start_local_server(self._connected, self._path)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for _ in range(ACCEPTING):
            await asyncio.sleep(0)
        self.cut()
        for writer in self._connections.values():
            writer.transport.abort()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def address(self) -> str:
        """Its ``host:port``, where it listens on TCP."""
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """End every connection."""
        for task in self._connections:
            task.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            del self._connections[task]
