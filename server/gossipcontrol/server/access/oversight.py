"""Ends streams whose caller may call no more: its token or certificate is over, revoked, or left out of the table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from gossipcontrol.server.access import gate
from gossipcontrol.server.access.caller import Authenticate
from gossipcontrol.server.access.gate import Caller
from gossipcontrol.server.access.identity import LOCAL
from gossipcontrol.server.errors import Unauthenticated

LOOK_INTERVAL = 1.0
"""Most seconds between a change of the table or the revocation list and the end of a stream."""
LEAST_INTERVAL = 0.02
BATCH = 256
"""Streams that are looked at in one pass of the event loop."""


class _Stream:
    """One stream under way."""

    def __init__(self, caller: Caller, deadline: asyncio.Timeout) -> None:
        self.caller = caller
        self._deadline = deadline
        self.error: Unauthenticated | None = None

    def look(self) -> None:
        """End it if its caller may call no more."""
        try:
            _ = self.caller.identity
        except Unauthenticated as error:
            self.error = error
            self._deadline.reschedule(asyncio.get_running_loop().time())


class Oversight:
    """Looks at the streams of one listener, of which ``authenticate`` tells the callers. Runs in one event loop."""

    def __init__(self, authenticate: Authenticate) -> None:
        self._authenticate = authenticate
        self._streams: dict[_Stream, None] = {}
        self._state: object = None
        self._soonest: datetime | None = None
        """When the next token or certificate of a stream is over."""
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def over(self, caller: Caller) -> AsyncGenerator[None]:
        """Ends what runs in this context when its caller may call no more; raises then Unauthenticated."""
        if caller.identity is LOCAL:
            yield
            return
        deadline = asyncio.timeout(None)
        stream = _Stream(caller, deadline)
        try:
            async with deadline:
                self._add(stream)
                try:
                    yield
                finally:
                    self._remove(stream)
        except TimeoutError:
            if stream.error is not None and deadline.expired():
                raise stream.error from None
            raise

    def _add(self, stream: _Stream) -> None:
        if not self._streams:
            self._state = self._authenticate.state()
            self._soonest = None
        self._streams[stream] = None
        until = stream.caller.until
        if until is not None and (self._soonest is None or until < self._soonest):
            self._soonest = until
            self._arm()
        elif self._timer is None:
            self._arm()

    def _remove(self, stream: _Stream) -> None:
        del self._streams[stream]
        if not self._streams and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        left = LOOK_INTERVAL if self._soonest is None else (self._soonest - gate.now()).total_seconds()
        delay = max(LEAST_INTERVAL, min(LOOK_INTERVAL, left))
        self._timer = asyncio.get_running_loop().call_later(delay, self._look)

    def _look(self) -> None:
        self._timer = None
        state = self._authenticate.state()
        if state != self._state or (self._soonest is not None and self._soonest <= gate.now()):
            self._state, self._soonest = state, None
            self._look_at(list(self._streams))
        self._arm()

    def _look_at(self, streams: Sequence[_Stream]) -> None:
        """Look at the first ``BATCH`` now, and at the others in later passes of the event loop."""
        if len(streams) > BATCH:
            asyncio.get_running_loop().call_soon(self._look_at, streams[BATCH:])
        for stream in streams[:BATCH]:
            if stream in self._streams:
                stream.look()
                until = stream.caller.until
                if stream.error is None and until is not None and (self._soonest is None or until < self._soonest):
                    self._soonest = until
