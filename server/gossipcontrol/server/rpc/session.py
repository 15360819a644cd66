"""One attached stream: the frames that wait to be sent, and the error with which it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from gossipcontrol.server.core.decision import Capability
from gossipcontrol.server.errors import Overloaded
from gossipcontrol.server.rpc.command_log import CommandLog
from gossipcontrol.server.rpc.progress import READ_RETRY, WRITE_TIME, write_within
from gossipcontrol.server.rpc.report_shedder import ReportShedder
from gossipcontrol.server.runtime.turns import metered, wait_for_room
from gossipcontrol.v1.attach_pb2 import AttachResponse

BACKLOG_FRAMES = 1024
"""Most frames that wait for a slow agent."""
BACKLOG_BYTES = 8 * 1024 * 1024
"""Most bytes of waiting frames; the view of a large store takes more than 100 kB."""
GRACE = 0.5
"""Seconds that a message under way has when its stream is cut."""
OFFER_FRAMES = 64
"""Number of waiting frames from which on frames that may be dropped are dropped."""


class Run(NamedTuple):
    """One run of the service."""

    run_id: str
    """Ids of sessions begin with it."""
    cell: str = ""
    """Name of the state that it shares with other replicas; empty: there are none."""
    epoch: int = 0
    """As the owner of that state."""


class QueuedBytes:
    """The bytes of the frames that wait in all sessions."""

    def __init__(self) -> None:
        self.total = 0


class Session:
    """Frames for one agent, in order, in a bounded queue."""

    def __init__(
        self,
        node_id: str,
        session_id: str,
        capabilities: frozenset[Capability] = frozenset(),
        queued: QueuedBytes | None = None,
        epoch: int = 0,
    ) -> None:
        self.node_id = node_id
        self.session_id = session_id
        self.capabilities = capabilities
        """As of the newest registration on this stream."""
        self.left = False
        """Whether the agent said goodbye."""
        self.speaker = ""
        """The identity whose stream it is; empty where callers have none."""
        self.peer = ""
        """Where it comes from, as gRPC names it."""
        self.commands = CommandLog()
        self.reports = ReportShedder()
        self._frames: list[AttachResponse | Exception | None] = []
        """Not an ``asyncio.Queue``, which has four deques of 0.7 kB each, and no deque: mostly no frame waits."""
        self._waiter: asyncio.Future[None] | None = None
        """Of the writer, while no frame waits."""
        self._bytes = 0
        self._queued = queued or QueuedBytes()
        self._epoch = epoch
        """What every frame says of its sender; 0: nothing."""
        self._closed = False
        self._registered = False
        """Whether the first frame, the answer to the registration, was queued."""
        self._cut: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        """The error with which the stream ends at once, whatever is being written."""

    def send(self, frame: AttachResponse) -> None:
        """Queue a frame; a full queue ends the stream."""
        if self._closed:
            return
        self._registered = True
        if self._epoch:
            frame.owner_epoch = self._epoch
        size = frame.ByteSize()
        waiting = len(self._frames)
        if waiting >= BACKLOG_FRAMES or (waiting and self._bytes + size > BACKLOG_BYTES):
            self.cut(Overloaded(f"the agent left {waiting} frames unread", READ_RETRY))
        else:
            self._count(size)
            self._put(frame)

    def offer(self, frame: AttachResponse) -> bool:
        """Queue a frame unless many wait or the registration is not answered yet; returns whether it was queued."""
        fits = self._registered and len(self._frames) < OFFER_FRAMES
        if fits:
            self.send(frame)
        return fits

    def close(self, error: Exception | None = None) -> None:
        """End the stream after the queued frames, with OK or with an error."""
        if not self._closed:
            self._closed = True
            self._put(error)

    def cut(self, error: Exception) -> None:
        """End the stream at once: what is being written is cancelled, and the queued frames are dropped."""
        self._closed = True
        self._drop()
        self._put(None)
        if not self._cut.done():
            self._cut.set_result(error)

    async def deliver(self, write: Callable[[AttachResponse], Awaitable[None]]) -> None:
        """Write queued frames until the session is closed or cut; raises the error with which it was.

        A write to an agent that has stopped reading may never end, so it has a deadline, and a cut cancels it.
        """
        writing = asyncio.ensure_future(metered(self._write(write)))
        try:
            await asyncio.wait((writing, self._cut), return_when=asyncio.FIRST_COMPLETED)
            if self._cut.done():
                # gRPC sends no status while a first message, with its metadata, is half sent and cancelled.
                await asyncio.wait((writing,), timeout=GRACE)
                raise self._cut.result()
            await writing
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            self._closed = True
            self._drop()

    def _put(self, frame: AttachResponse | Exception | None) -> None:
        self._frames.append(frame)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _next(self) -> AttachResponse | Exception | None:
        while not self._frames:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._frames.pop(0)

    async def _write(self, write: Callable[[AttachResponse], Awaitable[None]]) -> None:
        while (frame := await self._next()) is not None:
            if isinstance(frame, Exception):
                raise frame
            await wait_for_room()
            self._count(-frame.ByteSize())
            await write_within(write, frame, WRITE_TIME)

    def _drop(self) -> None:
        """Forget the queued frames: the call may outlive them while its client does not read its end."""
        self._frames.clear()
        self._count(-self._bytes)

    def _count(self, change: int) -> None:
        self._bytes += change
        self._queued.total += change
