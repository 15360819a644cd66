from __future__ import annotations

import asyncio
from contextlib import aclosing

from gossipcontrol.watch.fingerprint import Fingerprint, take_fingerprint
from gossipcontrol.watch.polling import PollingSource, take_snapshot
from gossipcontrol.watch.scope import Filter

from tests.kit.network import Host, Network, needs_namespaces
from tests.watch.lab import inside


def seen_from(host: Host, peers: tuple[str, ...] = (), known: tuple[str, ...] = ()) -> Fingerprint:
    with inside(host):
        return take_fingerprint(take_snapshot(peers, known), Filter.default())


@needs_namespaces
async def test_it_sees_the_address_that_packets_leave_from() -> None:
    async with Network(hosts=1) as network:
        host = network.hosts[0]
        home = seen_from(host)
        await host.move("10.77.0.77")
        away = seen_from(host)
        await host.link_down()
        none = seen_from(host)
    assert home.describe() == "out0 via link; 10.77.0.2"
    assert away.describe() == "out0 via link; 10.77.0.77"
    assert not none.reachable


@needs_namespaces
async def test_without_a_default_route_a_peer_or_an_address_known_before_shows_that_peers_can_be_reached() -> None:
    """irungentoo/toxcore#1215: the router is gone, the LAN is not. Elsewhere than on Linux this source is the only."""
    async with Network(hosts=1) as network:
        host = network.hosts[0]
        await host.run("ip", "route", "delete", "default")
        assert not seen_from(host).reachable
        assert seen_from(host, peers=("10.77.0.9",)).reachable
        assert seen_from(host, known=("10.77.0.2",)).reachable
        assert not seen_from(host, known=("10.77.0.200",)).reachable


async def test_it_looks_at_once_when_it_is_woken() -> None:
    source = PollingSource(3600.0)
    async with asyncio.timeout(20), aclosing(source.watch()) as states:
        first = await anext(states)
        source.wake()
        assert (await anext(states)).peers == first.peers


async def test_it_looks_again_after_the_interval() -> None:
    async with asyncio.timeout(20), aclosing(PollingSource(0.01).watch()) as states:
        for _ in range(3):
            await anext(states)
