"""The real rtnetlink in real network namespaces."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from gossipcontrol.watch.change import DEFAULT_V4, DEFAULT_V6, Snapshot
from gossipcontrol.watch.linux import PAUSE
from gossipcontrol.watch.scope import Filter

from tests.kit.network import Host, Network, what_is_missing
from tests.watch.lab import Sight, Told, inside, sight_of

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


def words(told: list[Told]) -> list[str]:
    return [report.describe() for _, report in told]


def has_no_carrier(snapshot: Snapshot) -> bool:
    return not any(link.carrier for link in snapshot.links if link.name == "eth0")


async def test_carrier_loss_and_return_are_one_change_told_at_once(sight: Sight) -> None:
    await sight.host.unplug()
    await sight.until(has_no_carrier)
    await sight.host.plug()
    told = await sight.told()
    assert len(told) == 1
    assert told[0][0] in [at for at, _ in sight.seen]
    assert told[0][1].network.ways == sight.first.ways


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
    assert not sight.seen[-1][1].reachable


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
    assert told[0][1].network.ways == sight.first.ways


async def test_a_new_lease_is_one_change(sight: Sight) -> None:
    await sight.host.move("10.77.0.77")
    told = await sight.told()
    assert words(told) == ["eth0 via 10.77.0.1; 10.77.0.77 (default v4, addresses changed)"]


async def test_a_new_gateway_is_one_change(sight: Sight) -> None:
    await sight.host.run("ip", "route", "replace", "default", "via", "10.77.0.254", "dev", "eth0")
    told = await sight.told()
    assert words(told) == ["eth0 via 10.77.0.254; 10.77.0.2 (default v4 changed)"]


async def test_one_way_of_a_multipath_route_that_changes_is_one_change(sight: Sight) -> None:
    hops = "nexthop via 10.77.0.1 dev eth0 nexthop via 10.77.0.3 dev eth0"
    await sight.host.run("ip", "route", "replace", "default", *hops.split())
    told = await sight.told()
    assert words(told) == ["eth0 via 10.77.0.1, eth0 via 10.77.0.3; 10.77.0.2 (default v4 changed)"]


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
WG_QUICK = """tuntap add dev wg0 mode tun
address add 10.9.0.2/32 dev wg0
link set wg0 up
route add default dev wg0 table 51820
rule add not fwmark 51820 lookup 51820
rule add table main suppress_prefixlength 0
rule delete table main suppress_prefixlength 0
rule delete not fwmark 51820 lookup 51820
link delete wg0
"""
UNUSED = """link add eth1 type veth peer name eth1-peer
link set eth1 up
link set eth1 mtu 1400
link set eth1 down
link delete eth1
"""


@pytest.mark.parametrize(
    "lines",
    [CONTAINERS, TUNNEL, TUNNEL.replace("tun0", "wg0"), WG_QUICK, LEASE, UNUSED, "link set eth0 mtu 1400\n"],
    ids=[
        "containers",
        "VPN",
        "WireGuard's name",
        "wg-quick's rules",
        "lifetime",
        "a link that is no default route",
        "MTU",
    ],
)
async def test_what_is_never_told(sight: Sight, lines: str) -> None:
    ip(sight.host, lines)
    assert await sight.told() == []
    assert not any(what.changes_since(sight.first) for _, what in sight.seen)


@pytest.mark.parametrize(
    "lines",
    [TUNNEL.replace("link delete tun0\n", ""), WG_QUICK[: WG_QUICK.index("rule delete")]],
    ids=["halves", "wg-quick"],
)
async def test_a_vpn_that_stays_up_over_an_uplink_is_never_told(sight: Sight, lines: str) -> None:
    ip(sight.host, lines)
    assert await sight.told() == []
    assert any("named" in why for why in sight.seen[-1][1].scope.ignored.values())
    await sight.host.move("10.77.0.77")
    assert words(await sight.told()) == ["eth0 via 10.77.0.1; 10.77.0.77 (default v4, addresses changed)"]


async def test_a_privacy_address_in_the_same_64_is_never_told(host: Host) -> None:
    ip(host, "address add 2001:db8::2/64 dev eth0 nodad\nroute add default via fe80::1 dev eth0\n")
    async with sight_of(host) as sight:
        assert ("eth0", "2001:db8::/64") in sight.first.addresses
        ip(host, "address add 2001:db8::abcd:1/64 dev eth0 nodad\naddress delete 2001:db8::2/64 dev eth0\n")
        assert await sight.told() == []
        ip(host, "address add 2001:db8:0:9::2/64 dev eth0 nodad\n")
        assert [("eth0", "2001:db8:0:9::/64") in what.network.addresses for _, what in await sight.told()] == [True]


async def test_an_included_tunnel_is_told_and_an_ignored_link_is_not(host: Host) -> None:
    chosen = Filter.default(include=("tun0",), ignore=("eth0",))
    async with sight_of(host, chosen) as sight:
        assert sight.first.scope.watched == {"eth0": "there is nothing else"}
        ip(host, TUNNEL.replace("link delete tun0\n", ""))
        await host.move("10.77.0.77")
        told = words(await sight.told())
        assert told[-1] == "tun0 via link; 10.8.0.2 (default v4, addresses changed)"
        await host.move("10.77.0.78")
        assert words(await sight.told()) == told


async def test_lost_messages_are_survived(sight: Sight) -> None:
    flood = "".join(f"route add 198.18.{n // 250}.{n % 250 + 1}/32 dev eth0 table 99\n" for n in range(6000))
    for _ in range(3):
        ip(sight.host, flood + "route flush table 99\n")
    ip(sight.host, "address add 10.77.0.77/24 dev eth0\n")
    assert dropped(sight.host) > 0
    told = await sight.told()
    assert words(told) == ["eth0 via 10.77.0.1; 10.77.0.2, 10.77.0.77 (addresses changed)"]
    await sight.host.unplug()
    await sight.until(has_no_carrier)


def dropped(host: Host) -> int:
    """Messages that the kernel dropped for sockets of the namespace."""
    with inside(host):
        lines = Path("/proc/thread-self/net/netlink").read_text().splitlines()
    column = lines[0].split().index("Drops")
    return sum(int(line.split()[column]) for line in lines[1:])


SECOND = """link add eth1 type veth peer name veth-eth1
link set veth-eth1 up
address add 10.71.0.2/24 dev eth1
link set eth1 up
"""
"""A second uplink, without a route of its own."""
POLICY = "route add default via 10.71.0.1 dev eth1 table 100\nrule add pref 100 lookup 100\n"
METRIC = """route add default via 10.71.0.1 dev eth1 metric 600
route add default via 10.77.0.1 dev eth0 metric 20100
route delete default via 10.77.0.1 dev eth0 metric 0
"""
NEXTHOP = "nexthop add id 5 via 10.71.0.1 dev eth1\nroute replace default nhid 5\n"
HALVES = "route add 0.0.0.0/1 via 10.71.0.1 dev eth1\nroute add 128.0.0.0/1 via 10.71.0.1 dev eth1\n"


@pytest.mark.parametrize("lines", [POLICY, METRIC, NEXTHOP, HALVES], ids=["policy", "metric", "nexthop", "halves"])
async def test_a_new_way_to_everywhere_is_one_change_however_it_is_made(host: Host, lines: str) -> None:
    """tailscale/tailscale#11447, balena-os/meta-balena#1199, #3016, NetworkConfiguration/dhcpcd#98."""
    ip(host, SECOND)
    async with sight_of(host) as sight:
        assert sight.first.describe().startswith("eth0 via 10.77.0.1; ")
        ip(host, lines)
        told = await sight.told()
        assert [report.changes for _, report in told] == [("default v4",)]
        assert told[0][1].describe().startswith("eth1 via 10.71.0.1; ")


async def test_a_way_back_by_a_policy_rule_is_one_change(host: Host) -> None:
    ip(host, SECOND + POLICY)
    async with sight_of(host) as sight:
        assert sight.first.describe().startswith("eth1 via 10.71.0.1; ")
        ip(host, "rule delete pref 100\n")
        assert [report.changes for _, report in await sight.told()] == [("default v4",)]


ONLY_TABLE = "route delete default\nroute add default via 10.77.0.1 dev eth0 table 100\nrule add pref 100 lookup 100\n"
ONLY_HALVES = """route delete default
route add 0.0.0.0/1 via 10.77.0.1 dev eth0
route add 128.0.0.0/1 via 10.77.0.1 dev eth0
"""
ONLY_SOURCE = """route delete default
route add default via 10.77.0.1 dev eth0 table 100
rule add from 10.77.0.2 lookup 100
"""
UNNUMBERED = """route delete default
address flush dev eth0
address add 10.255.0.7/32 dev lo
route add 0.0.0.0/0 via inet6 fe80::1 dev eth0
"""
ONLY_NEXTHOP = "nexthop add id 5 via 10.77.0.1 dev eth0\nroute replace default nhid 5\n"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (ONLY_TABLE, "eth0 via 10.77.0.1; 10.77.0.2"),
        (ONLY_SOURCE, "eth0 via 10.77.0.1; 10.77.0.2"),
        (ONLY_HALVES, "eth0 via 10.77.0.1; 10.77.0.2"),
        (ONLY_NEXTHOP, "eth0 via 10.77.0.1; 10.77.0.2"),
        (UNNUMBERED, "eth0 via fe80::1; 10.255.0.7"),
    ],
    ids=["policy", "policy by source", "halves", "nexthop", "unnumbered"],
)
async def test_the_only_way_out_is_seen_and_so_is_its_flap(host: Host, lines: str, words: str) -> None:
    """tailscale#11447, schwabe/ics-openvpn#175, ironcore-dev/dpservice#716, kubernetes/kubernetes#69578, #95790."""
    ip(host, lines)
    async with sight_of(host) as sight:
        assert sight.first.describe() == words
        await host.unplug()
        await sight.until(has_no_carrier)
        assert not sight.seen[-1][1].reachable
        await host.plug()
        if lines == ONLY_NEXTHOP:  # the kernel removes nexthop objects with the carrier, and their routes with them
            ip(host, ONLY_NEXTHOP)
        assert [report.network.describe() for _, report in await sight.told()][-1:] == [words]


async def test_ipv6_by_2000_3_is_a_default_route(host: Host) -> None:
    """ironcore-dev/dpservice#716: routers that announce global unicast only."""
    ip(host, "address add 2001:db8::2/64 dev eth0 nodad\n")
    async with sight_of(host) as sight:
        assert DEFAULT_V6 not in sight.first.defaults
        ip(host, "route add 2000::/3 via fe80::1 dev eth0\n")
        assert [report.changes for _, report in await sight.told()] == [("default v6",)]


def rename(name: str) -> str:
    return f"link set eth0 down\nlink set eth0 name {name}\nlink set {name} up\nroute add default via 10.77.0.1\n"


@pytest.mark.parametrize("name", ["tap0", "br-uplink", "docker0", "wg0", "ppp0", "tun0"])
async def test_a_sole_uplink_counts_whatever_its_name_is(host: Host, name: str) -> None:
    """moby/moby#25139, projectcalico/calico#7045, bubuntux/nordlynx#100."""
    ip(host, rename(name))
    async with sight_of(host) as sight:
        assert sight.first.describe() == f"{name} via 10.77.0.1; 10.77.0.2"
        assert sight.first.scope.watched == {name: "there is nothing else"}
        ip(host, f"address add 10.77.0.77/24 dev {name}\n")
        assert [report.changes for _, report in await sight.told()] == [("addresses",)]
        ip(host, "route delete default\n")
        await sight.told()
        assert sight.seen[-1][1].reachable


async def test_an_ignored_uplink_beside_a_dead_link_counts_while_it_is_the_only_way(host: Host) -> None:
    ip(host, rename("ppp0") + "link add eth0 type veth peer name veth-eth0\n")
    async with sight_of(host) as sight:
        assert sight.first.describe() == "ppp0 via 10.77.0.1; 10.77.0.2"
        assert sight.first.scope.watched == {"eth0": "", "ppp0": "the only way out"}


async def test_an_uplink_that_is_a_port_of_a_bridge(host: Host) -> None:
    """The bridge has the address; its cable is in the port."""
    ip(
        host,
        "link add br-lan type bridge\nlink add guest0 type veth peer name veth-g\nlink set veth-g master br-lan up\n"
        "link set guest0 up\nlink set eth0 master br-lan\naddress flush dev eth0\nlink set br-lan up\n"
        "address add 10.77.0.2/24 dev br-lan\nroute add default via 10.77.0.1 dev br-lan\n",
    )
    async with sight_of(host) as sight:
        assert sight.first.describe() == "br-lan via 10.77.0.1; 10.77.0.2"
        await host.unplug()
        await sight.until(has_no_carrier)
        await host.plug()
        told = await sight.told()
        assert [report.changes for _, report in told] == [("carrier",)]


async def test_a_router_that_goes_leaves_the_lan_reachable(sight: Sight) -> None:
    """irungentoo/toxcore#1215, TokTok/c-toxcore#239, rustonbsd/iroh-ssh#56."""
    ip(sight.host, "route delete default\n")
    told = await sight.told()
    assert words(told) == ["no default route; 10.77.0.2 (default v4 changed)"]
    assert all(what.reachable for _, what in sight.seen)
    ip(sight.host, "address add 10.77.0.77/24 dev eth0\n")
    assert words(await sight.told())[-1].startswith("no default route; 10.77.0.2, 10.77.0.77 (")


async def test_a_full_tunnel_that_replaces_the_default_route_leaves_the_lan_reachable(sight: Sight) -> None:
    """opnsense/plugins#661, openwrt/packages#1058: openconnect's vpnc-script; a real tun device."""
    ip(
        sight.host,
        "tuntap add dev tun0 mode tun\naddress add 10.8.0.2/32 dev tun0\nlink set tun0 up\n"
        "route add 203.0.113.9 via 10.77.0.1\nroute replace default dev tun0\n",
    )
    told = await sight.told()
    assert all(what.reachable for _, what in sight.seen)
    assert all(("eth0", "10.77.0.2") in what.addresses for _, what in sight.seen)
    assert len(told) <= 1


async def test_the_way_to_a_peer_is_one_change(host: Host) -> None:
    async with sight_of(host, peers=lambda: ("198.51.100.7:4433", "10.77.0.9:4433", "[::1]:1", "no address")) as sight:
        assert sight.first.ways.keys() == {DEFAULT_V4, "198.51.100.7", "10.77.0.9"}
        ip(host, "route add 198.51.100.0/24 via 10.77.0.254\n")
        told = await sight.told()
        assert [report.changes for _, report in told] == [("peer 198.51.100.7",)]


async def test_a_storm_of_routes_costs_no_more_than_a_few_looks(sight: Sight) -> None:
    """systemd/systemd#20718, tailscale/tailscale#7621, SagerNet/sing-box#3180: 6,000 routes that come and go."""
    lines = "".join(f"route add 198.18.{n // 250}.{n % 250 + 1}/32 dev eth0 table 99\n" for n in range(6000))
    began = len(sight.seen)
    process = await asyncio.create_subprocess_exec(
        "ip", "-n", sight.host.namespace, "-batch", "-", stdin=asyncio.subprocess.PIPE
    )
    started = asyncio.get_running_loop().time()
    await process.communicate((lines + "route flush table 99\n").encode())
    seconds = asyncio.get_running_loop().time() - started
    assert await sight.told() == []
    assert len(sight.seen) - began <= seconds / PAUSE + 10
