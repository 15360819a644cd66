"""Several owners of one ledger that decide with the real core, while agents go from one to the next.

The lease, the journal, the outbox, the dispatcher and the agents' record of commands are the real ones; replicas are
paused, killed and cut off at any time, their wall clocks are set an hour ahead and back, and commands arrive late, even
those of an owner that was replaced.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from gossipcontrol.agent.owner import Owner
from gossipcontrol.agent.rejoin_executor import Key, RejoinExecutor
from gossipcontrol.server.config import Log, Retry
from gossipcontrol.server.core.core import CoreParameters
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.effect import AcceptNode, AnswerTrigger, StartRejoin
from gossipcontrol.server.core.event import (
    NeighborChanged,
    NodeAttached,
    NodeDetached,
    OwnerChanged,
    RejoinRequested,
    ServiceStarted,
)
from gossipcontrol.server.drivers.agent import AgentDriver
from gossipcontrol.server.drivers.driver import Result
from gossipcontrol.server.errors import GossipControlError
from gossipcontrol.server.observe.events import EventLog
from gossipcontrol.server.observe.log import make_logger
from gossipcontrol.server.observe.metrics import Metrics
from gossipcontrol.server.observe.metrics_presence import LivenessMetrics
from gossipcontrol.server.rpc.session import Session
from gossipcontrol.server.runtime.clock import ServiceClock
from gossipcontrol.server.runtime.dispatcher import Dispatcher
from gossipcontrol.server.runtime.outbox import Outbox
from gossipcontrol.server.runtime.retry import RetryRule
from gossipcontrol.server.state import ledger_journal
from gossipcontrol.server.state.ledger_journal import LedgerJournal
from gossipcontrol.server.state.recovery import recover
from gossipcontrol.v1 import attach_pb2

from tests.agent.fake import FakeNode
from tests.kit.virtual_loop import VirtualLoop
from tests.server.replicas.test_owners import Replica, World, disturb

SEEDS = int(os.environ.get("GOSSIPCONTROL_OWNERS", "6"))
STORES = ("a", "b")
LONGEST_END = 300.0
"""Virtual seconds within which all that is wanted is done, once nobody asks any more."""
MOST_WRONG = 60.0
"""Seconds by which service time may be wrong: clocks of replicas are up to 5 % too fast or too slow."""
PARAMETERS = CoreParameters(deciding=Parameters(window=4.0, verify_timeout=3.0))


class CoreWorld(World):
    """What happened to triggers and commands."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.serving: list[CoreReplica] = []
        self.asked: dict[str, tuple[float, str, str, tuple[str, ...]]] = {}
        """Acknowledged triggers by request id: when asked, node, store, rejoins."""
        self.ran: list[tuple[float, str, Key]] = []
        """What agents carried out: when, node and store, rejoin and attempt."""
        self.commands = self.repeats = self.outdated = 0
        self.is_quiet = False
        """Whether nobody asks any more."""
        self.began_at = 0.0
        """Service time when the world began."""

    def check_newest(self, epoch: int, what: str) -> None:
        if self.newest_claim() != epoch:
            self.wrong.append(f"an older owner {what} after a newer claim")

    def check_clock(self, now: float) -> None:
        """A new owner begins: its service time is that of the first one, whatever wall clocks say."""
        at = asyncio.get_running_loop().time()
        self.began_at = self.began_at or now - at
        if abs(ahead := now - at - self.began_at) > MOST_WRONG:
            self.wrong.append(f"service time jumped by {ahead:.0f} s")


class Wall:
    """The wall clock of a host, which somebody may set an hour ahead or back."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._step = 0.0

    def __call__(self) -> float:
        return 1e9 + asyncio.get_running_loop().time() + self._step

    def set(self) -> None:
        """Set it, perhaps."""
        self._step = self._chance.choice((-3600.0, 0.0, 3600.0))


class KilledJournal(LedgerJournal):
    """One whose process does not close it."""

    def close(self) -> None:
        """Nothing more is written."""


class WatchedDriver(AgentDriver):
    """Sees every command that leaves."""

    def __init__(self, world: CoreWorld, epoch: int) -> None:
        super().__init__()
        self._world = world
        self._epoch = epoch

    async def rejoin(self, start: StartRejoin) -> Result:
        if self.started_for(start) is not None:
            self._world.check_newest(self._epoch, "commands")
            self._world.commands += 1
            self._world.repeats += start.again
        return await super().rejoin(start)


class CoreReplica(Replica):
    """An owner that decides about triggers of its own."""

    def __init__(self, world: CoreWorld, name: str) -> None:
        self._cores = world
        self._wall = Wall(world.chance)
        super().__init__(world, name)
        self.ended = self._gone
        self._asking: set[asyncio.Task[None]] = set()

    async def _own(self) -> None:
        loaded = await self._claim(journal := KilledJournal(self._link, self._lease))
        core, log = recover(loaded, PARAMETERS), make_logger(Log(level="error"))
        if self._lease.reading("", 0.0, None):  # it has followed an owner: its wall clock may have been set meanwhile
            self._wall.set()
        reading = self._lease.reading(self._name, self._wall(), loaded.clock) or loaded.clock
        clock = ServiceClock(loaded.last_at, self._wall, self._now, self._name, reading, cautious=True)
        self._cores.check_clock(clock.now())
        metrics, self.epoch = Metrics(core.counts), self._lease.epoch
        self.run_id, self.driver = f"e{self.epoch}", WatchedDriver(self._cores, self._lease.epoch)
        outbox = Outbox(journal, core, metrics, log, clock, lambda _: None, None, self._lost)
        events = EventLog(metrics, LivenessMetrics(metrics.registry, 1, core.liveness), log)
        self.dispatcher = Dispatcher(core, clock, self.driver, RetryRule(Retry()), events, log, outbox)
        self._lease.service_time = clock.now
        if not loaded.snapshot:
            outbox.begin(clock.now())
        changed = self.epoch > 1
        self.dispatcher.submit(OwnerChanged(self.run_id, self.epoch) if changed else ServiceStarted(self.run_id))
        self._cores.epochs.add(self.epoch)
        self._cores.serving.append(self)
        try:
            await self._serve()
        finally:
            self.ended.set()
            self._cores.serving.remove(self)
            outbox.lose("it is dead")
            await self.dispatcher.close()
            await asyncio.gather(*self._asking, return_exceptions=True)

    def is_open(self) -> bool:
        """Whether calls are admitted."""
        return not self.ended.is_set() and self._lease.is_sure()

    async def _serve(self) -> None:
        while not self.ended.is_set():
            await asyncio.sleep(self._cores.chance.expovariate(6))
            await self._awake.wait()
            if self._cores.chance.random() < 0.05:
                self._wall.set()
            if self.is_open() and not self._cores.is_quiet:
                self._cores.triggers += 1
                task = asyncio.create_task(self.ask(f"t{self._cores.triggers}"))
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)

    async def ask(self, request_id: str) -> None:
        """Ask for a rejoin, and note the answer."""
        chance, at = random.Random(request_id), asyncio.get_running_loop().time()
        node_id, store_id = chance.choice(NODES), chance.choice(STORES)
        try:
            effects = await self.dispatcher.settle(RejoinRequested(node_id, (store_id,), request_id=request_id))
        except GossipControlError:
            return
        self._cores.check_newest(self.epoch, "answers")
        [answer] = [one for one in effects if isinstance(one, AnswerTrigger)]
        rejoin_ids = tuple(one.rejoin_id for one in answer.decisions)
        known = self._cores.asked.setdefault(request_id, (at, node_id, store_id, rejoin_ids))
        if known[3] != rejoin_ids:
            self._cores.wrong.append(f"{request_id} was answered otherwise before")

    def _lost(self, why: str) -> None:
        self._cores.wrong += [why] if "cannot" in why else []
        self._cores.fenced += 1
        self.ended.set()


class Recording(RejoinExecutor):
    """Notes what it really carries out."""

    def __init__(self, world: CoreWorld, node: FakeNode, on_result: Callable[[], None]) -> None:
        super().__init__(node, on_result)
        self._world = world
        self._node_id = node.node_id
        self.began: dict[Key, tuple[float, str]] = {}
        """When it carried out each, and the store."""

    async def _carry_out(self, key: Key, command: attach_pb2.RejoinCommand) -> None:
        place, now = f"{self._node_id} {command.store_id}", asyncio.get_running_loop().time()
        self._world.ran.append((now, place, key))
        self.began[key] = (now, command.store_id)
        await asyncio.sleep(self._world.chance.uniform(0.0, 1.0))
        await super()._carry_out(key, command)


class Agent:
    """Stays alive, and attached to some replica that serves; its streams end now and then."""

    def __init__(self, world: CoreWorld, node_id: str) -> None:
        self._world = world
        self._node_id = node_id
        self._owner = Owner()
        self._newest = 0
        self._executor = Recording(world, FakeNode(node_id, *STORES), self._tell)
        self._replica: CoreReplica | None = None
        self.running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        await self._executor.close()

    @property
    def is_attached(self) -> bool:
        return self._replica is not None

    async def _run(self) -> None:
        chance = self._world.chance
        for number in itertools.count(1):
            if open_ones := [one for one in self._world.serving if one.is_open()]:
                with suppress(GossipControlError, ConnectionError, TimeoutError):
                    await self._attach(chance.choice(open_ones), number)
            await asyncio.sleep(chance.uniform(0.05, 1.0))

    async def _attach(self, replica: CoreReplica, number: int) -> None:
        session = Session(self._node_id, f"{replica.run_id}-{self._node_id}-{number}", epoch=replica.epoch)
        replaced, delivering = replica.driver.attach(session), None
        try:
            async with asyncio.timeout(5.0):
                effects = await replica.dispatcher.settle(NodeAttached(self._node_id, session.session_id, STORES))
            assert any(isinstance(one, AcceptNode) for one in effects)
            self._owner.begin("c", replica.epoch)
            self._newest = replica.epoch
            if replaced is not None:
                replaced.cut(ConnectionError("replaced"))
            self._replica = replica
            delivering = asyncio.create_task(session.deliver(self._write))
            self._tell()
            async with asyncio.timeout(self._world.chance.expovariate(0.1)):
                await replica.ended.wait()
        finally:
            self._replica = None
            session.close()
            if delivering is not None:
                delivering.cancel()
                await asyncio.gather(delivering, return_exceptions=True)
            replica.driver.detach(session)
            if not replica.ended.is_set():
                replica.dispatcher.submit(NodeDetached(self._node_id, session.session_id))

    async def _write(self, frame: attach_pb2.AttachResponse) -> None:
        """What was written arrives, even after the stream has ended."""
        chance = self._world.chance
        delay = chance.uniform(0.0, 8.0) if chance.random() < 0.1 else self._world.delay()
        asyncio.get_running_loop().call_later(delay, self._receive, frame)

    def _receive(self, frame: attach_pb2.AttachResponse) -> None:
        if not self._owner.admits(frame.owner_epoch):
            self._world.outdated += 1
            return
        if frame.owner_epoch < self._newest:
            self._world.wrong.append("a command of an older epoch is carried out after a newer one was seen")
        if frame.WhichOneof("frame") == "rejoin":
            self._executor.submit(frame.rejoin)

    def _tell(self) -> None:
        """Send results and, most times, what proves them."""
        replica, undelivered = self._replica, self._executor.undelivered
        if replica is not None:
            for result in undelivered.values():
                asyncio.get_running_loop().call_later(self._world.delay(), self._arrive, replica, result)
            undelivered.clear()

    def _arrive(self, replica: CoreReplica, result: attach_pb2.RejoinResult) -> None:
        if replica.ended.is_set():
            return
        replica.driver.finish(self._node_id, result.rejoin_id, result.attempt, Result(result.ok, result.error))
        if self._world.chance.random() < 0.8:
            began_at, store_id = self._executor.began[result.rejoin_id, result.attempt]
            up_at = replica.dispatcher.clock.now() - (asyncio.get_running_loop().time() - began_at)
            replica.dispatcher.submit(NeighborChanged(self._node_id, store_id, "p", True, up_at))


NODES = ("n0", "n1", "n2")


async def live(seed: int) -> CoreWorld:
    world = CoreWorld(seed)
    agents = [Agent(world, node_id) for node_id in NODES]
    await disturb(world, lambda name: CoreReplica(world, name))
    last = CoreReplica(world, "last")
    while not world.serving or not all(agent.is_attached for agent in agents):
        await asyncio.sleep(0.1)
    core, world.is_quiet = last.dispatcher.core, True
    async with asyncio.timeout(LONGEST_END):
        while (counts := core.counts()).queued or counts.parked or counts.running:
            await asyncio.sleep(0.5)
    before = dict(world.asked)
    for request_id in before:
        await last.ask(request_id)
    assert world.asked == before
    await last.die()
    for agent in agents:
        await agent.stop()
    for request_id, (asked_at, node_id, store_id, _) in before.items():
        if not any(at >= asked_at and place == f"{node_id} {store_id}" for at, place, _ in world.ran):
            world.wrong.append(f"nothing ran for {request_id}")
    twice = [key for key, count in Counter(key for _, _, key in world.ran).items() if count > 1]
    world.wrong += [f"{key} ran twice" for key in twice]
    return world


@pytest.mark.parametrize("first", range(0, SEEDS, 3))
def test_agents_carry_out_what_was_acknowledged_once_and_nothing_of_an_owner_that_was_replaced(
    first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def inline(work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", inline)
    monkeypatch.setattr(ledger_journal, "FACTS_TO_SNAPSHOT", 100)
    base = int(os.environ.get("GOSSIPCONTROL_SEED", random.randrange(1 << 30)))
    worlds: list[CoreWorld] = []
    for seed in range(base + first, base + first + 3):
        print("seed", seed)
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            worlds.append(runner.run(live(seed)))
    print([(len(w.epochs), len(w.asked), w.commands, w.repeats, w.outdated, w.fenced) for w in worlds])
    assert [world.wrong for world in worlds] == [[]] * len(worlds)
    assert sum(len(world.epochs) for world in worlds) > 3, "owners followed each other"
    assert sum(len(world.asked) for world in worlds) > 50
    assert sum(world.repeats for world in worlds) > 0, "commands were sent again"
