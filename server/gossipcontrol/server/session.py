"""One attached stream: what is to be sent on it, and why it must end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from gossipcontrol.server.errors import GossipControlError, Overloaded
from gossipcontrol.v1.attach_pb2 import AttachResponse

BACKLOG = 1024
"""Most frames that wait for an agent that reads slowly."""


class Session:
    """Frames for one agent, in order and bounded."""

    def __init__(self, node_id: str, session_id: str) -> None:
        self.node_id = node_id
        self.session_id = session_id
        self._frames: asyncio.Queue[AttachResponse | GossipControlError | None] = asyncio.Queue()
        self._closed = False

    def send(self, frame: AttachResponse) -> None:
        """Queue a frame; an agent that lets too many wait loses its stream."""
        if self._closed:
            return
        if self._frames.qsize() >= BACKLOG:
            self.close(Overloaded(f"the agent left {BACKLOG} frames unread", 1.0))
        else:
            self._frames.put_nowait(frame)

    def close(self, error: GossipControlError | None = None) -> None:
        """End the stream, with an error or well, once what is queued has been sent."""
        if not self._closed:
            self._closed = True
            self._frames.put_nowait(error)

    async def frames(self) -> AsyncIterator[AttachResponse]:
        """The frames as they come; raises the error that the session was closed with."""
        while True:
            frame = await self._frames.get()
            if frame is None:
                return
            if isinstance(frame, GossipControlError):
                raise frame
            yield frame
