"""A node is suspended while no peer of it can be reached, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from gossipcontrol.agent.outage_guard import GRACE, OutageGuard

from tests.kit.until import until


class Sleeper:
    """Sleeps that end when the test says so."""

    def __init__(self) -> None:
        self.asleep: list[tuple[float, asyncio.Event]] = []

    async def __call__(self, seconds: float) -> None:
        sleep = (seconds, asyncio.Event())
        self.asleep.append(sleep)
        try:
            await sleep[1].wait()
        finally:
            self.asleep.remove(sleep)

    async def sleeps(self, seconds: float) -> None:
        """Wait until all sleep that is under way is one of so many seconds."""
        await until(lambda: [length for length, _ in self.asleep] == [seconds], f"it sleeps for {seconds:g} s")

    async def over(self, seconds: float) -> None:
        """End it."""
        await self.sleeps(seconds)
        self.asleep[0][1].set()


class SuspendableNode:
    """A node that is suspended or not; who else resumes it says so."""

    def __init__(self) -> None:
        self.suspended = False

    async def suspend(self) -> None:
        self.suspended = True

    async def resume(self) -> None:
        self.suspended = False


@asynccontextmanager
async def outage() -> AsyncGenerator[tuple[OutageGuard, SuspendableNode, Sleeper]]:
    node, sleeper = SuspendableNode(), Sleeper()
    made = OutageGuard(node, sleeper)
    try:
        yield made, node, sleeper
    finally:
        made.close()


async def test_a_node_is_suspended_when_an_outage_lasts_and_resumes_at_once_when_it_ends() -> None:
    async with outage() as (made, node, sleeper):
        made.lost()
        await sleeper.over(GRACE)
        await until(lambda: node.suspended, "the outage lasts")
        made.back()
        await until(lambda: not node.suspended, "the network is back")
        assert sleeper.asleep == []


async def test_a_short_outage_suspends_nothing() -> None:
    async with outage() as (made, node, sleeper):
        made.lost()
        await sleeper.sleeps(GRACE)
        made.back()
        await until(lambda: sleeper.asleep == [], "nothing is planned any more")
        assert not node.suspended


async def test_a_node_that_a_rejoin_resumes_during_an_outage_is_suspended_again() -> None:
    async with outage() as (made, node, sleeper):
        made.lost()
        for _ in range(2):
            await sleeper.over(GRACE)
            await until(lambda: node.suspended, "there is no network")
            await node.resume()


async def test_a_network_that_is_lost_again_at_once_is_waited_for() -> None:
    async with outage() as (made, node, sleeper):
        made.lost()
        await sleeper.over(GRACE)
        await until(lambda: node.suspended, "the outage lasts")
        made.back()
        made.lost()
        await sleeper.sleeps(GRACE)
        assert node.suspended
