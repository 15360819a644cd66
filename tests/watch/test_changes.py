"""The table of changes: real ones, made in namespaces, each with the reports that it must give, no more and no fewer.

Bonds, VLANs, WireGuard and modems are played by devices that every kernel has: docs/platforms.md says by which.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from gossipcontrol.watch.change import DEFAULT_V6, Snapshot

from tests.kit import dhcp, network, router
from tests.kit.network import Host, Network
from tests.kit.process import Process
from tests.kit.until import until
from tests.watch.lab import Sight, inside, sight_of

MISSING = network.what_is_missing() or dhcp.what_is_missing() or router.what_is_missing()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING or "nothing is missing")

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x1, 0x1000


@dataclass
class Lab:
    """A host that is seen, and its network."""

    network: Network
    host: Host
    directory: Path
    seen: Sight | None = None
    router: Process | None = None
    tunnels: list[int] = field(default_factory=list[int])
    """Descriptors that keep tunnels up."""

    @property
    def sight(self) -> Sight:
        assert self.seen is not None
        return self.seen

    def ip(self, lines: str, namespace: str = "") -> None:
        """A batch at one go, with the loop blocked: only its end is seen."""
        command = ("ip", "-n", namespace or self.host.namespace, "-batch", "-")
        subprocess.run(command, input=lines, text=True, check=True)

    def hub(self, lines: str) -> None:
        self.ip(lines, self.network.hub)

    def say(self, destination: str) -> None:
        """One packet to a neighbor, so that it is resolved."""
        family = socket.AF_INET6 if ":" in destination else socket.AF_INET
        with inside(self.host), socket.socket(family, socket.SOCK_DGRAM) as out:
            out.sendto(b"x", (destination, 9))

    def hold_tunnel(self, name: str) -> None:
        """A tun device with a program behind it, so that it has a carrier."""
        with inside(self.host):
            self.tunnels.append(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
            fcntl.ioctl(self.tunnels[-1], TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))

    async def until_hardware(self, hardware: str) -> None:
        await self.sight.until(lambda state: any(one.hardware == hardware for one in state.neighbors))


Change = str | Callable[[Lab], Awaitable[None]]


@dataclass(frozen=True)
class Row:
    """One change: what is there before, what happens, and what each report says to be different."""

    name: str
    change: Change
    reports: Sequence[tuple[str, ...]] = ()
    before: Change = ""
    peers: tuple[str, ...] = field(default=())


def tunnel(name: str, lines: str) -> Callable[[Lab], Awaitable[None]]:
    """A tunnel comes up, and is set up by these lines."""

    async def change(lab: Lab) -> None:
        lab.hold_tunnel(name)
        lab.ip(lines)

    return change


def carries(state: Snapshot, name: str = "eth0") -> bool:
    return any(link.carrier for link in state.links if link.name == name)


async def cable_out_and_back(lab: Lab) -> None:
    await lab.host.unplug()
    await lab.sight.until(lambda state: not carries(state))
    await lab.host.plug()


async def cable_out(lab: Lab) -> None:
    await lab.host.unplug()
    await lab.sight.until(lambda state: not carries(state))


async def two_flaps_between_looks(lab: Lab) -> None:
    lab.hub("link set p1 down\nlink set p1 up\n" * 2)


async def down_and_up(lab: Lab) -> None:
    await lab.host.link_down()
    await lab.sight.until(lambda state: not carries(state))
    await lab.host.link_up()


async def new_lease_of_the_same_network(lab: Lab) -> None:
    await lab.host.move("10.77.0.77")


async def route_away_and_back(lab: Lab) -> None:
    lab.ip("route delete default\n")
    await lab.sight.until(lambda state: not state.routes)
    lab.ip("route add default via 10.77.0.1\n")


KNOWN = "neighbor replace 10.77.0.1 lladdr 02:00:00:00:00:01 dev eth0 nud {state}\n"


async def gateway_resolved(lab: Lab) -> None:
    lab.hub("link set br0 address 02:77:00:00:00:01\n")
    lab.ip("neighbor flush dev eth0\n")
    lab.say("10.77.0.1")


async def gateway_replaced(lab: Lab) -> None:
    """The router is another device: the host finds out when it asks again."""
    await lab.until_hardware("02:77:00:00:00:01")
    lab.hub("link set br0 address 02:77:00:00:00:02\n")
    lab.ip("neighbor flush dev eth0\n")
    lab.say("10.77.0.1")
    await lab.until_hardware("02:77:00:00:00:02")


async def gateway_asked_again(lab: Lab) -> None:
    await lab.until_hardware("02:77:00:00:00:01")
    lab.ip("neighbor flush dev eth0\n")
    await lab.sight.host.run("ip", "address", "add", "127.0.0.9/8", "dev", "lo")
    await lab.sight.until(lambda state: not state.neighbors)
    lab.say("10.77.0.1")
    await lab.until_hardware("02:77:00:00:00:01")


async def advertised(lab: Lab) -> None:
    """A router is there, and has given the host its address."""
    lab.router = await router.advertise(lab.network, "2001:db8:1::", lab.directory)
    await lab.router.start()
    await until(lambda: "2001:db8:1:" in addresses(lab.host) and "tentative" not in addresses(lab.host), "an address")


async def router_comes(lab: Lab) -> None:
    await advertised(lab)
    await lab.sight.until(lambda state: any(one.destination == DEFAULT_V6 and one.source for one in state.routes))


async def router_says_it_again(lab: Lab) -> None:
    before = lifetime(lab.host)
    await until(lambda: lifetime(lab.host) < before, "time goes")
    lower = lifetime(lab.host)
    await until(lambda: lifetime(lab.host) > lower, "another advertisement")


async def router_goes(lab: Lab) -> None:
    assert lab.router is not None
    await lab.router.stop()
    await lab.sight.until(lambda state: not any(one.destination == DEFAULT_V6 for one in state.routes))


def addresses(host: Host) -> str:
    shown = subprocess.run(("ip", "-n", host.namespace, "-6", "address", "show", "dev", "eth0"), capture_output=True)
    return shown.stdout.decode()


def lifetime(host: Host) -> int:
    """Seconds that the advertised default route is good for."""
    command = ("ip", "-n", host.namespace, "-6", "-j", "route", "show", "default")
    routes = json.loads(subprocess.run(command, capture_output=True, check=True).stdout or "[]")
    return max((int(one.get("expires", 0)) for one in routes), default=0)


SECOND = """link add {name} type veth peer name veth-{name}
link set veth-{name} up
address add 10.71.0.2/24 dev {name}
link set {name} up
route add default via 10.71.0.1 dev {name} metric 700
"""
CONTAINERS = """link add docker0 type bridge
address add 172.17.0.1/16 dev docker0
link set docker0 up
link add veth{n} type veth peer name ceth{n}
link set veth{n} master docker0 up
link set ceth{n} up
link delete veth{n}
link delete docker0
"""
TUN = "address add 10.8.0.2/32 dev tun0\nlink set tun0 up\n"
HALVES = TUN + "route add 0.0.0.0/1 dev tun0\nroute add 128.0.0.0/1 dev tun0\n"
WIREGUARD = "address add 10.9.0.2/32 dev wg0\nlink set wg0 up\n"
WG_QUICK = (
    WIREGUARD + "route add default dev wg0 table 51820\nrule add not fwmark 51820 lookup 51820\n"
    "rule add table main suppress_prefixlength 0\n"
)
BRIDGED = """link add br-lan type bridge
link set eth0 master br-lan
address flush dev eth0
link set br-lan up
address add 10.77.0.2/24 dev br-lan
route add default via 10.77.0.1 dev br-lan
"""
SIX_ONLY = """route delete default
address flush dev eth0 scope global
address add 2001:db8:6::2/64 dev eth0 nodad
route add default via fe80::1 dev eth0
"""
CLAT = """address add 192.0.0.4/32 dev clat
link set clat up
route add 0.0.0.0/0 dev clat metric 2048
"""
NEIGHBORS = "".join(
    f"neighbor {verb} 10.77.{n // 250}.{n % 250 + 3} {lladdr} dev eth0 {nud}\n"
    for verb, lladdr, nud in (("replace", "lladdr 02:00:00:00:01:00", "nud permanent"), ("delete", "", ""))
    for n in range(1000)
)
MANY = "".join(f"route add 198.18.{n // 250}.{n % 250 + 1}/32 dev eth0 table 99\n" for n in range(10_000))
OTHER_TABLE = "route add default via 10.71.0.1 dev eth1 table 100\n"
ETH1 = SECOND.format(name="eth1").replace("route add default via 10.71.0.1 dev eth1 metric 700\n", "")

V4, V6, ADDRESSES, CARRIER, ROUTER = "default v4", "default v6", "addresses", "carrier", "router"

TABLE = [
    Row("a cable is out and back", cable_out_and_back, [(CARRIER,)]),
    Row("a cable is out", cable_out),
    Row("a cable flaps twice between two looks", two_flaps_between_looks, [(CARRIER,)]),
    Row("a link is down", "link set eth0 down\n"),
    Row("a link is down and up", down_and_up, [(CARRIER,)]),
    Row("a second address", "address add 10.77.0.3/24 dev eth0\n", [(ADDRESSES,)]),
    Row("a second address goes", "address delete 10.77.0.3/24 dev eth0\n", [(ADDRESSES,)],
        before="address add 10.77.0.3/24 dev eth0\n"),
    Row("another address of the same network", new_lease_of_the_same_network, [(V4, ADDRESSES)]),
    Row("a lease is extended", "address change 10.77.0.2/24 dev eth0 valid_lft 3600 preferred_lft 1800\n"),
    Row("the only address is deprecated", "address change 10.77.0.2/24 dev eth0 valid_lft 3600 preferred_lft 0\n"),
    Row("an address of the loopback interface", "address add 127.0.0.9/8 dev lo\n"),
    Row("a default route goes", "route delete default\n", [(V4,)]),
    Row("a default route goes and is back", route_away_and_back, [()]),
    Row("a route to another network", "route add 198.51.100.0/24 via 10.77.0.254\n"),
    Row("a route that drops", "route add blackhole 198.51.100.0/24\n"),
    Row("two gateways share", "route replace default nexthop via 10.77.0.1 dev eth0 nexthop via 10.77.0.3 dev eth0\n",
        [(V4,)]),
    Row("a nexthop object", "nexthop add id 5 via 10.77.0.254 dev eth0\nroute replace default nhid 5\n", [(V4,)]),
    Row("halves of a default route", "route add 0.0.0.0/1 via 10.77.0.9\nroute add 128.0.0.0/1 via 10.77.0.9\n",
        [(V4,)]),
    Row("another gateway", "route replace default via 10.77.0.254 dev eth0\n", [(V4,)]),
    Row("a gateway is another device", gateway_replaced, [(ROUTER,)], before=gateway_resolved),
    Row("a gateway is forgotten and asked again", gateway_asked_again, before=gateway_resolved),
    Row("a gateway does not answer", KNOWN.format(state="failed"), before=KNOWN.format(state="reachable")),
    Row("a gateway's address is taken by another device", KNOWN.format(state="stale").replace("01 dev", "02 dev"),
        [(ROUTER,)], before=KNOWN.format(state="reachable")),
    Row("another host is another device", "neighbor replace 10.77.0.9 lladdr 02:00:00:00:00:08 dev eth0 nud stale\n",
        before="neighbor replace 10.77.0.9 lladdr 02:00:00:00:00:09 dev eth0 nud stale\n"),
    Row("a metric, and nothing else",
        "route add default via 10.77.0.1 dev eth0 metric 100\nroute delete default via 10.77.0.1 dev eth0 metric 0\n"),
    Row("a metric by which another uplink wins",
        "route add default via 10.71.0.1 dev eth1 metric 600\nroute add default via 10.77.0.1 dev eth0 metric 20100\n"
        "route delete default via 10.77.0.1 dev eth0 metric 0\n", [(V4,)], before=ETH1),
    Row("an MTU", "link set eth0 mtu 1400\n"),
    Row("a router advertises itself", router_comes, [(V6, ADDRESSES)]),
    Row("a router advertises itself again", router_says_it_again, before=advertised),
    Row("a router takes itself back", router_goes, [(V6,)], before=advertised),
    Row("a privacy address",
        "address add 2001:db8:6::abcd/64 dev eth0 nodad\naddress delete 2001:db8:6::2/64 dev eth0\n",
        before="address add 2001:db8:6::2/64 dev eth0 nodad\nroute add default via fe80::1 dev eth0\n"),
    Row("another prefix", "address add 2001:db8:7::2/64 dev eth0 nodad\n", [(ADDRESSES,)],
        before="address add 2001:db8:6::2/64 dev eth0 nodad\n"),
    Row("an uplink becomes the port of a bridge", BRIDGED, [(V4, ADDRESSES)]),
    Row("a guest joins the bridge",
        "link add guest0 type veth peer name veth-g\nlink set veth-g master br-lan up\nlink set guest0 up\n",
        before=BRIDGED),
    Row("a VLAN with an address", "link add eth0.5 type veth peer name veth-5\nlink set veth-5 up\nlink set eth0.5 up\n"
        "address add 10.5.0.2/24 dev eth0.5\n", [(ADDRESSES,)]),
    Row("a bond in place of the uplink", BRIDGED.replace("br-lan", "bond0"), [(V4, ADDRESSES)]),
    Row("containers come and go", CONTAINERS.format(n=1)),
    Row("a hundred veths come and go", "".join(CONTAINERS.format(n=number) for number in range(100))),
    Row("a tunnel comes", tunnel("tun0", TUN)),
    Row("a tunnel comes and goes", tunnel("tun0", HALVES + "link delete tun0\n")),
    Row("a VPN with halves", tunnel("tun0", HALVES)),
    Row("a VPN goes", "link delete tun0\n", before=tunnel("tun0", HALVES)),
    Row("WireGuard, wg-quick's way", tunnel("wg0", WG_QUICK)),
    Row("a rule for a mark", "rule add fwmark 7 lookup 100\n", before=ETH1 + OTHER_TABLE),
    Row("a rule for all", "rule add pref 100 lookup 100\n", [(V4,)], before=ETH1 + OTHER_TABLE),
    Row("a rule for all goes", "rule delete pref 100\n", [(V4,)],
        before=ETH1 + OTHER_TABLE + "rule add pref 100 lookup 100\n"),
    Row("10,000 routes come", MANY),
    Row("10,000 routes go", "route flush table 99\n", before=MANY),
    Row("an address among 10,000 routes", "address add 10.77.0.3/24 dev eth0\n", [(ADDRESSES,)], before=MANY),
    Row("USB tethering beside the cable", SECOND.format(name="usb0"), [(ADDRESSES,)]),
    Row("USB tethering takes over", cable_out, [(V4, ADDRESSES)], before=SECOND.format(name="usb0")),
    Row("a modem takes over", cable_out, [(V4, ADDRESSES)], before=SECOND.format(name="wwan0")),
    Row("an IPv6-only host gets another prefix",
        "address add 2001:db8:7::2/64 dev eth0 nodad\naddress delete 2001:db8:6::2/64 dev eth0\n",
        [(V6, ADDRESSES)], before=SIX_ONLY),
    Row("an IPv6-only host's cable is out and back", cable_out_and_back, [(CARRIER,)], before=SIX_ONLY),
    Row("a CLAT comes on an IPv6-only host", tunnel("clat", CLAT), [(V4, ADDRESSES)], before=SIX_ONLY),
    Row("a CLAT comes beside a way to IPv4", tunnel("clat", CLAT)),
    Row("a thousand neighbors come and go", NEIGHBORS),
    Row("NAT64's prefix on an IPv6-only host", "route add 64:ff9b::/96 via fe80::1 dev eth0\n", before=SIX_ONLY),
    Row("a way to a peer", "route add 198.51.100.0/24 via 10.77.0.254\n", [("peer 198.51.100.7",)],
        peers=("198.51.100.7:4433",)),
]  # fmt: skip


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncGenerator[Lab]:
    async with Network(hosts=1) as made:
        lab = Lab(made, made.hosts[0], tmp_path)
        yield lab
        for descriptor in lab.tunnels:
            os.close(descriptor)
        if lab.router is not None:
            await lab.router.stop()


async def carry_out(lab: Lab, change: Change) -> None:
    if isinstance(change, str):
        lab.ip(change)
    else:
        await change(lab)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
async def test_each_change_gives_the_reports_that_it_must(lab: Lab, row: Row) -> None:
    await carry_out(lab, row.before)
    async with sight_of(lab.host, peers=lambda: row.peers) as lab.seen:
        await carry_out(lab, row.change)
        assert [report.changes for _, report in await lab.sight.told()] == list(row.reports)


def test_the_table_is_long_enough() -> None:
    assert len({row.name for row in TABLE}) == len(TABLE) >= 40


async def test_a_lease_of_a_real_server_is_one_change_and_its_renewal_none(lab: Lab) -> None:
    async with dhcp.dhcp_server(lab.network, "10.77.0.1", lab.directory) as server, sight_of(lab.host) as lab.seen:
        await server.wait_for_text("DHCP, IP range", 30)

        def granted() -> int:
            return len([line for line in server.all("line") if "DHCPACK" in line["text"]])

        async with dhcp.lease_kept(lab.host, lab.directory) as client:
            await lab.sight.until(lambda state: any(one.address.startswith("10.77.0.1") for one in state.addresses))
            await lab.sight.until(lambda state: any(one.used for one in state.routes))
            assert [report.changes for _, report in await lab.sight.told()] == [(V4, ADDRESSES)]
            assert granted() == 1
            os.kill(client.pid, signal.SIGUSR1)
            await until(lambda: granted() == 2, "the lease is renewed")
            assert len(await lab.sight.told()) == 1
