"""The agent driver: sends commands on the streams of attached agents."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gossipcontrol.server.core.effect import AdviseRestart, StartRejoin
from gossipcontrol.server.core.finding import SyncWanted
from gossipcontrol.server.drivers.driver import DISCONNECTED, AttachedSessions, Result
from gossipcontrol.server.wire.encode import rejoin_command, restart_advice
from gossipcontrol.server.wire.encode_presence import sync_command


class AgentDriver(AttachedSessions):
    """Sends each command on the node's stream and waits for the result that arrives on it."""

    def __init__(self) -> None:
        super().__init__()
        self._attempts: dict[tuple[str, str, int], asyncio.Future[Result]] = {}
        """Attempts that wait for a result, by node, rejoin and number."""

    async def rejoin(self, start: StartRejoin) -> Result:
        """Carry out one attempt; the caller cancels it after ``start.timeout`` seconds."""
        session = self.started_for(start)
        if session is None:
            return DISCONNECTED
        key = (start.node_id, start.rejoin_id, start.attempt)
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._attempts[key] = result
        try:
            session.commands.add(start.store_id, (start.rejoin_id, start.attempt))
            session.send(rejoin_command(start))
            return await result
        finally:
            del self._attempts[key]

    def finish(self, node_id: str, rejoin_id: str, attempt: int, result: Result) -> None:
        """Pass on a node's result; ignored when no attempt of this node waits for it."""
        waiting = self._attempts.get((node_id, rejoin_id, attempt))
        if waiting is not None and not waiting.done():
            waiting.set_result(result)

    def advise(self, advice: AdviseRestart) -> bool:
        """Tell the node's agent, which ignores it if it is older; not over a stream that came later."""
        session = self.session(advice.node_id)
        return session is not None and session.session_id == advice.session_id and session.offer(restart_advice(advice))

    def sync(self, wanted: SyncWanted, addresses: Sequence[str]) -> bool:
        """Ask a node to sync with a peer; not sent while its agent is behind, for it will be wanted again."""
        session = self.able_to_sync(wanted.node_id)
        return session is not None and session.offer(sync_command(wanted, addresses))
