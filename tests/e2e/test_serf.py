"""Real Serf agents: a member that was cut off is alive at once when its path is back."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.kit.serf_cluster import STORE, SerfCluster, what_serf_needs

pytest.importorskip("msgpack", reason="needs the extra: pip install 'gossipcontrol[serf]'")
pytestmark = pytest.mark.skipif(bool(what_serf_needs()), reason=what_serf_needs() or "nothing is missing")

SOON = 5.0
"""Seconds from the return of the path until all are alive: half of one on a quiet machine, see bench/serf.py.

Without GossipControl 16 to 29 were measured.
"""
HELD = 15.0
"""Seconds for which a cut goes on once the member failed: until then it would hear that it failed, and refute it."""
PATIENCE = 90.0
"""Seconds for what takes a few on a quiet machine."""


@pytest.mark.waits(30)
async def test_a_member_that_failed_is_alive_soon_after_the_links_return(tmp_path: Path) -> None:
    """Serf dials one failed member every 30 s by itself (hashicorp/serf, reconnect_interval).

    While its link is down, Serf cannot send, and takes nobody for failed: only the others take it for failed.
    """
    async with SerfCluster(tmp_path) as cluster:
        await cluster.host.link_down()
        await cluster.last.wait_for_text(f"EventMemberFailed: {cluster.host.namespace}", PATIENCE)
        await asyncio.sleep(HELD)  # the length is part of the stimulus
        since = time.time()
        await cluster.host.link_up()
        await check_that_it_returned(cluster, since)


@pytest.mark.waits(35)
async def test_members_that_failed_are_alive_soon_after_the_cables_return(tmp_path: Path) -> None:
    async with SerfCluster(tmp_path) as cluster:
        others = [host.namespace for host in cluster.network.hosts[1:]]
        await cluster.host.unplug()
        for name in others:
            await cluster.node.wait_for("down", PATIENCE, store=STORE, peer=name)
        await cluster.last.wait_for_text(f"EventMemberFailed: {cluster.host.namespace}", PATIENCE)
        await asyncio.sleep(HELD)  # the length is part of the stimulus
        since = time.time()
        await cluster.host.plug()
        await check_that_it_returned(cluster, since)
        up = [await cluster.node.wait_for("up", PATIENCE, after=since, store=STORE, peer=name) for name in others]
        assert max(float(line["ts"]) for line in up) - since <= SOON


async def check_that_it_returned(cluster: SerfCluster, since: float) -> None:
    """All are alive in time, and the rejoin was verified."""
    await cluster.wait_until_alive(PATIENCE)
    took = time.time() - since
    await cluster.service.wait_for("rejoin verified", PATIENCE, after=since)
    assert (await cluster.node.wait_for("result", PATIENCE, after=since))["detail"] == "ok"
    assert took <= SOON, cluster.node.lines
