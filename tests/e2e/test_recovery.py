"""The main job: the network of a host changes, and its real iroh-gossip node returns to the overlay."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest
from gossipcontrol.client import Cause, Client, Outcome, RejoinRecord

from tests.kit.swarm import Swarm

GIVEN_UP = 90.0
"""Seconds within which the transport drops a silent peer; about 30 here, 56 in other measurements."""
SOON = 30.0
"""Seconds for what takes milliseconds on a quiet machine."""
BEATS = 16
"""Messages, two per second, that take longer than the window of 6 s: a trailing rejoin has run by then."""


async def rejoins(swarm: Swarm) -> list[RejoinRecord]:
    """All rejoins that ran.

    One that was parked before its stores were known became one per store. A suspicion that came while the node had
    just rejoined waits for a window and is skipped, because neighbours are there by then.
    """
    never_ran = (Outcome.SPLIT, Outcome.SKIPPED)
    async with Client(swarm.address) as client:
        return [one async for one in client.list_rejoins() if one.outcome not in never_ran]


async def check_that_it_recovered(swarm: Swarm, since: float) -> None:
    """Messages arrive in both directions, after one leading and at most one trailing rejoin, both verified."""
    await swarm.node.wait_for("up", SOON, after=since)
    await swarm.node.wait_for("heard", SOON, after=since, peer=swarm.ids[-1])
    await swarm.others[-1].wait_for("heard", SOON, after=since, peer=swarm.ids[0])
    await check_the_rejoins(swarm)


async def check_the_rejoins(swarm: Swarm) -> None:
    await swarm.wait_for_beats(BEATS, SOON)
    ended = await rejoins(swarm)
    assert 1 <= len(ended) <= 2, ended
    assert [one.outcome for one in ended] == [Outcome.VERIFIED] * len(ended), ended
    causes = {trigger.cause for one in ended for trigger in one.triggers}
    # A probe may reach a peer in the moment in which the node rejoins: that trigger shares the trailing rejoin.
    assert {Cause.NETWORK_CHANGE} <= causes <= {Cause.NETWORK_CHANGE, Cause.ISOLATED}
    assert {(one.node_id, one.store_id, one.attempts) for one in ended} == {(swarm.ids[0], "notes", 1)}


@pytest.mark.waits(50)
async def test_a_link_that_was_down_for_longer_than_the_idle_timeout(swarm: Swarm) -> None:
    await swarm.host.link_down()
    await swarm.wait_for_loss(GIVEN_UP)
    since = time.time()
    await swarm.host.link_up()
    await check_that_it_recovered(swarm, since)
    assert len(swarm.watcher.all("delivered")) == 1


@pytest.mark.waits(50)
async def test_a_cable_that_was_pulled(swarm: Swarm) -> None:
    await swarm.host.unplug()
    await swarm.wait_for_loss(GIVEN_UP)
    since = time.time()
    await swarm.host.plug()
    await check_that_it_recovered(swarm, since)


@pytest.mark.waits(55)
async def test_the_service_is_killed_and_comes_back_after_the_link(swarm: Swarm) -> None:
    await swarm.host.link_down()
    await swarm.wait_for_loss(GIVEN_UP)
    await swarm.service.stop(signal.SIGKILL)
    since = time.time()
    await swarm.host.link_up()
    await swarm.watcher.wait_for("undelivered", SOON, after=since)
    await swarm.service.start()
    await swarm.watcher.wait_for("delivered", SOON, after=since)
    await swarm.node.wait_for("command", SOON, after=since)
    await check_that_it_recovered(swarm, since)
    assert len(swarm.watcher.all("delivered")) == 1


@pytest.mark.waits(50)
async def test_the_agents_stream_dies_during_the_cut(swarm: Swarm) -> None:
    await swarm.host.link_down()
    os.kill(swarm.service.pid, signal.SIGSTOP)
    # The agent's keepalive detects it: a frozen service neither answers nor closes anything.
    await swarm.node.wait_for("detached", SOON)
    os.kill(swarm.service.pid, signal.SIGCONT)
    attached = swarm.node.all("attached")[-1]
    await swarm.node.wait_for("attached", SOON, after=float(attached["ts"]))
    await swarm.wait_for_loss(GIVEN_UP)
    since = time.time()
    await swarm.host.link_up()
    await check_that_it_recovered(swarm, since)


@pytest.mark.waits(25)
async def test_another_address_instead_of_a_lost_link(swarm: Swarm) -> None:
    since = time.time()
    await swarm.host.move("10.77.0.200")
    await swarm.watcher.wait_for("delivered", SOON, after=since)
    await swarm.node.wait_for("command", SOON, after=since)
    moved = time.time()
    await swarm.node.wait_for("heard", SOON, after=moved, peer=swarm.ids[-1])
    await swarm.others[-1].wait_for("heard", SOON, after=moved, peer=swarm.ids[0])
    await check_the_rejoins(swarm)


@pytest.mark.waits(20)
async def test_a_flap_of_100_ms(swarm: Swarm) -> None:
    since = time.time()
    await swarm.host.link_down()
    await asyncio.sleep(0.1)  # the length of the flap is the stimulus
    await swarm.host.link_up()
    await swarm.watcher.wait_for("delivered", SOON, after=since)
    await swarm.node.wait_for("command", SOON, after=since)
    await swarm.node.wait_for("heard", SOON, after=since + 0.1, peer=swarm.ids[-1])
    await check_the_rejoins(swarm)
