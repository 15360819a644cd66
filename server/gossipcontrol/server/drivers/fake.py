"""Carries out nothing, and answers as it is told: for tests."""

from __future__ import annotations

import asyncio

from gossipcontrol.server.core.effect import StartRejoin
from gossipcontrol.server.drivers.driver import Result


class FakeDriver:
    """Records what it was asked to do; ``results`` are given in turn, then success. None never answers."""

    def __init__(self, *results: Result | None) -> None:
        self.started: list[StartRejoin] = []
        self._results = list(results)

    async def rejoin(self, start: StartRejoin) -> Result:
        """Answer with the next result."""
        self.started.append(start)
        result = self._results.pop(0) if self._results else Result(True)
        if result is None:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")
        return result
