"""How long it takes to know that a neighbour died without a word: GossipControl, iroh-gossip's own events, and Serf.

Four nodes each; one of them falls silent, in three ways: its packets out are dropped, those in both directions are, or
its process is frozen. None of it is a link event on any other host. A time ends when *every* other node knows: for
GossipControl, whose view they share, when the service tells whoever watches the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from math import inf
from pathlib import Path

from gossipcontrol.client import Client, PeerState

from bench.report import Figure, rounds_on_hosts, show
from tests.kit import serf
from tests.kit.cluster import STORE
from tests.kit.fleet import Fleet
from tests.kit.network import Host, Network
from tests.kit.process import Process

NODES = 4
START_TIME = 60.0
WATCHED_FOR = 120.0
"""Seconds after which nobody is thought to find out any more."""
KNOWN = (20.0, 120.0)
"""Seconds for which all is well before the silence: the longer a rhythm is known, the shorter the patience."""
Silence = Callable[[Host, Process], Awaitable[None]]


async def _outbound(host: Host, process: Process) -> None:
    del process
    await host.drop("OUTPUT")


async def _both(host: Host, process: Process) -> None:
    del process
    await host.drop("INPUT", "OUTPUT")


async def _frozen(host: Host, process: Process) -> None:
    del host
    process.freeze()


SILENCES: dict[str, Silence] = {
    "packets out dropped": _outbound,
    "packets in and out dropped": _both,
    "process frozen": _frozen,
}


@dataclass(frozen=True, slots=True)
class Found:
    """Seconds until it was known; infinite: not while it was watched."""

    suspected: float
    offline: float
    neighbor_down: float
    turned: int
    """Healthy peers that were taken for dead at any time."""


async def with_gossipcontrol(silence: Silence, settled: float, watched_for: float) -> Found:
    """Four iroh-gossip nodes; the one that falls silent has no agent, so that only what others hear tells of it."""
    with tempfile.TemporaryDirectory(prefix="gossipcontrol-") as directory:
        async with Fleet(Path(directory), near=NODES, bare=(NODES - 1,)) as fleet, Client(fleet.address) as client:
            await asyncio.sleep(settled)
            victim = fleet.ids[-1]
            watching = asyncio.create_task(_watch(client, victim, watched_for))
            since = time.time()
            await silence(fleet.hosts[-1], fleet.nodes[-1])
            downs = await asyncio.gather(*(_down(node, victim, since, watched_for) for node in fleet.nodes[:-1]))
            found, turned = await watching
            fleet.nodes[-1].thaw()
            suspected, offline = (found.get(state, inf) - since for state in (PeerState.SUSPECT, PeerState.OFFLINE))
            return Found(suspected, offline, max(downs), turned)


async def _watch(client: Client, victim: str, watched_for: float) -> tuple[dict[PeerState, float], int]:
    """When the victim reached each state first, and how many others ever left ONLINE after they were."""
    found: dict[PeerState, float] = {}
    online: set[str] = set()
    turned: set[str] = set()
    with contextlib.suppress(TimeoutError):  # what was found until then is the answer
        async with asyncio.timeout(watched_for):
            async for change in client.watch_peers(STORE):
                for peer in change.view.peers:
                    if peer.peer_id == victim:
                        found.setdefault(peer.state, time.time())
                    elif peer.state == PeerState.ONLINE:
                        online.add(peer.peer_id)
                    elif peer.peer_id in online:
                        turned.add(peer.peer_id)
                if PeerState.OFFLINE in found:
                    break
    return found, len(turned)


async def _down(node: Process, victim: str, since: float, watched_for: float) -> float:
    if not any(said["peer"] == victim for said in node.all("up")):
        return 0.0  # it never was a neighbour, and has nothing to notice
    try:
        said = await node.wait_for("down", watched_for, after=since, peer=victim)
    except TimeoutError:
        return inf
    return float(said["ts"]) - since


async def with_serf(program: str, silence: Silence, settled: float, watched_for: float) -> float:
    """Four Serf agents: the time until all others say that the silent one failed."""
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(Network(NODES))
        agents = [
            await stack.enter_async_context(serf.serf(program, host, *network.hosts[:1])) for host in network.hosts
        ]
        for agent in agents:
            for host in network.hosts:
                await agent.wait_for_text(f"EventMemberJoin: {host.namespace}", START_TIME)
        await asyncio.sleep(settled)
        victim, since = network.hosts[-1], time.time()
        await silence(victim, agents[-1])
        failed = f"EventMemberFailed: {victim.namespace}"
        told = await asyncio.gather(*(_told(agent, failed, watched_for) for agent in agents[:-1]))
        return max(told) - since


async def _told(agent: Process, text: str, watched_for: float) -> float:
    try:
        return float((await agent.wait_for_text(text, watched_for))["ts"])
    except TimeoutError:
        return inf


async def measure(rounds: int, known: Sequence[float], watched_for: float) -> dict[str, Figure]:
    """Every silence so many times, all ways side by side, for they mostly wait; medians."""
    missing = serf.what_is_missing()
    if missing:
        print(missing, file=sys.stderr)
    program = "" if missing else serf.build()
    figures: dict[str, Figure] = {"rounds": Figure(rounds, "of each kind")}
    turned = 0
    for name, silence in SILENCES.items():
        found: list[list[Found]] = []
        failed: list[float] = []
        for _ in range(rounds):
            ours = asyncio.gather(*(with_gossipcontrol(silence, settled, watched_for) for settled in known))
            if program:
                failed.append(await with_serf(program, silence, known[0], watched_for))
            found.append(await ours)
        for settled, each in zip(known, zip(*found, strict=True), strict=True):
            title = f"{name}: GossipControl, known for {settled:g} s"
            figures[f"{title}, suspect"] = _median([one.suspected for one in each])
            figures[f"{title}, offline"] = _median([one.offline for one in each])
        everything = [one for each in found for one in each]
        turned += sum(one.turned for one in everything)
        figures[f"{name}: iroh-gossip, NeighborDown"] = _median([one.neighbor_down for one in everything])
        if program:
            figures[f"{name}: Serf, failed"] = _median(failed)
        print(f"{name}: done", file=sys.stderr)
    figures["GossipControl: healthy peers that turned"] = Figure(turned, "peers", "0", turned == 0)
    return figures


def _median(times: list[float]) -> Figure:
    """Without a value when it did not happen in most of the rounds."""
    middle = statistics.median(times)
    return Figure(None if middle == inf else middle, "s")


def main() -> None:
    chosen = rounds_on_hosts(__doc__, 3)
    rounds, known, watched_for = (1, (5.0,), 60.0) if chosen.quick else (chosen.rounds, KNOWN, WATCHED_FOR)
    show("silence", asyncio.run(measure(rounds, known, watched_for)), chosen.as_json)


if __name__ == "__main__":
    main()
