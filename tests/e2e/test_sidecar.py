"""One node beside its own service, and bare peers: what nobody else observes is healed too.

The seed's own case: new local data to sync, and no online peers.
"""

from __future__ import annotations

import asyncio
import time

import pytest
from gossipcontrol.client import Cause, Client, RejoinRecord, Rung

from tests.kit.swarm import Swarm
from tests.kit.trouble import SILENCE, SITE, TROUBLES, Scene
from tests.kit.until import until

HOLE = 75.0
"""Seconds: the transport drops its peers after 30, dials them, and the dial fails after 30 more."""
SETTLED = 8.0


async def listed(swarm: Swarm) -> list[RejoinRecord]:
    async with Client(swarm.address) as client:
        return [one async for one in client.list_rejoins()]


@pytest.mark.waits(90)
async def test_a_silent_outage_of_more_than_a_minute_is_healed(swarm: Swarm) -> None:
    """Reports: 0xPolygon/polygon-edge#246, logos-blockchain/logos-blockchain#3294, multiversx/mx-chain-go#964.

    Bare nodes sit passive until somebody restarts them.
    """
    await TROUBLES["silent 75 s black hole"].happen(Scene(swarm, 0, HOLE))
    await swarm.until_all_heard(time.time(), SILENCE)
    rejoins = await listed(swarm)
    # The peers are bare and the watcher saw nothing: only the silence can have started them.
    causes = {trigger.cause for one in rejoins for trigger in one.triggers}
    assert causes, "none was started"
    assert causes <= {Cause.ISOLATED, Cause.SUSPICION}, rejoins

    async def nobody_is_away() -> bool:
        return await swarm.called_away() == []

    await until(nobody_is_away, "nobody is called asleep or offline", SITE)


@pytest.mark.waits(90)
async def test_one_of_two_peers_that_fell_silent_is_rejoined_and_costs_no_link_to_the_other(swarm: Swarm) -> None:
    """Bare nodes hear one peer and stay apart from the other: both sides dialled in vain while it was cut off."""
    since = time.time()
    await TROUBLES["silent 75 s black hole"].happen(Scene(swarm, 2, HOLE))
    await swarm.until_all_heard(time.time(), SILENCE)
    rejoins = await listed(swarm)
    assert {trigger.cause for one in rejoins for trigger in one.triggers} == {Cause.PARTITION}, rejoins
    assert {one.rung for one in rejoins} == {Rung.REJOIN}, rejoins
    assert swarm.node.all("down", after=since, peer=swarm.ids[1]) == []


@pytest.mark.waits(95)
async def test_another_uplink_is_preferred_by_its_metric_after_a_black_hole(swarm: Swarm) -> None:
    """Reports: balena-os/meta-balena#1199 and #3016, NetworkConfiguration/dhcpcd#98.

    NetworkManager adds 20000 to the metric of an uplink behind which it reaches nothing.
    """
    trouble, scene = TROUBLES["uplink by metric"], Scene(swarm, 0, HOLE)
    assert trouble.prepare is not None
    await trouble.prepare(scene)
    await asyncio.sleep(SETTLED)  # the peers learn of the second address: a condition of the trouble
    since = time.time()
    await trouble.happen(scene)
    await swarm.until_all_heard(time.time(), SITE)
    assert swarm.watcher.all("change", after=since)
