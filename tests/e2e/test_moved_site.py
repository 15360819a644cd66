"""A whole site changes its addresses, or loses them for a while: it is one overlay again, whatever the nodes believe.

After hashicorp/consul#1580, lightningnetwork/lnd#5377, commonwarexyz/monorepo#914 and dash-chat/dash-chat#433: a new
router, or a new DHCP subnet, and nobody finds anybody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kit.fleet import Fleet
from tests.kit.network import Host

WITHIN = 15.0
"""Seconds from the last host's change until everybody has heard everybody."""
GATEWAY = "192.168.50.1"
STEP = 5.0
"""Seconds between two hosts that move."""


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Fleet]:
    """Three hosts with watchers, whose agents follow their networks, and a second router."""
    async with Fleet(tmp_path, near=3, watched=True) as fleet:
        await fleet.network.add_subnet(GATEWAY)
        yield fleet


def place(host: Host) -> str:
    """Where a host is in the new subnet."""
    return f"192.168.50.{100 + host.number}"


async def move(host: Host) -> None:
    await host.move(place(host), GATEWAY)


async def check_that_all_hear_all(site: Fleet, since: float) -> None:
    await asyncio.gather(
        *(
            node.wait_for("heard", WITHIN, after=since, peer=peer_id)
            for node, node_id in zip(site.nodes, site.ids, strict=True)
            for peer_id in site.ids
            if peer_id != node_id
        )
    )


def announced(site: Fleet) -> list[str]:
    """Every set of addresses that any agent announced after its first."""
    return [str(said["detail"]) for node in site.nodes for said in node.all("addresses")]


@pytest.mark.waits(15)
async def test_a_site_that_is_renumbered_at_once(site: Fleet) -> None:
    await asyncio.gather(*(move(host) for host in site.hosts))
    since = time.time()
    await check_that_all_hear_all(site, since)
    assert [node.all("addresses")[-1]["detail"].partition(":")[0] for node in site.nodes] == list(
        map(place, site.hosts)
    )
    assert not [where for where in announced(site) if "127.0.0.1" in where or "::1" in where]


@pytest.mark.waits(30)
async def test_a_site_that_is_renumbered_host_by_host(site: Fleet) -> None:
    for host, node in zip(site.hosts, site.nodes, strict=True):
        since = time.time()
        await move(host)
        await node.wait_for("addresses", WITHIN, after=since)
        await asyncio.sleep(STEP)  # the trouble itself, not a wait: the two subnets do not reach each other
    await check_that_all_hear_all(site, time.time())


@pytest.mark.waits(10)
async def test_a_site_whose_links_went_down_and_came_back_with_the_same_addresses(site: Fleet) -> None:
    await asyncio.gather(*(host.link_down() for host in site.hosts))
    await asyncio.gather(
        *(node.wait_for("addresses", WITHIN, detail="none that peers can dial") for node in site.nodes)
    )
    back = time.time()
    await asyncio.gather(*(host.link_up() for host in site.hosts))
    await check_that_all_hear_all(site, time.time())
    for host, node in zip(site.hosts, site.nodes, strict=True):
        said = await node.wait_for("addresses", WITHIN, after=back)
        assert said["detail"].startswith(f"{host.address}:")
    assert not [where for where in announced(site) if "127.0.0.1" in where]
