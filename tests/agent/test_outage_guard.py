"""A node is suspended while its host has no default route, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from gossipcontrol.agent.outage_guard import GRACE, PATIENCE, OutageGuard
from gossipcontrol.client.clock import boottime
from gossipcontrol.watch.change import Change, ChangeKind

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


def seen(kind: ChangeKind) -> Change:
    """A change that is seen now."""
    return Change(kind, 1, "", boottime())


async def test_a_node_is_suspended_when_an_outage_lasts_and_resumes_alone_when_it_is_over() -> None:
    async with outage() as (made, node, sleeper):
        made.route_lost()
        await sleeper.over(GRACE)
        await until(lambda: node.suspended, "the outage lasts")
        made.observe(seen(ChangeKind.CHANGED))
        await sleeper.over(PATIENCE)
        await until(lambda: not node.suspended, "no rejoin came")


async def test_a_short_outage_suspends_nothing() -> None:
    async with outage() as (made, node, sleeper):
        made.route_lost()
        await sleeper.sleeps(GRACE)
        made.observe(seen(ChangeKind.CHANGED))
        await sleeper.sleeps(PATIENCE)
        assert not node.suspended


@pytest.mark.parametrize("kind", [ChangeKind.RESUMED, ChangeKind.SLEEPING])
async def test_who_wakes_or_falls_asleep_without_a_default_route_is_suspended_all_the_same(kind: ChangeKind) -> None:
    async with outage() as (made, node, sleeper):
        made.route_lost()
        await sleeper.sleeps(GRACE)
        made.observe(seen(kind))
        await sleeper.over(GRACE)
        await until(lambda: node.suspended, "there is no default route")


async def test_a_node_that_a_rejoin_resumes_without_a_default_route_is_suspended_again() -> None:
    async with outage() as (made, node, sleeper):
        made.route_lost()
        for _ in range(2):
            await sleeper.over(GRACE)
            await until(lambda: node.suspended, "there is no default route")
            await node.resume()


async def test_a_default_route_that_was_seen_before_the_loss_is_gone() -> None:
    async with outage() as (made, node, sleeper):
        before = seen(ChangeKind.CHANGED)
        made.route_lost()
        made.observe(Change(before.kind, before.generation, before.detail, before.seen_at - 1))
        await sleeper.over(GRACE)
        await until(lambda: node.suspended, "there is no default route")
