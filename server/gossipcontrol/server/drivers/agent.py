"""Carries out rejoins through the streams of attached agents."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gossipcontrol.server.core.effect import StartRejoin
from gossipcontrol.server.core.finding import SyncWanted
from gossipcontrol.server.drivers.driver import Result
from gossipcontrol.server.rpc.session import Session
from gossipcontrol.server.wire.encode import rejoin_command
from gossipcontrol.server.wire.encode_presence import sync_message
from gossipcontrol.v1.attach_pb2 import AttachResponse


class AgentDriver:
    """Sends the command on the node's stream, and waits for the result that the stream brings."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._awaited: dict[tuple[str, str, int], asyncio.Future[Result]] = {}

    def attach(self, session: Session) -> Session | None:
        """Use this session for its node from now on; returns the one that it replaces."""
        replaced = self._sessions.get(session.node_id)
        self._sessions[session.node_id] = session
        return replaced if replaced is not session else None

    def detach(self, session: Session) -> None:
        """Use this session no more."""
        if self._sessions.get(session.node_id) is session:
            del self._sessions[session.node_id]

    def sessions(self) -> list[Session]:
        """Every stream that is attached."""
        return list(self._sessions.values())

    def ask(self, node_id: str, frame: AttachResponse) -> bool:
        """Send a node what may be dropped: it is, when its agent is behind or gone; returns whether it was sent."""
        session = self._sessions.get(node_id)
        return session is not None and session.offer(frame)

    def sync(self, wanted: SyncWanted, addresses: Sequence[str]) -> bool:
        """Ask a node to sync with a peer; it may be dropped, for it will be wanted again."""
        return self.ask(wanted.node_id, AttachResponse(sync=sync_message(wanted, addresses)))

    def finish(self, node_id: str, rejoin_id: str, attempt: int, result: Result) -> None:
        """A node's result; of no interest when nobody waits for it any more, or it is another node's rejoin."""
        awaited = self._awaited.get((node_id, rejoin_id, attempt))
        if awaited is not None and not awaited.done():
            awaited.set_result(result)

    async def rejoin(self, start: StartRejoin) -> Result:
        """Carry out one attempt; it is cancelled after ``start.timeout`` seconds."""
        session = self._sessions.get(start.node_id)
        if session is None or session.session_id != start.session_id:
            return Result(False, "the agent's stream ended before the command was sent")
        key = (start.node_id, start.rejoin_id, start.attempt)
        awaited: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._awaited[key] = awaited
        try:
            session.send(rejoin_command(start))
            return await awaited
        finally:
            del self._awaited[key]
