"""How long it takes to detect that a neighbour died silently: GossipControl, iroh-gossip's own events, and Serf.

Of four nodes one falls silent, in three ways: its outgoing packets are dropped, its packets in both directions are, or
its process is frozen. No other host has a link event. The time ends when *every* other node knows; for GossipControl,
whose view all nodes share, when the service sends it to the watchers of the store.
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

from bench.report import Figure, at_most, rounds_on_hosts, show
from tests.kit import serf
from tests.kit.cluster import STORE
from tests.kit.fleet import Fleet
from tests.kit.network import Host, Network
from tests.kit.process import Process

NODES = 4
START_TIME = 60.0
WATCHED_FOR = 120.0
"""Seconds after which a silence counts as never detected."""
KNOWN = (5.0, 20.0, 120.0)
"""Seconds before the silence: the longer the detector has observed a rhythm, the sooner it suspects."""
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
    """Seconds until the silence was detected; infinite: never."""

    suspected: float
    offline: float
    neighbor_down: float
    wrong: int
    """Healthy peers that left ONLINE at any time."""


async def with_gossipcontrol(silence: Silence, settled: float, watched_for: float) -> Found:
    """Four iroh-gossip nodes; the silent one has no agent, so the service knows of it by the reports of others only."""
    with tempfile.TemporaryDirectory(prefix="gossipcontrol-") as directory:
        async with Fleet(Path(directory), near=NODES, bare=(NODES - 1,)) as fleet, Client(fleet.address) as client:
            await asyncio.sleep(settled)  # how long the rhythm has been observed is a condition of the measurement
            victim = fleet.ids[-1]
            watching = asyncio.create_task(_watch(client, victim, watched_for))
            since = time.time()
            await silence(fleet.hosts[-1], fleet.nodes[-1])
            downs = await asyncio.gather(*(_down(node, victim, since, watched_for) for node in fleet.nodes[:-1]))
            found, wrong = await watching
            fleet.nodes[-1].thaw()
            suspected, offline = (found.get(state, inf) - since for state in (PeerState.SUSPECT, PeerState.OFFLINE))
            return Found(suspected, offline, max(downs), wrong)


async def _watch(client: Client, victim: str, watched_for: float) -> tuple[dict[PeerState, float], int]:
    """When the victim first entered each state, and how many other peers ever left ONLINE."""
    found: dict[PeerState, float] = {}
    online: set[str] = set()
    wrong: set[str] = set()
    with contextlib.suppress(TimeoutError):  # the states until then are the answer
        async with asyncio.timeout(watched_for):
            async for change in client.watch_peers(STORE):
                for peer in change.view.peers:
                    if peer.peer_id == victim:
                        found.setdefault(peer.state, time.time())
                    elif peer.state == PeerState.ONLINE:
                        online.add(peer.peer_id)
                    elif peer.peer_id in online:
                        wrong.add(peer.peer_id)
                if PeerState.OFFLINE in found:
                    break
    return found, len(wrong)


async def _down(node: Process, victim: str, since: float, watched_for: float) -> float:
    if not any(line["peer"] == victim for line in node.all("up")):
        return 0.0  # it never was a neighbour, so it has nothing to detect
    try:
        line = await node.wait_for("down", watched_for, after=since, peer=victim)
    except TimeoutError:
        return inf
    return float(line["ts"]) - since


async def with_serf(program: str, silence: Silence, settled: float, watched_for: float) -> float:
    """Four Serf agents: seconds until all others log that the silent one failed."""
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(Network(NODES))
        agents = [
            await stack.enter_async_context(serf.serf(program, host, *network.hosts[:1])) for host in network.hosts
        ]
        for agent in agents:
            for host in network.hosts:
                await agent.wait_for_text(f"EventMemberJoin: {host.namespace}", START_TIME)
        await asyncio.sleep(settled)  # the same condition for Serf
        victim, since = network.hosts[-1], time.time()
        await silence(victim, agents[-1])
        failed = f"EventMemberFailed: {victim.namespace}"
        failed_at = await asyncio.gather(*(_logged(agent, failed, watched_for) for agent in agents[:-1]))
        return max(failed_at) - since


async def _logged(agent: Process, text: str, watched_for: float) -> float:
    try:
        return float((await agent.wait_for_text(text, watched_for))["ts"])
    except TimeoutError:
        return inf


async def measure(rounds: int, known: Sequence[float], watched_for: float) -> dict[str, Figure]:
    """Measure every silence, all systems side by side, since they mostly wait; returns medians."""
    missing = serf.what_is_missing()
    if missing:
        print(missing, file=sys.stderr)
    program = "" if missing else serf.build()
    figures: dict[str, Figure] = {"rounds": Figure(rounds, "of each kind")}
    wrong = 0
    for name, silence in SILENCES.items():
        found: list[list[Found]] = []
        failed: list[float] = []
        for _ in range(rounds):
            ours = asyncio.gather(*(with_gossipcontrol(silence, settled, watched_for) for settled in known))
            if program:
                failed.append(await with_serf(program, silence, known[0], watched_for))
            found.append(await ours)
        for settled, each in zip(known, zip(*found, strict=True), strict=True):
            title = f"{name}: GossipControl, observed for {settled:g} s"
            suspected = statistics.median(one.suspected for one in each)
            by_serf = statistics.median(failed) if program else inf
            figures[f"{title}, suspect"] = _no_later(suspected, by_serf)
            figures[f"{title}, offline"] = _median([one.offline for one in each])
        everything = [one for each in found for one in each]
        wrong += sum(one.wrong for one in everything)
        figures[f"{name}: iroh-gossip, NeighborDown"] = _median([one.neighbor_down for one in everything])
        if program:
            figures[f"{name}: Serf, failed"] = _median(failed)
        print(f"{name}: done", file=sys.stderr)
    figures["GossipControl: healthy peers suspected"] = Figure(wrong, "peers", "0", wrong == 0)
    return figures


def _median(times: list[float]) -> Figure:
    """No value when most rounds never detected it."""
    middle = statistics.median(times)
    return Figure(None if middle == inf else middle, "s")


def _no_later(suspected: float, by_serf: float) -> Figure:
    """The target: no later than Serf in the same run, where Serf was measured."""
    figure = _median([suspected])
    return figure if by_serf == inf else at_most(figure.value, figure.unit, by_serf)


def main() -> None:
    chosen = rounds_on_hosts(__doc__, 3)
    rounds, known, watched_for = (1, (5.0,), 60.0) if chosen.quick else (chosen.rounds, KNOWN, WATCHED_FOR)
    show("silence", asyncio.run(measure(rounds, known, watched_for)), chosen.as_json)


if __name__ == "__main__":
    main()
