"""Where the system reports no changes: check every few seconds from which address packets would leave."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable

from gossipcontrol.watch.change import Address, Link, Route, Snapshot

INTERVAL = 5.0
"""Seconds between two snapshots."""
# Documentation addresses: connecting a UDP socket sends nothing, it only picks the route.
PROBES = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


class PollingSource:
    """Works on every system. It sees neither a short flap nor which interface it was."""

    name = "polling"

    def __init__(self, interval: float = INTERVAL, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._interval = interval
        self._sleep = sleep

    async def watch(self) -> AsyncGenerator[Snapshot, None]:
        """The state now, then one per interval."""
        while True:
            yield take_snapshot()
            await self._sleep(self._interval)


def take_snapshot() -> Snapshot:
    """The default route of each family, as one interface each."""
    links: list[Link] = []
    addresses: list[Address] = []
    routes: list[Route] = []
    for index, (family, probe) in enumerate(PROBES):
        source = _source_address(family, probe)
        if source:
            links.append(Link(index, f"out{index}", True))
            addresses.append(Address(index, source, 32 if family == socket.AF_INET else 64, True))
            routes.append(Route(index, family, ""))
    return Snapshot(tuple(links), tuple(addresses), tuple(routes))


def _source_address(family: int, probe: str) -> str | None:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as out:
            out.connect((probe, 9))
            return str(out.getsockname()[0])
    except OSError:
        return None
