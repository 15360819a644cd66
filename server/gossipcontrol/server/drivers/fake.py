"""The fake driver: records commands and answers with prepared results, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gossipcontrol.server.core.effect import StartRejoin
from gossipcontrol.server.core.finding import SyncWanted
from gossipcontrol.server.drivers.driver import DISCONNECTED, AttachedSessions, Result


class FakeDriver(AttachedSessions):
    """Answers with each of ``results`` in turn, then with success; None: the attempt waits for ``finish``."""

    def __init__(self, *results: Result | None) -> None:
        super().__init__()
        self.started: list[StartRejoin] = []
        self.synced: list[SyncWanted] = []
        self._results = list(results)
        self._waiting: dict[tuple[str, str, int], asyncio.Future[Result]] = {}

    async def rejoin(self, start: StartRejoin) -> Result:
        """Record the attempt and answer with the next result."""
        if self.started_for(start) is None:
            return DISCONNECTED
        self.started.append(start)
        result = self._results.pop(0) if self._results else Result(True)
        if result is not None:
            return result
        waiting = self._waiting[start.node_id, start.rejoin_id, start.attempt] = asyncio.Future[Result]()
        return await waiting

    def finish(self, node_id: str, rejoin_id: str, attempt: int, result: Result) -> None:
        """End an attempt that waits."""
        waiting = self._waiting.pop((node_id, rejoin_id, attempt), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(result)

    def sync(self, wanted: SyncWanted, addresses: Sequence[str]) -> bool:
        """Record the request."""
        del addresses
        able = self.able_to_sync(wanted.node_id) is not None
        if able:
            self.synced.append(wanted)
        return able
