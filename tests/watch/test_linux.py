"""The real rtnetlink in real network namespaces."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from gossipcontrol.watch.change import Snapshot
from gossipcontrol.watch.fingerprint import Filter

from tests.kit.network import Host, Network, what_is_missing
from tests.watch.lab import Sight, inside, sight_of

pytestmark = pytest.mark.skipif(bool(what_is_missing()), reason=what_is_missing() or "nothing is missing")


@pytest.fixture
async def host() -> AsyncGenerator[Host]:
    async with Network(hosts=1) as network:
        yield network.hosts[0]


@pytest.fixture
async def sight(host: Host) -> AsyncGenerator[Sight]:
    async with sight_of(host) as seen:
        assert seen.first.describe() == "eth0 via 10.77.0.1; 10.77.0.2"
        yield seen


def ip(host: Host | str, lines: str) -> None:
    """Run a batch at one go, with the loop blocked."""
    namespace = host if isinstance(host, str) else host.namespace
    subprocess.run(("ip", "-n", namespace, "-batch", "-"), input=lines, text=True, check=True)


def has_no_carrier(snapshot: Snapshot) -> bool:
    return not any(link.carrier for link in snapshot.links if link.name == "eth0")


async def test_carrier_loss_and_return_are_one_change_told_at_once(sight: Sight) -> None:
    await sight.host.unplug()
    await sight.until(has_no_carrier)
    await sight.host.plug()
    told = await sight.told()
    assert len(told) == 1
    assert told[0][0] in [at for at, _ in sight.seen]
    assert told[0][1].routes == sight.first.routes


async def test_link_down_and_up_are_one_change_told_at_once(sight: Sight) -> None:
    await sight.host.link_down()
    await sight.until(has_no_carrier)
    await sight.host.link_up()
    told = await sight.told()
    assert len(told) == 1
    assert told[0][0] in [at for at, _ in sight.seen]


async def test_a_loss_alone_is_not_told(sight: Sight) -> None:
    await sight.host.link_down()
    assert await sight.told() == []
    assert not sight.seen[-1][1].has_default_route


@pytest.mark.parametrize("seconds", [0.0, 0.1])
async def test_a_flap_is_one_change(sight: Sight, seconds: float) -> None:
    await sight.host.unplug()
    await asyncio.sleep(seconds)
    await sight.host.plug()
    assert len(await sight.told()) == 1


async def test_a_flap_between_two_looks_is_one_change(sight: Sight) -> None:
    hub = sight.host.namespace.removesuffix("h1") + "hub"
    ip(hub, "link set p1 down\nlink set p1 up\n")
    told = await sight.told()
    assert len(told) == 1
    assert told[0][1].routes == sight.first.routes


async def test_a_new_lease_is_one_change(sight: Sight) -> None:
    await sight.host.move("10.77.0.77")
    told = await sight.told()
    assert [what.describe() for _, what in told] == ["eth0 via 10.77.0.1; 10.77.0.77"]


async def test_a_new_gateway_is_one_change(sight: Sight) -> None:
    await sight.host.run("ip", "route", "replace", "default", "via", "10.77.0.254", "dev", "eth0")
    told = await sight.told()
    assert [what.describe() for _, what in told] == ["eth0 via 10.77.0.254; 10.77.0.2"]


async def test_one_way_of_a_multipath_route_that_changes_is_one_change(sight: Sight) -> None:
    hops = "nexthop via 10.77.0.1 dev eth0 nexthop via 10.77.0.3 dev eth0"
    await sight.host.run("ip", "route", "replace", "default", *hops.split())
    told = await sight.told()
    assert [sorted(gateway for _, gateway in what.routes) for _, what in told] == [["10.77.0.1", "10.77.0.3"]]


CONTAINERS = """link add docker0 type bridge
address add 172.17.0.1/16 dev docker0
link set docker0 up
link add veth12ab type veth peer name ceth0
link set veth12ab master docker0 up
link set ceth0 up
link delete veth12ab
link delete docker0
"""
TUNNEL = """link add tun0 type veth peer name veth-tun
link set veth-tun up
address add 10.8.0.2/24 dev tun0
link set tun0 up
route add 0.0.0.0/1 dev tun0
route add 128.0.0.0/1 dev tun0
route add default dev tun0 metric 50
link delete tun0
"""
LEASE = """address change 10.77.0.2/24 dev eth0 valid_lft 3600 preferred_lft 1800
address change 10.77.0.2/24 dev eth0 valid_lft 7200 preferred_lft 3600
"""
UNUSED = """link add eth1 type veth peer name eth1-peer
link set eth1 up
link set eth1 mtu 1400
link set eth1 down
link delete eth1
"""


@pytest.mark.parametrize(
    "lines",
    [CONTAINERS, TUNNEL, TUNNEL.replace("tun0", "wg0"), LEASE, UNUSED, "link set eth0 mtu 1400\n"],
    ids=["containers", "VPN", "WireGuard's name", "lifetime", "a link that is no default route", "MTU"],
)
async def test_what_is_never_told(sight: Sight, lines: str) -> None:
    ip(sight.host, lines)
    assert await sight.told() == []
    assert {what for _, what in sight.seen} == {sight.first}


async def test_a_privacy_address_in_the_same_64_is_never_told(host: Host) -> None:
    ip(host, "address add 2001:db8::2/64 dev eth0 nodad\nroute add default via fe80::1 dev eth0\n")
    async with sight_of(host) as sight:
        assert ("eth0", "2001:db8::/64") in sight.first.addresses
        ip(host, "address add 2001:db8::abcd:1/64 dev eth0 nodad\naddress delete 2001:db8::2/64 dev eth0\n")
        assert await sight.told() == []
        ip(host, "address add 2001:db8:0:9::2/64 dev eth0 nodad\n")
        assert [("eth0", "2001:db8:0:9::/64") in what.addresses for _, what in await sight.told()] == [True]


async def test_an_included_tunnel_is_told_and_an_ignored_link_is_not(host: Host) -> None:
    chosen = Filter.default(include=("tun0",), ignore=("eth0",))
    async with sight_of(host, chosen) as sight:
        assert not sight.first.has_default_route
        ip(host, TUNNEL.replace("link delete tun0\n", ""))
        await host.move("10.77.0.77")
        assert [what.describe() for _, what in await sight.told()] == ["tun0 via link; 10.8.0.2"]


async def test_lost_messages_are_survived(sight: Sight) -> None:
    flood = "".join(f"route add 198.18.{n // 250}.{n % 250 + 1}/32 dev eth0 table 99\n" for n in range(6000))
    for _ in range(3):
        ip(sight.host, flood + "route flush table 99\n")
    ip(sight.host, "address add 10.77.0.77/24 dev eth0\n")
    assert dropped(sight.host) > 0
    told = await sight.told()
    assert [sorted(address for _, address in what.addresses) for _, what in told] == [["10.77.0.2", "10.77.0.77"]]
    await sight.host.unplug()
    await sight.until(has_no_carrier)


def dropped(host: Host) -> int:
    """Messages that the kernel dropped for sockets of the namespace."""
    with inside(host):
        lines = Path("/proc/thread-self/net/netlink").read_text().splitlines()
    column = lines[0].split().index("Drops")
    return sum(int(line.split()[column]) for line in lines[1:])
