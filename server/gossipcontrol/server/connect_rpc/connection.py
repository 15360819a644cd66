"""A connection of the HTTP listener: bounded in headers, in time, and in number."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from gossipcontrol.server.descriptors import HTTP_CONNECTIONS
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_BYTES = 16 * 1024
"""Most bytes of a request's line and headers."""
END = "end"
"""Name under which a request's state has what ends its connection at once."""
IDLE_TIME = 10.0
"""Seconds for which a connection may have no request under way: before its first, and between two."""


class Connection(H11Protocol):
    """One connection; ``self.connections`` has all that are open."""

    idle_since = 0.0
    """When its last request ended."""
    _first: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no request is under way."""
        cycle: Any = self.cycle
        return cycle is None or cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, if there is room or an idle one to end."""
        if len(self.connections) >= HTTP_CONNECTIONS and not self._make_room():
            transport.abort()
            return
        super().connection_made(transport)
        self.app_state = {END: self.end}
        self.idle_since = self.loop.time()
        self._first = self.loop.call_later(IDLE_TIME, self._end_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection, and what refers to it again: else only the collector would find them."""
        if self._first is not None:
            self._first.cancel()
        if cast("asyncio.Transport | None", self.transport) is not None:
            super().connection_lost(exc)
        self.cycle = self.scope = None  # type: ignore[assignment]
        self.app_state = {}

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if not self.transport.is_closing():
            super().data_received(data)

    def on_response_complete(self) -> None:
        """Begin to wait for the next request; each has the same time to come."""
        self.idle_since = self.loop.time()
        super().on_response_complete()
        if self._first is not None:
            self._first.cancel()
        self._first = self.loop.call_later(IDLE_TIME, self._end_if_idle)

    def end(self) -> None:
        """End the connection at once."""
        self.transport.abort()

    def _end_if_idle(self) -> None:
        if self.is_idle:
            self.end()

    def _make_room(self) -> bool:
        """End the connection that has been idle for longest; False: every one has a request under way."""
        idle = [one for one in self._open() if one.is_idle]
        if not idle:
            return False
        oldest = min(idle, key=lambda one: one.idle_since)
        self.connections.discard(oldest)
        oldest.end()
        return True

    def _open(self) -> set[Connection]:
        return cast("set[Connection]", self.connections)
