"""The HTTP listener: its socket, its connections, and how it stops."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from typing import cast

from gossipcontrol.server.connect_rpc.application import Application
from gossipcontrol.server.connect_rpc.connection import HEADER_BYTES, IDLE_TIME, Connection
from gossipcontrol.server.errors import StartError
from gossipcontrol.server.rpc.listener import describe_error
from uvicorn import Config
from uvicorn.server import ServerState

BACKLOG = 128
HANDSHAKE_TIME = 10.0
"""Seconds that a handshake of TLS may take."""


class ConnectListener:
    """Serves an application in the running event loop."""

    def __init__(self, application: Application) -> None:
        # The service has a log of its own, and what a client does wrong is no line in it.
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL + 1)
        self._config = Config(
            cast("object", application),  # type: ignore[arg-type] # it takes an ASGI application
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            interface="asgi3",
            timeout_keep_alive=int(IDLE_TIME),
            h11_max_incomplete_event_size=HEADER_BYTES,
        )
        self._config.load()
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def count(self) -> int:
        """Number of connections."""
        return len(self._state.connections)

    async def start(self, key: str, address: str, context: ssl.SSLContext | None = None) -> None:
        """Listen on ``host:port`` of this key of the configuration, with TLS where there is a context.

        Raises StartError with the cause.
        """
        host, _, port = address.rpartition(":")
        try:
            family, _, _, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
            taken = socket.socket(family, socket.SOCK_STREAM)
            try:
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                taken.bind((str(where[0]), int(where[1])))
            except OSError:
                taken.close()
                raise
        except OSError as error:
            raise StartError(f"{key} {address}: {describe_error(error, int(port))}") from error
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._connection, sock=taken, backlog=BACKLOG, ssl=context,
            ssl_handshake_timeout=HANDSHAKE_TIME if context else None,
        )  # fmt: skip
        self.port = int(self._server.sockets[0].getsockname()[1])

    def _connection(self) -> Connection:
        return Connection(self._config, self._state, {})

    async def stop(self, drain: float) -> None:
        """Take no more connections, give calls under way the drain time, and end the others."""
        if self._server is None:
            return
        self._server.close()
        for connection in tuple(self._state.connections):
            connection.shutdown()
        if self._state.tasks:
            _, late = await asyncio.wait(tuple(self._state.tasks), timeout=drain)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        for connection in tuple(self._state.connections):
            cast("Connection", connection).end()
        await self._server.wait_closed()
