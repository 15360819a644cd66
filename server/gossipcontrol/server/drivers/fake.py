"""Carries out nothing, and answers as it is told: for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gossipcontrol.server.core.effect import StartRejoin
from gossipcontrol.server.core.finding import SyncWanted
from gossipcontrol.server.drivers.driver import Result


class FakeDriver:
    """Records what it was asked to do; ``results`` are given in turn, then success. None never answers."""

    def __init__(self, *results: Result | None) -> None:
        self.started: list[StartRejoin] = []
        self.synced: list[SyncWanted] = []
        self._results = list(results)

    async def rejoin(self, start: StartRejoin) -> Result:
        """Answer with the next result."""
        self.started.append(start)
        result = self._results.pop(0) if self._results else Result(True)
        if result is None:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")
        return result

    def sync(self, wanted: SyncWanted, addresses: Sequence[str]) -> bool:
        """Record what it was asked to do."""
        del addresses
        self.synced.append(wanted)
        return True
