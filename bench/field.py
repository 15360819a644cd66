"""What troubles of real networks cost: messages heard per node during and after each, with GossipControl and bare.

Three iroh-gossip nodes on hosts of their own; the same trouble happens to a fleet in which every host has a watcher and
every node an agent, and at the same moment to a bare one. In the sidecar shape only the first host has them.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from gossipcontrol.client import Client, PeerState

from bench.report import Figure, arguments, at_least, at_most, show
from tests.kit.cluster import STORE, Cluster
from tests.kit.fleet import Fleet
from tests.kit.network import Host, Network, what_is_missing
from tests.kit.swarm import Swarm

HEARTBEAT = 0.5
"""Seconds between two messages of each node."""
ONE, SITE = 2.0, 15.0
"""Seconds within which all must be heard again: where one node is concerned, and a whole site."""
WATCHED_FOR = 30.0
"""Seconds for which messages are counted after the cause's end."""
LUCK = 0.95
"""A node hears no fewer messages than a bare one if it hears this share: two runs differ by a beat or two."""
SETTLED = 8.0
"""Seconds before the trouble in which the overlay mixes."""

Group: TypeAlias = Fleet | Swarm


@dataclass(frozen=True, slots=True)
class Trouble:
    """One trouble: ``happen`` ends when its cause does."""

    happen: Callable[[Network, float], Awaitable[None]]
    seconds: float
    whole_site: bool = False
    sidecar: bool = False
    prepare: Callable[[Network], Awaitable[None]] | None = None
    """Happens before the overlay settles."""

    @property
    def target(self) -> float:
        """Seconds within which it must be healed."""
        return SITE if self.whole_site else ONE


async def router_dies(network: Network, seconds: float) -> None:
    """No host has a default route; the local network goes on."""
    await asyncio.gather(*(_ip(host, "route", "del", "default") for host in network.hosts))
    await asyncio.sleep(seconds)
    await asyncio.gather(*(_ip(host, "route", "add", "default", "via", "10.77.0.1") for host in network.hosts))


async def vpn_full_tunnel(network: Network, seconds: float) -> None:
    """A tunnel takes the first host's default route."""
    host = network.hosts[0]
    await _ip(host, "link", "add", "tun0", "type", "veth", "peer", "name", "tun0far")  # which takes all and gives none
    await _ip(host, "link", "set", "tun0far", "up")
    await _ip(host, "address", "add", "10.99.0.2/24", "dev", "tun0")
    await _ip(host, "link", "set", "tun0", "up")
    await _ip(host, "route", "replace", "default", "dev", "tun0")
    await asyncio.sleep(seconds)
    await _ip(host, "route", "replace", "default", "via", "10.77.0.1", "dev", "eth0")
    await _ip(host, "link", "del", "tun0")


async def renumbered_at_once(network: Network, seconds: float) -> None:
    """A new router: every host has an address in another subnet."""
    del seconds
    await network.add_subnet("192.168.50.1")
    await asyncio.gather(*(_renumber(host) for host in network.hosts))


async def renumbered_staggered(network: Network, seconds: float) -> None:
    """The same, host by host; the two subnets do not reach each other."""
    await network.add_subnet("192.168.50.1")
    for host in network.hosts:
        await _renumber(host)
        if host is not network.hosts[-1]:
            await asyncio.sleep(seconds / (len(network.hosts) - 1))


async def uplink_by_metric(network: Network, seconds: float) -> None:
    """Behind the first host's uplink is a black hole; then another uplink is preferred by its metric."""
    host = network.hosts[0]
    await host.run("iptables", "-A", "INPUT", "-i", "eth0", "-j", "DROP")
    await host.run("iptables", "-A", "OUTPUT", "-o", "eth0", "-j", "DROP")
    await asyncio.sleep(seconds)
    await _ip(host, "route", "add", "default", "via", "10.77.0.1", "dev", "eth0", "metric", "20100")
    await _ip(host, "route", "del", "default", "via", "10.77.0.1", "dev", "eth0")
    await _ip(host, "address", "del", f"{host.address}/24", "dev", "eth0")


async def silent_black_hole(network: Network, seconds: float) -> None:
    """Every packet of the first host is lost, and no link says so."""
    await network.hosts[0].drop("INPUT", "OUTPUT")
    await asyncio.sleep(seconds)
    await network.hosts[0].mend()


async def policy_routing(network: Network, seconds: float) -> None:
    """The first host's default route moves to another table, by a rule."""
    host = network.hosts[0]
    await _ip(host, "route", "add", "default", "via", "10.77.0.1", "dev", "eth0", "table", "100")
    await _ip(host, "route", "add", "10.77.0.0/24", "dev", "eth0", "table", "100")
    await _ip(host, "rule", "add", "pref", "100", "lookup", "100")
    await _ip(host, "route", "del", "default")
    await asyncio.sleep(seconds)


async def _ip(host: Host, *arguments: str) -> None:
    await host.run("ip", *arguments)


async def _renumber(host: Host) -> None:
    await host.move(f"192.168.50.{100 + host.number}", "192.168.50.1")


async def second_uplink(network: Network) -> None:
    """``wlan0`` of the first host: a second plug in the hub, at a higher metric."""
    host = network.hosts[0]
    await network.add_port(host, "wlan0")
    await _ip(host, "address", "add", f"10.77.0.{100 + host.number}/24", "dev", "wlan0", "noprefixroute")
    await _ip(host, "route", "add", "10.77.0.0/24", "dev", "wlan0", "metric", "600")
    await _ip(host, "route", "add", "default", "via", "10.77.0.1", "dev", "wlan0", "metric", "600")


TROUBLES = {
    "router dies": Trouble(router_dies, 30.0),
    "VPN full tunnel": Trouble(vpn_full_tunnel, 20.0),
    "site renumbered at once": Trouble(renumbered_at_once, 0.0, whole_site=True),
    "site renumbered staggered": Trouble(renumbered_staggered, 10.0, whole_site=True),
    "uplink by metric": Trouble(uplink_by_metric, 75.0, sidecar=True, prepare=second_uplink),
    "silent 75 s black hole": Trouble(silent_black_hole, 75.0, sidecar=True),
    "policy routing": Trouble(policy_routing, 20.0),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the nodes of one group heard."""

    during: list[int]
    after: list[int]
    """Messages heard by each node while the cause lasted, and in the time after its end."""
    healed: float | None
    """Seconds from the cause's end until everybody had heard everybody; None: not in that time."""
    misjudged: int
    """Times that a node which ran all the while was called asleep or offline after the trouble had to be over."""


async def suffer(trouble: Trouble, group: Group, watched_for: float) -> Outcome:
    """Let one trouble happen to one group."""
    began_at = time.time()
    await trouble.happen(group.network, trouble.seconds)
    over_at = time.time()
    try:
        healed = await _until_heard(group, over_at, watched_for) - over_at
    except TimeoutError:
        healed = None
    await asyncio.sleep(max(0.0, over_at + watched_for - time.time()))
    misjudged = await _misjudged(group) if group.controlled else 0
    return Outcome(
        [len(node.all("heard", after=began_at)) - len(node.all("heard", after=over_at)) for node in group.nodes],
        [len(node.all("heard", after=over_at)) for node in group.nodes],
        healed,
        misjudged,
    )


async def _until_heard(group: Cluster, since: float, within: float) -> float:
    """When everybody had heard everybody since an instant (wall clock)."""
    heard = await asyncio.gather(
        *(
            node.wait_for("heard", within, after=since, peer=peer_id)
            for node, node_id in zip(group.nodes, group.ids, strict=True)
            for peer_id in group.ids
            if peer_id != node_id
        )
    )
    return max(float(said["ts"]) for said in heard)


async def _misjudged(group: Cluster) -> int:
    async with Client(group.address) as client:
        peers = [peer async for peer in client.list_peers(STORE)]
    return sum(peer.peer_id in group.ids and peer.state in (PeerState.ASLEEP, PeerState.OFFLINE) for peer in peers)


async def measure_one(trouble: Trouble, watched_for: float) -> tuple[Outcome, Outcome]:
    """The same trouble at the same moment, with and bare."""
    async with AsyncExitStack() as stack:
        groups: list[Group] = []
        for control in (True, False):
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gossipcontrol-")))
            if trouble.sidecar:
                groups.append(Swarm(directory, control=control, heartbeat=HEARTBEAT))
            else:
                groups.append(Fleet(directory, near=3, control=control, heartbeat=HEARTBEAT, watched=control))
        await asyncio.gather(*(stack.enter_async_context(group) for group in groups))
        if trouble.prepare is not None:
            await asyncio.gather(*(trouble.prepare(group.network) for group in groups))
        await asyncio.sleep(SETTLED)
        with_it, bare = await asyncio.gather(*(suffer(trouble, group, watched_for) for group in groups))
    return with_it, bare


def figures(name: str, trouble: Trouble, with_it: Outcome, bare: Outcome) -> dict[str, Figure]:
    """Of one trouble."""
    shown: dict[str, Figure] = {}
    if trouble.seconds:
        shown[f"{name}: heard during, bare"] = Figure(min(bare.during), "by the node that heard least")
        shown[f"{name}: heard during, with"] = at_least(min(with_it.during), "", LUCK * min(bare.during))
    shown[f"{name}: heard after, bare"] = Figure(min(bare.after), "by the node that heard least")
    shown[f"{name}: heard after, with"] = at_least(min(with_it.after), "", LUCK * min(bare.after))
    shown[f"{name}: healed, bare"] = Figure(bare.healed, "s")
    shown[f"{name}: healed, with"] = at_most(with_it.healed, "s", trouble.target)
    shown[f"{name}: called asleep or offline in the end"] = at_most(with_it.misjudged, "nodes", 0)
    return shown


async def measure(names: list[str], watched_for: float, quick: bool) -> dict[str, Figure]:
    """Each trouble in turn."""
    shown: dict[str, Figure] = {}
    for name in names:
        trouble = TROUBLES[name]
        if quick:
            trouble = replace(trouble, seconds=min(trouble.seconds, 10.0))
        with_it, bare = await measure_one(trouble, watched_for)
        print(f"{name}: with {with_it}, bare {bare}", file=sys.stderr, flush=True)
        shown |= figures(name, trouble, with_it, bare)
    return shown


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=TROUBLES, action="append", help="this trouble; may be given several times")
    chosen = parser.parse_args()
    if missing := what_is_missing():
        sys.exit(missing)
    watched_for = SITE + 1 if chosen.quick else WATCHED_FOR
    names: list[str] = chosen.only or list(TROUBLES)
    show("field", asyncio.run(measure(names, watched_for, chosen.quick)), chosen.as_json)


if __name__ == "__main__":
    main()
