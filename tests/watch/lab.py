"""Debouncing replayed, and a watcher's source inside a namespace."""

from __future__ import annotations

import asyncio
import ctypes
import math
import os
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress

from gossipcontrol.watch.change import Snapshot
from gossipcontrol.watch.debounce import Debounce, Report
from gossipcontrol.watch.fingerprint import Fingerprint, take_fingerprint
from gossipcontrol.watch.linux import RtnetlinkSource
from gossipcontrol.watch.scope import Filter
from gossipcontrol.watch.source import Peers, no_peers

from tests.kit.network import Host

QUIET, LONGEST = 0.25, 2.0
PATIENCE = 40
"""So many times longer is waited for the rest of a real change: on a busy machine its parts come seconds apart."""
CLONE_NEWNET = 0x40000000
LIMIT = 30.0
"""Seconds after which what should be there will not come."""

Seen = tuple[float, Fingerprint]
Told = tuple[float, Report]


def replay(first: Fingerprint, seen: Sequence[Seen], patience: int = 1) -> list[Told]:
    """What is told, and when, of what was seen; deadlines are served exactly, and all of them in the end."""
    debounce = Debounce(first, quiet=QUIET * patience, longest=LONGEST * patience)
    told: list[Told] = []
    for at, current in [*seen, (math.inf, None)]:
        while (deadline := debounce.next_deadline()) is not None and deadline < at:
            said = debounce.expire(deadline)
            told += [(deadline, said)] if said else []
        said = debounce.observe(current, at) if current is not None else None
        told += [(at, said)] if said else []
    return told


@contextmanager
def inside(host: Host) -> Generator[None]:
    """Sockets that are made meanwhile belong to the host's namespace, and stay in it."""
    libc = ctypes.CDLL(None, use_errno=True)
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    other = os.open(f"/run/netns/{host.namespace}", os.O_RDONLY)
    try:
        assert libc.setns(other, CLONE_NEWNET) == 0
        yield
    finally:
        assert libc.setns(own, CLONE_NEWNET) == 0
        os.close(own)
        os.close(other)


class Sight:
    """All that a source saw of a host."""

    def __init__(self, host: Host, first: Snapshot, chosen: Filter) -> None:
        self.host = host
        self.snapshots = [first]
        self.first = take_fingerprint(first, chosen)
        self.seen: list[Seen] = []
        self._chosen = chosen
        self._news = asyncio.Condition()
        self._ends = 0

    async def collect(self, states: AsyncGenerator[Snapshot, None]) -> None:
        async for snapshot in states:
            async with self._news:
                self.snapshots.append(snapshot)
                self.seen.append((time.monotonic(), take_fingerprint(snapshot, self._chosen)))
                self._news.notify_all()

    async def until(self, condition: Callable[[Snapshot], bool]) -> None:
        """Wait for a state of the network."""
        async with asyncio.timeout(LIMIT), self._news:
            await self._news.wait_for(lambda: condition(self.snapshots[-1]))

    async def told(self) -> list[Told]:
        """What is told of all that happened until now: a link that does not count marks the end."""
        self._ends += 1
        end = f"veth-end{self._ends}"
        await self.host.run("ip", "link", "add", end, "type", "bridge")
        await self.until(lambda snapshot: any(link.name == end for link in snapshot.links))
        return replay(self.first, self.seen, PATIENCE)


@asynccontextmanager
async def sight_of(host: Host, chosen: Filter | None = None, peers: Peers = no_peers) -> AsyncGenerator[Sight]:
    """See a host through the real rtnetlink."""
    states = RtnetlinkSource(chosen, peers).watch()
    with inside(host):
        first = await anext(states)
    sight = Sight(host, first, chosen or Filter.default())
    collector = asyncio.create_task(sight.collect(states))
    try:
        yield sight
    finally:
        collector.cancel()
        with suppress(asyncio.CancelledError):
            await collector
        await states.aclose()
