"""The registered addresses follow the node's, however late the node learns of a change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from gossipcontrol.agent import Agent
from gossipcontrol.agent.dialable import DialableAddresses
from gossipcontrol.agent.faults import Faults
from gossipcontrol.agent.own_addresses import LONGEST, SETTLED, STEP, OwnAddresses
from gossipcontrol.v1 import attach_pb2, decision_pb2

from tests.agent.fake import Clock, FakeNode
from tests.agent.script import scripted
from tests.kit.until import until


class SlowNode(FakeNode):
    """Names other addresses as its clock goes on; only after it was asked to read them."""

    def __init__(self, clock: Clock, *then: tuple[float, Sequence[str]]) -> None:
        super().__init__("n", "a")
        self._clock = clock
        self._then = then
        self._known: Sequence[str] = ()
        self.reads = 0
        self.failure: Exception | None = None

    async def refresh_addresses(self) -> None:
        self.reads += 1
        if self.failure is not None:
            raise self.failure
        self._known = [addresses for at, addresses in self._then if at <= self._clock.now][-1]

    def addresses(self) -> Sequence[str]:
        return self._known


class Following:
    """Own addresses whose time is set by hand, and what they registered when."""

    def __init__(self, *then: tuple[float, Sequence[str]]) -> None:
        self.clock = Clock()
        self.node = SlowNode(self.clock, *((self.clock.now + at, addresses) for at, addresses in then))
        self.faults = Faults()
        self.registered: list[tuple[float, tuple[str, ...]]] = []
        self._began_at = self.clock.now
        self._turn = asyncio.Semaphore(0)
        self.own = OwnAddresses(
            self.node, self._register, self.faults,
            dialable=DialableAddresses(lambda ip: True), clock=self.clock, sleep=self._sleep,
        )  # fmt: skip

    def _register(self) -> None:
        self.registered.append((self.clock.now - self._began_at, self.own.read()))

    async def _sleep(self, seconds: float) -> None:
        await self._turn.acquire()
        self.clock.now += seconds

    async def steps(self, seconds: float) -> None:
        """Let so much time pass."""
        for _ in range(round(seconds / STEP)):
            self._turn.release()
            for _ in range(10):  # the loop has as many steps to make
                await asyncio.sleep(0)


@asynccontextmanager
async def following(*then: tuple[float, Sequence[str]]) -> AsyncGenerator[Following]:
    made = Following(*then)
    task = asyncio.create_task(made.own.run())
    try:
        yield made
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_change_is_confirmed_at_once_followed_until_it_has_settled_and_confirmed_again() -> None:
    old, none, new = ["10.0.0.1:1"], ["127.0.0.1:1", "[::1]:2"], ["192.168.50.1:1"]
    async with following((0, old), (1, none), (3, new)) as made:
        made.own.network_changed()
        await made.steps(20)
        assert made.registered == [(0, tuple(old)), (1, ()), (3, tuple(new)), (3 + SETTLED, tuple(new))]
        reads = made.node.reads
        await made.steps(20)
        assert made.node.reads == reads, "settled addresses are left alone"


async def test_a_change_that_no_watcher_saw_is_found_with_the_next_report() -> None:
    async with following((0, ["10.0.0.1:1"]), (5, ["10.0.0.2:1"])) as made:
        await made.own.refresh()
        made.own.read()
        made.own.look()
        await made.steps(1)
        assert made.registered == []
        made.clock.now += 6
        made.own.look()
        await made.steps(1)
        assert [addresses for _, addresses in made.registered] == [("10.0.0.2:1",)]


async def test_addresses_that_never_settle_are_not_followed_for_ever() -> None:
    async with following(*((at / 2, [f"10.0.0.{at}:1"]) for at in range(1000))) as made:
        made.own.network_changed()
        await made.steps(200)
        assert LONGEST / STEP <= len(made.registered) <= LONGEST / STEP + 1


async def test_a_node_that_raises_keeps_what_is_registered() -> None:
    async with following((0, ["10.0.0.1:1"])) as made:
        await made.own.refresh()
        made.own.read()
        made.node.failure = OSError("no")
        made.own.look()
        await made.steps(2)
        assert made.registered == []
        assert made.faults.stats.node_errors == 1


class MovingNode(FakeNode):
    """Has another address as soon as it is moved."""

    where = "192.0.2.1:4"

    def addresses(self) -> Sequence[str]:
        return (self.where, "127.0.0.1:4")


async def test_an_agent_registers_again_when_its_node_moves_or_a_rejoin_says_that_the_network_changed(
    tmp_path: Path,
) -> None:
    node = MovingNode("n", "a")
    async with scripted(tmp_path) as (script, address), Agent(node, address) as agent:
        await agent.attached.wait()
        assert [list(one.addresses) for one in script.registered] == [["192.0.2.1:4"]]
        node.where = "192.0.2.2:4"
        agent.network_changed()
        await until(lambda: len(script.registered) == 2, "registered again")
        assert list(script.registered[1].addresses) == ["192.0.2.2:4"]
        command = attach_pb2.RejoinCommand(
            rejoin_id="r", attempt=1, store_id="a", rung=decision_pb2.RUNG_REJOIN, deadline_ms=4000,
            causes=[decision_pb2.CAUSE_RESUME],
        )  # fmt: skip
        script.send(attach_pb2.AttachResponse(rejoin=command))
        await until(lambda: len(script.registered) == 3, "confirmed for the service")
