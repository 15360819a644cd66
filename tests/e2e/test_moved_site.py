"""A whole site changes its addresses, or loses them for a while: it is one overlay again, whatever the nodes believe.

After hashicorp/consul#1580, lightningnetwork/lnd#5377, commonwarexyz/monorepo#914 and dash-chat/dash-chat#433: a new
router, or a new DHCP subnet, and nobody finds anybody.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kit import dhcp
from tests.kit.fleet import Fleet
from tests.kit.network import Host
from tests.kit.trouble import move_to, new_address
from tests.kit.until import until

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


def announced(site: Fleet) -> list[str]:
    """Every set of addresses that any agent announced after its first."""
    return [str(said["detail"]) for node in site.nodes for said in node.all("addresses")]


async def until_told(site: Fleet, addresses: list[str]) -> None:
    """Wait until each node has told its new address last; it may be heard before it knows its own."""

    def last_told() -> list[str]:
        told = [node.all("addresses") for node in site.nodes]
        return [str(one[-1]["detail"]).partition(":")[0] for one in told if one]

    await until(lambda: last_told() == addresses, "each node tells its new address", WITHIN)


@pytest.mark.waits(15)
async def test_a_site_that_is_renumbered_at_once(site: Fleet) -> None:
    await asyncio.gather(*(move_to(host, GATEWAY) for host in site.hosts))
    await site.until_all_heard(time.time(), WITHIN)
    await until_told(site, [new_address(host, GATEWAY) for host in site.hosts])
    assert not [where for where in announced(site) if "127.0.0.1" in where or "::1" in where]


@pytest.mark.waits(30)
async def test_a_site_that_is_renumbered_host_by_host(site: Fleet) -> None:
    for host, node in zip(site.hosts, site.nodes, strict=True):
        since = time.time()
        await move_to(host, GATEWAY)
        await node.wait_for("addresses", WITHIN, after=since)
        await asyncio.sleep(STEP)  # the trouble itself, not a wait: the two subnets do not reach each other
    await site.until_all_heard(time.time(), WITHIN)


def address_of(host: Host) -> str:
    """The host's IPv4 address, as the kernel has it."""
    shown = subprocess.run(
        ("ip", "-n", host.namespace, "-4", "-json", "address", "show", "eth0"), check=True, capture_output=True
    )
    (address,) = [one["local"] for link in json.loads(shown.stdout) for one in link["addr_info"]]
    return str(address)


@pytest.mark.waits(15)
@pytest.mark.skipif(bool(dhcp.what_is_missing()), reason=dhcp.what_is_missing() or "nothing is missing")
async def test_a_site_that_gets_its_addresses_from_a_new_dhcp_server(site: Fleet, tmp_path: Path) -> None:
    async with dhcp.dhcp_server(site.network, GATEWAY, tmp_path) as server:
        await server.wait_for_text("DHCP, IP range", WITHIN)
        await asyncio.gather(*(dhcp.get_lease(host, tmp_path) for host in site.hosts))
        await site.until_all_heard(time.time(), WITHIN)
    leased = [address_of(host) for host in site.hosts]
    assert all(address.startswith("192.168.50.") for address in leased)
    await until_told(site, leased)


@pytest.mark.waits(10)
async def test_a_site_whose_links_went_down_and_came_back_with_the_same_addresses(site: Fleet) -> None:
    await asyncio.gather(*(host.link_down() for host in site.hosts))
    await asyncio.gather(
        *(node.wait_for("addresses", WITHIN, detail="none that peers can dial") for node in site.nodes)
    )
    back = time.time()
    await asyncio.gather(*(host.link_up() for host in site.hosts))
    await site.until_all_heard(time.time(), WITHIN)
    for host, node in zip(site.hosts, site.nodes, strict=True):
        said = await node.wait_for("addresses", WITHIN, after=back)
        assert said["detail"].startswith(f"{host.address}:")
    assert not [where for where in announced(site) if "127.0.0.1" in where]
