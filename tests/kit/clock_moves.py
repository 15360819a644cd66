"""Waiting for the host's clock: that of Windows stands still for 16 ms, and what comes in one moment has no order."""

from __future__ import annotations

from gossipcontrol.system.boot import boottime

from tests.kit.until import until


async def clock_moves() -> None:
    """Wait until the clock moves: a sign of life in the moment in which a rejoin started proves nothing."""
    at = boottime()
    await until(lambda: boottime() > at, "the clock moves")
