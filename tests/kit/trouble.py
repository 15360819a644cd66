"""Troubles of real networks, hosts and processes, for measurements and end-to-end tests.

A trouble happens to a cluster, ends when its cause does, and leaves the cluster as it was or restores it (``tidy``), so
that any trouble can follow any other.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import TypeAlias

from tests.kit.cluster import Cluster
from tests.kit.network import GATEWAY, Host, Network

GATEWAYS = (GATEWAY, "192.168.50.1")
"""The router of a site, and the one that replaces it."""
TABLE = "100"
"""The routing table that a policy rule prefers."""
ONE, MOVED, SITE, SILENCE = 2.0, 8.0, 15.0, 60.0
"""Seconds within which all must be heard again: where one node is concerned; where its address changes, because iroh
trusts a path for 6.5 s; where a whole site is concerned; and where no event tells that packets pass again."""


class Shape(Enum):
    """Where the service, the watchers and the agents are."""

    HUB = "hub"
    """Every host has a watcher, every node an agent, and all report to one service."""
    SIDECAR = "sidecar"
    """The first host has them, for its own node only; the other nodes are bare."""


@dataclass(frozen=True, slots=True)
class Scene:
    """To what a trouble happens, and for how long."""

    cluster: Cluster
    number: int
    """The host and the node, counted from 0."""
    seconds: float
    chance: random.Random = field(default_factory=lambda: random.Random(0))

    @property
    def host(self) -> Host:
        """The host concerned."""
        return self.cluster.hosts[self.number]

    @property
    def network(self) -> Network:
        """The network of all hosts."""
        return self.cluster.network


Act: TypeAlias = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One kind of trouble. ``happen`` ends when its cause does, ``seconds`` later."""

    happen: Act
    lengths: tuple[tuple[float, float], ...]
    """Ranges of seconds, one of which is chosen."""
    bound: float = ONE
    """Seconds after the cause's end, and after ``tidy``, within which everybody hears everybody."""
    shapes: tuple[Shape, ...] = (Shape.HUB, Shape.SIDECAR)
    prepare: Act | None = None
    """Happens before, while all is well."""
    tidy: Act | None = None
    """Restores the cluster, a change of its own."""

    def length(self, chance: random.Random) -> float:
        """Choose its length (seconds)."""
        return chance.uniform(*chance.choice(self.lengths))


# The router, the VPN, the addresses: each begins and ends by a call of its own.


async def lose_router(hosts: Iterable[Host]) -> None:
    """Take the default route of every host; the local network goes on."""
    await asyncio.gather(*(_ip(host, "route", "delete", "default") for host in hosts))


async def regain_router(hosts: Iterable[Host]) -> None:
    """Put the default routes back."""
    await asyncio.gather(*(_ip(host, "route", "add", *_default(host)) for host in hosts))


async def connect_vpn(host: Host) -> None:
    """Let a tunnel that leads nowhere take the default route, as vpnc-script does, with a real tun device."""
    await _ip(host, "tuntap", "add", "dev", "tun0", "mode", "tun")
    await _ip(host, "address", "add", "10.8.0.2/32", "dev", "tun0")
    await _ip(host, "link", "set", "tun0", "up")
    await _ip(host, "route", "delete", "default")
    await _ip(host, "route", "add", "default", "dev", "tun0")


async def disconnect_vpn(host: Host) -> None:
    """Give the default route back."""
    await _ip(host, "link", "delete", "tun0")
    await _ip(host, "route", "add", *_default(host))


def new_address(host: Host, gateway: str) -> str:
    """The address that a host gets from this router."""
    return f"{gateway.rpartition('.')[0]}.{100 + host.number}"


async def move_to(host: Host, gateway: str) -> None:
    """Let a host have an address of this router's subnet."""
    await host.move(new_address(host, gateway), gateway)


# Troubles as a whole.


async def flap_twice(scene: Scene) -> None:
    """The agent suspends the node, and the link flaps again about when it resumes."""
    await _down(scene, scene.host)
    await asyncio.sleep(scene.chance.uniform(0.0, 6.0))
    await _down(scene, scene.host, seconds=scene.chance.uniform(0.05, 4.0))


async def link_down(scene: Scene) -> None:
    """The link of one host is down."""
    await _down(scene, scene.host)


async def two_links_down(scene: Scene) -> None:
    """The links of two hosts are down at once."""
    await _down(scene, scene.host, scene.cluster.hosts[(scene.number + 1) % len(scene.cluster.hosts)])


async def cable_cut(scene: Scene) -> None:
    """The cable between the bridges is cut, so no host has a link event."""
    await scene.network.cut()
    await asyncio.sleep(scene.seconds)
    await scene.network.heal()


async def lose(chains: tuple[str, ...], scene: Scene) -> None:
    """Packets of these chains are lost while the link is up: incoming ones, outgoing ones, or both."""
    await scene.host.drop(*chains)
    await asyncio.sleep(scene.seconds)
    await scene.host.mend()


async def node_frozen(scene: Scene) -> None:
    """The process of a node is suspended."""
    node = scene.cluster.nodes[scene.number]
    node.freeze()
    await asyncio.sleep(scene.seconds)
    node.thaw()


async def host_sleeps(scene: Scene) -> None:
    """The link is down and every process of the host is suspended, the service of a sidecar too.

    The clocks go on: no program can let only one host's clocks stand still.
    """
    processes = [scene.cluster.nodes[scene.number], *scene.cluster.watchers[scene.number : scene.number + 1]]
    if scene.cluster.controlled and len(scene.cluster.watchers) == 1:
        processes.append(scene.cluster.service)
    await scene.host.unplug()
    for process in processes:
        process.freeze()
    await asyncio.sleep(scene.seconds)
    for process in processes:
        process.thaw()
    await scene.host.plug()


async def service_ends(number: signal.Signals, scene: Scene) -> None:
    """The service ends by a signal, and is started again."""
    await scene.cluster.service.stop(number)
    await asyncio.sleep(scene.seconds)
    await scene.cluster.service.start()


async def watcher_killed(scene: Scene) -> None:
    """The watcher is killed before the link goes down, and started again after it is back."""
    watcher = scene.cluster.watchers[scene.number]
    await watcher.stop(signal.SIGKILL)
    await _down(scene, scene.host)
    await watcher.start()


async def router_dies(scene: Scene) -> None:
    """No host has a default route; the local network goes on."""
    await lose_router(scene.cluster.hosts)
    await asyncio.sleep(scene.seconds)
    await regain_router(scene.cluster.hosts)


async def vpn_full_tunnel(scene: Scene) -> None:
    """A tunnel takes the host's default route."""
    await connect_vpn(scene.host)
    await asyncio.sleep(scene.seconds)
    await disconnect_vpn(scene.host)


async def host_renumbered(scene: Scene) -> None:
    """The host gets another address in the same subnet, as by a new DHCP lease."""
    network, _, last = scene.host.address.rpartition(".")
    await scene.host.move(f"{network}.{int(last) ^ 64}", scene.host.gateway)
    await asyncio.sleep(scene.seconds)


async def renumbered_at_once(scene: Scene) -> None:
    """A new router: every host has an address in another subnet."""
    gateway = await _other_router(scene)
    await asyncio.gather(*(move_to(host, gateway) for host in scene.cluster.hosts))
    await asyncio.sleep(scene.seconds)


async def renumbered_staggered(scene: Scene) -> None:
    """The same, host by host; the two subnets do not reach each other."""
    gateway, hosts = await _other_router(scene), scene.cluster.hosts
    for host in hosts:
        await move_to(host, gateway)
        if host is not hosts[-1]:
            await asyncio.sleep(scene.seconds / (len(hosts) - 1))


async def plug_second_uplink(scene: Scene) -> None:
    """``wlan0``: a second plug in the hub, at a higher metric.

    Each of the two answers for its own address only, as uplinks into different networks do: otherwise the second one
    takes in what is sent to the first, and a black hole behind that is none.
    """
    network = scene.host.gateway.rpartition(".")[0]
    await scene.host.run("sh", "-c", "cd /proc/sys/net/ipv4/conf/all && echo 1 >arp_ignore && echo 2 >arp_announce")
    await scene.network.add_port(scene.host, "wlan0")
    await _ip(scene.host, "address", "add", f"{network}.{50 + scene.host.number}/24", "dev", "wlan0", "noprefixroute")
    await _ip(scene.host, "route", "add", f"{network}.0/24", "dev", "wlan0", "metric", "600")
    await _ip(scene.host, "route", "add", "default", "via", scene.host.gateway, "dev", "wlan0", "metric", "600")


async def uplink_by_metric(scene: Scene) -> None:
    """Behind the uplink is a black hole; then the second one is preferred by its metric, as NetworkManager does."""
    await scene.host.run("iptables", "-A", "INPUT", "-i", "eth0", "-j", "DROP")
    await scene.host.run("iptables", "-A", "OUTPUT", "-o", "eth0", "-j", "DROP")
    await asyncio.sleep(scene.seconds)
    await _ip(scene.host, "route", "add", *_default(scene.host), "metric", "20100")
    await _ip(scene.host, "route", "delete", *_default(scene.host), "metric", "0")
    await _ip(scene.host, "address", "delete", f"{scene.host.address}/24", "dev", "eth0")


async def unplug_second_uplink(scene: Scene) -> None:
    """The first uplink works again, and the second is gone."""
    await scene.host.mend()
    await _ip(scene.host, "address", "add", f"{scene.host.address}/24", "dev", "eth0")
    await _ip(scene.host, "route", "replace", *_default(scene.host))
    await _ip(scene.host, "link", "delete", "wlan0")


async def policy_routing(scene: Scene) -> None:
    """The host's default route moves to another table, by a rule."""
    network = scene.host.gateway.rpartition(".")[0]
    await _ip(scene.host, "route", "add", f"{network}.0/24", "dev", "eth0", "table", TABLE)
    await _ip(scene.host, "route", "add", *_default(scene.host), "table", TABLE)
    await _ip(scene.host, "rule", "add", "pref", "100", "lookup", TABLE)
    await _ip(scene.host, "route", "delete", "default")
    await asyncio.sleep(scene.seconds)


async def undo_policy_routing(scene: Scene) -> None:
    """The default route is back in the main table."""
    await regain_router([scene.host])
    await _ip(scene.host, "rule", "delete", "pref", "100")
    await _ip(scene.host, "route", "flush", "table", TABLE)


HUB = (Shape.HUB,)
TROUBLES: dict[str, Trouble] = {
    "link flaps": Trouble(happen=link_down, lengths=((0.05, 2.5),)),
    "link flaps twice": Trouble(happen=flap_twice, lengths=((3.0, 5.0),)),
    "link down": Trouble(happen=link_down, lengths=((2.8, 3.3), (4, 12), (30, 45))),
    "two links down": Trouble(happen=two_links_down, lengths=((2, 20),), bound=SITE, shapes=HUB),
    "cable cut": Trouble(happen=cable_cut, lengths=((3, 60),), bound=SILENCE, shapes=HUB),
    "incoming lost": Trouble(happen=partial(lose, ("INPUT",)), lengths=((5, 50),), bound=SILENCE),
    "outgoing lost": Trouble(happen=partial(lose, ("OUTPUT",)), lengths=((5, 50),), bound=SILENCE),
    "both lost": Trouble(happen=partial(lose, ("INPUT", "OUTPUT")), lengths=((5, 50),), bound=SILENCE),
    "silent 75 s black hole": Trouble(happen=partial(lose, ("INPUT", "OUTPUT")), lengths=((75, 75),), bound=SILENCE),
    "node frozen": Trouble(happen=node_frozen, lengths=((2, 40),), bound=SILENCE),
    "host sleeps": Trouble(happen=host_sleeps, lengths=((5, 20), (35, 50))),
    "service killed": Trouble(happen=partial(service_ends, signal.SIGKILL), lengths=((0, 3),)),
    "service restarted": Trouble(happen=partial(service_ends, signal.SIGTERM), lengths=((0, 10),)),
    # Nobody reports the change, so the service has to find the partition.
    "watcher killed": Trouble(happen=watcher_killed, lengths=((0.1, 5), (30, 40)), bound=SITE),
    "router dies": Trouble(happen=router_dies, lengths=((5, 30),)),
    "VPN full tunnel": Trouble(happen=vpn_full_tunnel, lengths=((5, 20),)),
    "host renumbered": Trouble(happen=host_renumbered, lengths=((0, 0),), bound=MOVED),
    "site renumbered at once": Trouble(happen=renumbered_at_once, lengths=((0, 0),), bound=SITE, shapes=HUB),
    "site renumbered staggered": Trouble(happen=renumbered_staggered, lengths=((5, 25),), bound=SITE, shapes=HUB),
    "uplink by metric": Trouble(
        happen=uplink_by_metric, lengths=((5, 10), (75, 75)), bound=MOVED,
        prepare=plug_second_uplink, tidy=unplug_second_uplink,
    ),
    "policy routing": Trouble(happen=policy_routing, lengths=((5, 20),), tidy=undo_policy_routing),
}  # fmt: skip


async def _down(scene: Scene, *hosts: Host, seconds: float | None = None) -> None:
    await asyncio.gather(*(host.link_down() for host in hosts))
    await asyncio.sleep(scene.seconds if seconds is None else seconds)
    await asyncio.gather(*(host.link_up() for host in hosts))


async def _other_router(scene: Scene) -> str:
    """The gateway of the subnet in which the hosts are not; the network has it from now on."""
    gateway = next(one for one in GATEWAYS if one != scene.cluster.hosts[0].gateway)
    await scene.network.add_subnet(gateway)
    return gateway


def _default(host: Host) -> tuple[str, ...]:
    return ("default", "via", host.gateway, "dev", "eth0")


async def _ip(host: Host, *arguments: str) -> None:
    await host.run("ip", *arguments)
