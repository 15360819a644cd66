"""Several owners on one ledger, paused, killed and cut off at any time: fencing, with the real journal and lease."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from typing import Any

import pytest
from gossipcontrol.server.core.event import RejoinRequested
from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.replicas.lease import Lease
from gossipcontrol.server.state import ledger_journal
from gossipcontrol.server.state.journal import JournalListener, Loaded
from gossipcontrol.server.state.ledger import Fenced, Late
from gossipcontrol.server.state.ledger_entry import read_epoch
from gossipcontrol.server.state.ledger_journal import LedgerJournal

from tests.kit.memory_ledger import MemoryLedger
from tests.kit.virtual_loop import VirtualLoop

SEEDS = int(os.environ.get("GOSSIPCONTROL_OWNERS", "6"))
SECONDS = 60.0
ANSWER_TIME = 0.3


class World:
    """The ledger, and what owners did."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.ledger = MemoryLedger()
        self.acknowledged: set[str] = set()
        self.epochs: set[int] = set()
        self.wrong: list[str] = []
        self.triggers = self.effects = self.fenced = self.held = 0
        self.lowest_delay = self.chance.choice((0.001, 0.02))
        self.trouble = self.chance.choice((0.0, 0.02, 0.1))
        """Share of requests or answers that take very long."""

    def newest_claim(self) -> int:
        """The highest epoch in the log."""
        return max(map(read_epoch, self.ledger.entries.values()), default=0)

    def delay(self) -> float:
        """Of a request or an answer."""
        chance = self.chance
        return chance.uniform(0.3, 3.0) if chance.random() < self.trouble else chance.uniform(1, 2) * self.lowest_delay


class Replica:
    """A process that stands by, owns, is paused, and dies. Its clock is up to 5 % too fast or too slow."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self._awake = asyncio.Event()
        self._awake.set()
        rate, loop = world.chance.uniform(0.95, 1.05), asyncio.get_running_loop()
        self._now = lambda: loop.time() * rate
        self._link = world.ledger.link(self._carry)
        self._lease = Lease(self._link, name, "", now=self._now)
        self.waiting: list[tuple[int, str]] = []
        self._gone = asyncio.Event()
        self.journal: LedgerJournal | None = None
        self.running = asyncio.create_task(self._run())

    async def pause(self, seconds: float) -> None:
        """Stand still, as by SIGSTOP: what was sent arrives all the same."""
        self._awake.clear()
        await asyncio.sleep(seconds)
        self._awake.set()

    async def die(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)

    async def _carry(self, step: Callable[[], Any]) -> Any:
        await self._awake.wait()
        loop, world = asyncio.get_running_loop(), self._world
        answered: asyncio.Future[Any] = loop.create_future()

        def arrive() -> None:
            try:
                result, error = step(), None
            except Fenced as fenced:
                result, error = None, fenced
            loop.call_later(world.delay(), settle, (result, error))

        def settle(outcome: tuple[Any, Fenced | None]) -> None:
            if not answered.done():
                answered.set_result(outcome)

        loop.call_later(world.delay(), arrive)
        try:
            async with asyncio.timeout(ANSWER_TIME):
                result, error = await answered
        except TimeoutError:
            await self._awake.wait()
            raise Late("no answer") from None
        await self._awake.wait()
        if error is not None:
            raise error
        return result

    async def _run(self) -> None:
        try:
            await self._lease.wait()
            self._lease.start(lambda why: self._gone.set())
            await self._own()
        except Fenced:
            self._world.fenced += 1
        finally:
            await self._lease.close()
            if self.journal is not None:
                await self.journal.abandon()

    async def _claim(self, journal: LedgerJournal) -> Loaded:
        while True:
            try:
                await journal.claim()
                break
            except Late:
                await asyncio.sleep(0.1)
        self.journal = journal
        return journal.load()

    async def _own(self) -> None:
        loaded = await self._claim(journal := LedgerJournal(self._link, self._lease))
        known: list[str] = [*loaded.snapshot["core"]] if loaded.snapshot else []
        known += [one.event.request_id for one in loaded.entries if isinstance(one.event, RejoinRequested)]
        # One that was slow to read may have been replaced meanwhile; it finds out with its first append.
        is_newest = self._world.newest_claim() == self._lease.epoch
        if is_newest and not self._world.acknowledged <= set(known):
            self._world.wrong.append("what was acknowledged is not there")
        self._world.epochs.add(self._lease.epoch)
        journal.start(JournalListener(self._committed, lambda why: None, lambda _: None, None, self._fenced))
        if not loaded.snapshot:
            journal.snapshot({"core": list(known)}, 0.0)
        chance = self._world.chance
        while not self._gone.is_set():
            await asyncio.sleep(chance.expovariate(20))
            await self._awake.wait()
            if self._gone.is_set():
                return
            self._world.triggers += 1
            known.append(name := f"t{self._world.triggers}")
            self.waiting.append((journal.append([Fact(1.0, RejoinRequested("n", request_id=name))]), name))
            if journal.wants_snapshot():
                journal.compact({"core": list(known)}, 1.0, journal.mark())

    def _committed(self, number: int) -> None:
        """Effects leave, and callers are answered: only the newest owner may do that."""
        while self.waiting and self.waiting[0][0] <= number:
            if self._gone.is_set() or self._world.newest_claim() != self._lease.epoch:
                self._world.wrong.append("an older owner acts after a newer claim")
            self._world.acknowledged.add(self.waiting.pop(0)[1])
            self._world.effects += 1

    def _fenced(self, why: str) -> None:
        self._world.wrong += [why] if "cannot" in why else []
        self._world.fenced += 1
        self._world.held += len(self.waiting)
        self._gone.set()


async def disturb(world: World, make: Callable[[str], Replica]) -> None:
    """Two or three replicas at any time, some of which are paused and killed; none is left in the end."""
    loop, chance, replicas = asyncio.get_running_loop(), world.chance, list[Replica]()
    count = chance.choice((2, 3))
    while loop.time() < SECONDS:
        while len(replicas) < count:
            replicas.append(make(f"r{chance.randrange(1 << 30)}"))
        await asyncio.sleep(chance.expovariate(0.5))
        for one in [one for one in replicas if one.running.done()]:
            replicas.remove(one)
            one.running.result()
        if replicas and chance.random() < 0.4:
            await replicas.pop(chance.randrange(len(replicas))).die()
        elif replicas:
            await chance.choice(replicas).pause(chance.choice((0.5, 1.4, 2.0, 4.0)))
    for one in replicas:
        await one.die()
    world.trouble = 0.0


async def live(seed: int) -> World:
    world = World(seed)
    await disturb(world, lambda name: Replica(world, name))
    last = Replica(world, "last")
    while not (acknowledged := len(world.acknowledged)) or last.journal is None or not last.waiting:
        await asyncio.sleep(0.05)
    while len(world.acknowledged) == acknowledged:
        await asyncio.sleep(0.05)
    await last.die()
    return world


@pytest.mark.parametrize("first", range(0, SEEDS, 6))
def test_no_older_owner_acts_after_a_newer_claim_and_nothing_acknowledged_is_lost(
    first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def inline(work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", inline)
    monkeypatch.setattr(ledger_journal, "FACTS_TO_SNAPSHOT", 20)
    base = random.randrange(1 << 30)
    worlds: list[World] = []
    for seed in range(base + first, base + first + 6):
        print("seed", seed)
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            worlds.append(runner.run(live(seed)))
    assert [world.wrong for world in worlds] == [[]] * len(worlds)
    assert sum(len(world.epochs) for world in worlds) > 6, "owners followed each other"
    assert sum(world.effects for world in worlds) > 500
    print([(len(w.epochs), w.triggers, w.effects, w.fenced, w.held) for w in worlds])
