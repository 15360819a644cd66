"""One attached stream: what is to be sent on it, and why it must end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gossipcontrol.server.core.decision import Capability
from gossipcontrol.server.errors import Overloaded
from gossipcontrol.v1.attach_pb2 import AttachResponse

BACKLOG = 1024
"""Most frames that wait for an agent that reads slowly."""
BACKLOG_OFFERED = 64
"""Beyond so many waiting frames, those that may be dropped are."""
BACKLOG_BYTES = 8 * 1024 * 1024
"""Most bytes of them; views of large stores are large."""


class Session:
    """Frames for one agent, in order and bounded."""

    def __init__(self, node_id: str, session_id: str, capabilities: frozenset[Capability] = frozenset()) -> None:
        self.node_id = node_id
        self.session_id = session_id
        self.capabilities = capabilities
        """As of the newest registration on this stream."""
        self.left = False
        """Whether the agent said goodbye."""
        self._frames: asyncio.Queue[AttachResponse | Exception | None] = asyncio.Queue()
        self._bytes = 0
        self._closed = False
        self._greeted = False
        """Whether anything was sent: the answer to the registration comes first."""
        self._broken: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    def send(self, frame: AttachResponse) -> None:
        """Queue a frame; an agent that lets too many wait loses its stream."""
        if self._closed:
            return
        self._greeted = True
        size = frame.ByteSize()
        waiting = self._frames.qsize()
        if waiting >= BACKLOG or (waiting and self._bytes + size > BACKLOG_BYTES):
            self._closed = True
            self._broken.set_result(Overloaded(f"the agent left {waiting} frames unread", 1.0))
        else:
            self._bytes += size
            self._frames.put_nowait(frame)

    def offer(self, frame: AttachResponse) -> bool:
        """Queue a frame that may be dropped, unless the agent is behind or not greeted yet; whether it was."""
        fits = self._greeted and self._frames.qsize() < BACKLOG_OFFERED
        if fits:
            self.send(frame)
        return fits

    def close(self, error: Exception | None = None) -> None:
        """End the stream, with an error or well, once what is queued has been sent."""
        if not self._closed:
            self._closed = True
            self._frames.put_nowait(error)

    async def deliver(self, write: Callable[[AttachResponse], Awaitable[None]]) -> None:
        """Write the frames as they come until the session is closed; raises the error that it was closed with.

        A write to an agent that reads no more may never end: the frame that was one too many breaks it off.
        """
        writing = asyncio.ensure_future(self._write(write))
        try:
            await asyncio.wait((writing, self._broken), return_when=asyncio.FIRST_COMPLETED)
            if self._broken.done():
                raise self._broken.result()
            await writing
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _write(self, write: Callable[[AttachResponse], Awaitable[None]]) -> None:
        while (frame := await self._frames.get()) is not None:
            if isinstance(frame, Exception):
                raise frame
            self._bytes -= frame.ByteSize()
            await write(frame)
