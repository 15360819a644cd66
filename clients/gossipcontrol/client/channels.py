"""The channels of an asynchronous client: one to each server that it asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
from gossipcontrol.client.channel import open_channel_to
from gossipcontrol.client.credentials import Credentials
from gossipcontrol.client.lookup import look_up
from gossipcontrol.client.servers import Search, Server, Servers


@dataclass(slots=True)
class _Open:
    channel: grpc.aio.Channel
    users: int = 0


class Channels:
    """Opens a channel at its first use, and closes those that nobody uses once another server is asked."""

    def __init__(self, servers: Servers, credentials: Credentials | None) -> None:
        self._servers = servers
        self._credentials = credentials
        self._open: dict[Server, _Open] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def current(self) -> grpc.aio.Channel:
        """The channel to the server to ask now; it is closed when another one is asked."""
        return self._opened(self._servers.current).channel

    @asynccontextmanager
    async def to(self, search: Search) -> AsyncGenerator[grpc.aio.Channel]:
        """The channel to the server to ask now, in the running loop; raises RuntimeError after ``close``."""
        if self._servers.unknown is not None:
            await look_up(self._servers)
        server = search.server()
        opened = self._opened(server)
        opened.users += 1
        if len(self._open) > 1:
            await self._close_idle(server)
        try:
            yield opened.channel
        finally:
            opened.users -= 1

    async def _close_idle(self, current: Server) -> None:
        idle = [one for one, opened in self._open.items() if not opened.users and one != current]
        for channel in [self._open.pop(one).channel for one in idle]:
            await channel.close()

    def _opened(self, server: Server) -> _Open:
        if self._closed:
            raise RuntimeError("the client is closed")
        loop = asyncio.get_running_loop()
        # A channel belongs to one loop; after the end of that loop it is of no use.
        if self._loop is None or self._loop.is_closed():
            self._open, self._loop = {}, loop
        elif self._loop is not loop:
            raise RuntimeError("the client is used in another event loop that still runs")
        if server not in self._open:
            self._open[server] = _Open(open_channel_to(server, self._credentials))
        return self._open[server]

    async def close(self) -> None:
        """Close the channels; calls under way are cancelled."""
        self._closed = True
        opened, self._open = list(self._open.values()), {}
        for one in opened:
            await one.channel.close()
