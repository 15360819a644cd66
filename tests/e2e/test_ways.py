"""The way to the world changes, and the peers in the LAN stay: no overlay that works is taken down.

Public reports: irungentoo/toxcore#1215, TokTok/c-toxcore#239 and rustonbsd/iroh-ssh#56 (LAN peers lose each other when
the internet router goes); opnsense/plugins#661, openwrt/packages#1058 and #4343 (openconnect's vpnc-script replaces the
default route).
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from gossipcontrol.client import Client, PeerState

from tests.kit.cluster import STORE
from tests.kit.fleet import Fleet
from tests.kit.network import Host
from tests.kit.swarm import Swarm
from tests.kit.trouble import connect_vpn, disconnect_vpn, lose_router, regain_router

HEARTBEAT = 0.5
BEATS = 24
"""Messages of each peer that every node must hear during a trouble: 12 s of them, four times the guard's grace."""
SOON = 60.0
GIVEN_UP = 90.0
"""Seconds within which the transport gives up a peer that is silent."""
BUSY = 2.0
"""Seconds more than on a quiet machine, where it takes half a second."""


async def connect_vpn_of_first(hosts: list[Host]) -> None:
    await connect_vpn(hosts[0])


async def disconnect_vpn_of_first(hosts: list[Host]) -> None:
    await disconnect_vpn(hosts[0])


Trouble = Callable[[list[Host]], Awaitable[None]]


async def until_heard(fleet: Fleet, since: float) -> None:
    """Wait until every node has heard so many messages of every other one since an instant (wall clock)."""
    async with asyncio.timeout(SOON):
        for node, own in zip(fleet.nodes, fleet.ids, strict=True):
            for peer in fleet.ids:
                after = since
                for _ in range(BEATS if peer != own else 0):
                    after = float((await node.wait_for("heard", SOON, peer=peer, after=after))["ts"])


def heard(fleet: Fleet, since: float, until: float) -> list[int]:
    """How many messages each node heard in a time."""
    return [len([one for one in node.all("heard", after=since) if one["ts"] <= until]) for node in fleet.nodes]


async def endure(directory: Path, begin: Trouble, end: Trouble, *, control: bool) -> tuple[list[float], set[str]]:
    """Three nodes through one trouble; returns the messages a second that each heard, and every state that was told."""
    directory.mkdir()
    async with Fleet(directory, near=3, control=control, heartbeat=HEARTBEAT, watched=control) as fleet:
        started = time.time()
        await begin(fleet.hosts)
        await until_heard(fleet, time.time())
        await end(fleet.hosts)
        await until_heard(fleet, time.time())
        ended = time.time()
        told = {str(said["state"]) for said in fleet.lines("presence", started)}
        if control:
            async with Client(fleet.address) as client:
                told |= {str(peer.state) async for peer in client.list_peers(STORE)}
            assert [process.name for process in fleet.processes if process.all("lost")] == []
            # The first host has both troubles, and its watcher reports a change of the way as any other.
            assert [said["kind"] for said in fleet.watchers[0].all("change", after=started)] == ["changed"] * 2
        return [count / (ended - started) for count in heard(fleet, started, ended)], told


@pytest.mark.parametrize(
    ("begin", "end"),
    [(lose_router, regain_router), (connect_vpn_of_first, disconnect_vpn_of_first)],
    ids=["the router goes", "a VPN takes the default route"],
)
@pytest.mark.waits(75)
async def test_no_fewer_messages_than_between_bare_nodes_and_nobody_asleep(
    tmp_path: Path, begin: Trouble, end: Trouble
) -> None:
    bare, _ = await endure(tmp_path / "bare", begin, end, control=False)
    cared, told = await endure(tmp_path / "cared", begin, end, control=True)
    # The rate of a node that hears two others is exact but for the moments at which the time begins and ends.
    assert min(cared) >= min(bare) - 0.3, (cared, bare)
    assert min(cared) >= 2 * (1 / HEARTBEAT) - 0.5, (cared, bare)
    assert told <= {str(PeerState.ONLINE)}


@pytest.mark.waits(45)
async def test_a_paused_node_comes_back_alone_with_the_first_address(swarm: Swarm) -> None:
    """Without a default route, and without a service that could command a rejoin."""
    await swarm.host.link_down()
    await swarm.node.wait_for("lost", SOON)
    await swarm.wait_for_loss(GIVEN_UP)
    await swarm.service.stop(signal.SIGKILL)
    since = time.time()
    await swarm.host.run("ip", "link", "set", "eth0", "up")
    up = await swarm.node.wait_for("up", SOON, after=since)
    assert up["ts"] - since < BUSY
    await swarm.node.wait_for("heard", SOON, after=since, peer=swarm.ids[-1])
    await swarm.others[-1].wait_for("heard", SOON, after=since, peer=swarm.ids[0])
