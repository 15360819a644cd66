"""A standby that follows the log has the owner's state, with the real journal on a ledger in memory."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from gossipcontrol.server.config import Log
from gossipcontrol.server.core.core import Core, CoreParameters
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.effect import AdviseRestart, Effect
from gossipcontrol.server.core.event import Event, ServiceStarted
from gossipcontrol.server.core.knowledge.codec import write_event
from gossipcontrol.server.core.turn import Fact, KnowledgeFact, Turn
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.server.replicas.follower import Follower
from gossipcontrol.server.state import ledger_journal
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.journal import JournalListener
from gossipcontrol.server.state.ledger import Ledger
from gossipcontrol.server.state.ledger_journal import LedgerJournal
from gossipcontrol.server.state.ledger_reading import Found, read_ledger
from gossipcontrol.server.state.recovery import recover, recover_book, take_book, take_snapshot, written_with

from tests.core.deciding.test_property import NODES, Schedule
from tests.kit.core_lab import Lab
from tests.kit.memory_ledger import MemoryLedger, MemoryLedgerLink
from tests.kit.until import until
from tests.kit.virtual_loop import VirtualLoop
from tests.state.test_recovery import NARROW, happen, shown

WAYS = ("rejoin", "change", "named", "rot", "cleared", "attach", "detach", "meet", "hear", "done", "failed", "delayed")
PARAMETERS = CoreParameters(knowledge=NARROW)


class Sure:
    """A fence that nobody disputes."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    async def sure(self) -> None:
        """At once."""


class Owner(Lab):
    """Decides about random events, and keeps them as a service does."""

    journal: LedgerJournal
    rng: random.Random
    has_followed = True
    """Whether it had replayed the log before."""
    wrong: tuple[Effect, ...] = ()
    """Effects of the next turn that no replay has."""

    async def begin(
        self,
        ledger: Ledger,
        epoch: int,
        parameters: CoreParameters = PARAMETERS,
        read: Callable[[Ledger, int], Awaitable[Found]] = read_ledger,
        followed: Callable[[], Awaitable[tuple[Core, bool] | None]] | None = None,
    ) -> None:
        """Take over."""
        self.rng = random.Random(epoch)
        self.schedule = Schedule(parameters.deciding)
        self.schedule.lab = self
        self.journal = LedgerJournal(ledger, Sure(epoch))
        await self.journal.claim(read)
        loaded = self.journal.load()
        found = await followed() if followed else None
        if found is None:
            book, whole = recover_book(loaded.knowledge, parameters.knowledge)
            found = recover(loaded, parameters, book), whole
            self.has_followed = False
        self.core, whole = found
        self.now = max(self.now, loaded.last_at)
        self.journal.start(JournalListener(lambda _: None, lambda _: None, lambda _: None))
        if whole or written_with(loaded, parameters) != parameters:
            self.snapshot(whole=whole)
        self.events = happen(self.rng, 60)

    def start(self) -> None:
        """Begin a run."""
        self.handle(ServiceStarted(f"run{self.rng.random()}"))

    def snapshot(self, *, whole: bool) -> None:
        """Keep the state, and nothing later before."""
        book = self.core.knowledge
        self.journal.snapshot(
            take_snapshot(self.core), self.now, take_book(book, book.store_ids(), self.now) if whole else None
        )

    def compact(self) -> None:
        """Have snapshots take the place of the log."""
        self.journal.compact(take_snapshot(self.core), self.now)
        for store_id in self.core.knowledge.store_ids()[:1]:
            self.journal.snapshot_store(take_book(self.core.knowledge, [store_id], self.now))

    def turn(self, event: Event) -> Turn:
        turn = super().turn(event)
        entries = [fact if isinstance(fact, Fact) else _entry(fact) for fact in turn.facts]
        if entries:
            self.journal.append(entries, [*turn.effects, *self.wrong])
            self.wrong = ()
        return turn

    def live(self, count: int) -> None:
        """Let so many things happen."""
        for _ in range(count):
            wait = self.rng.choice((0.0, 0.5, 20.0))
            self.schedule.run([(self.rng.choice(WAYS), wait, self.rng.choice(NODES), self.rng.randrange(6))])
            if self.events and self.rng.random() < 0.5:
                self.handle(self.events.pop())


def _entry(fact: KnowledgeFact) -> KnowledgeEntry:
    return KnowledgeEntry(fact.at, fact.event.store_id, type(fact.event).__name__, write_event(fact.event, fact.room))


class Held:
    """The way of a standby to the ledger, which a test can block."""

    def __init__(self) -> None:
        self.is_free = asyncio.Event()
        self.is_free.set()

    async def carry(self, step: Callable[[], Any]) -> Any:
        await self.is_free.wait()
        return step()


class Standby:
    """One that follows."""

    def __init__(self, ledger: MemoryLedger, parameters: CoreParameters = PARAMETERS) -> None:
        self.ledger, self.held, self.lines = ledger, Held(), StringIO()
        self.link = ledger.link(self.held.carry)
        self.follower = Follower(self.link, parameters, Logger(Log(), self.lines))
        self.running = asyncio.create_task(self.follower.run())

    async def until_even(self) -> None:
        """Wait until it has replayed all there is."""
        await asyncio.sleep(1)  # virtual: what the owner decided is appended
        await until(lambda: self.follower.position == self.ledger.head, "it has caught up")

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)

    async def take_over(self, epoch: int, parameters: CoreParameters = PARAMETERS) -> Owner:
        await self.stop()
        owner = Owner()
        await owner.begin(self.link, epoch, parameters, self.follower.drain, self.follower.finish)
        return owner


def seen(core: Core) -> tuple[str, dict[str, object]]:
    """All of the state that lasts."""
    return json.dumps(core.save()), shown(core.knowledge)


@asynccontextmanager
async def owned() -> AsyncGenerator[tuple[MemoryLedger, Owner]]:
    ledger, owner = MemoryLedger(), Owner()
    await owner.begin(ledger.link(), 1)
    owner.start()
    yield ledger, owner
    await owner.journal.abandon()


@contextmanager
def virtual(monkeypatch: pytest.MonkeyPatch) -> Generator[Callable[[Any], Any]]:
    async def inline(work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", inline)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        yield runner.run


@pytest.mark.parametrize("when", ["from the first entry", "from a snapshot", "behind what was cut"])
def test_a_standby_takes_over_with_the_state_of_the_owner(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_journal, "MOST_FACTS", 7)  # turns are split over entries

    async def live() -> None:
        async with owned() as (ledger, owner):
            standby = Standby(ledger)
            if when == "from a snapshot":
                await standby.stop()
            owner.live(60)
            await asyncio.sleep(1)
            if when == "behind what was cut":
                await standby.until_even()
                standby.held.is_free.clear()
                owner.live(60)
                await asyncio.sleep(1)
            if when != "from the first entry":
                owner.compact()
                await asyncio.sleep(1)
                owner.live(60)
                owner.compact()
                await asyncio.sleep(1)
            if when == "from a snapshot":
                standby = Standby(ledger)
            standby.held.is_free.set()
            owner.live(60)
            await standby.until_even()
            assert standby.follower.is_warm
            owner.live(20)
            await asyncio.sleep(1)

            loads = standby.lines.getvalue().count("standby follows")
            assert loads == (2 if when == "behind what was cut" else 1)
            another, fresh = await standby.take_over(2), Owner()
            assert another.has_followed
            assert seen(another.core) == seen(owner.core)
            another.start()
            another.live(20)
            another.compact()
            another.live(40)
            await asyncio.sleep(1)
            await fresh.begin(ledger.link(), 3)
            assert seen(fresh.core) == seen(another.core), "what it wrote can be read"
            await another.journal.abandon()
            await fresh.journal.abandon()
            assert standby.follower.diverged == 0

    with virtual(monkeypatch) as run:
        run(live())


def test_a_replay_with_other_effects_is_found_and_goes_on_from_the_next_snapshot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def live() -> None:
        async with owned() as (ledger, owner):
            standby = Standby(ledger)
            owner.live(20)
            await standby.until_even()
            owner.wrong = (AdviseRestart("r-1", "n", "s", "a rule that is new"),)
            owner.live(20)
            await until(lambda: standby.follower.diverged == 1, "it says so")
            assert 'event="replay diverged"' in standby.lines.getvalue()
            owner.live(20)
            await asyncio.sleep(60)
            assert not standby.follower.is_warm
            assert standby.follower.lag == ledger.head, "it has none of the log"
            owner.compact()
            owner.live(20)
            await standby.until_even()
            assert standby.follower.diverged == 1
            another = await standby.take_over(2)
            assert another.has_followed
            assert seen(another.core) == seen(owner.core)

            owner = another
            owner.start()
            standby = Standby(ledger)
            await standby.until_even()
            owner.wrong = (AdviseRestart("r-1", "n", "s", "another"),)
            owner.live(20)
            await until(lambda: standby.follower.diverged == 1, "it says so")
            another = await standby.take_over(3)
            assert not another.has_followed, "it has recovered from a snapshot and the log"
            assert seen(another.core) == seen(owner.core)
            await owner.journal.abandon()
            await another.journal.abandon()

    with virtual(monkeypatch) as run:
        run(live())


def test_entries_without_checksums_are_those_of_an_earlier_version(monkeypatch: pytest.MonkeyPatch) -> None:
    async def live() -> None:
        async with owned() as (ledger, owner):
            standby = Standby(ledger)
            take = owner.journal._next_batch  # pyright: ignore[reportPrivateUsage]
            owner.wrong = (AdviseRestart("r-1", "n", "s", "not compared"),)
            monkeypatch.setattr(owner.journal, "_next_batch", lambda: take()._replace(checksums=None))
            owner.live(40)
            await standby.until_even()
            monkeypatch.undo()
            owner.live(40)
            await standby.until_even()
            assert standby.follower.diverged == 0
            another = await standby.take_over(2)
            assert seen(another.core) == seen(owner.core)
            await another.journal.abandon()

    with virtual(monkeypatch) as run:
        run(live())


def test_an_owner_with_other_parameters_is_followed_with_those(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = replace(PARAMETERS, deciding=Parameters(rate=0.5, burst=1, window=60.0))

    async def live() -> None:
        async with owned() as (ledger, owner):
            standby, third = Standby(ledger, slow), Standby(ledger)
            owner.live(40)
            await third.until_even()
            another = await standby.take_over(2, slow)
            assert another.has_followed
            assert another.core.parameters == slow
            another.start()
            another.live(80)
            await third.until_even()
            assert third.follower.diverged == 0
            back = await third.take_over(3)
            assert back.has_followed
            assert back.core.parameters == PARAMETERS
            assert seen(back.core) == seen(another.core)
            back.start()
            back.live(20)
            await asyncio.sleep(1)
            fresh = Owner()
            await fresh.begin(ledger.link(), 4)
            assert seen(fresh.core) == seen(back.core)
            for one in (another, back, fresh):
                await one.journal.abandon()

    with virtual(monkeypatch) as run:
        run(live())


def test_a_ledger_that_tells_nothing_more_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    follow = MemoryLedgerLink.follow

    async def fall_silent(link: MemoryLedgerLink, start: int) -> AsyncGenerator[tuple[int, bytes]]:
        asked.append(start)
        async for one in follow(link, start):
            yield one
            if len(asked) == 1:
                await asyncio.Event().wait()

    async def live() -> None:
        async with owned() as (ledger, owner):
            standby = Standby(ledger)
            for _ in range(2):
                owner.live(10)
                await standby.until_even()
            assert len(asked) == 1
            owner.live(10)
            await standby.until_even()
            assert len(asked) == 2
            await asyncio.sleep(60)
            assert len(asked) == 2, "nothing is missed while nothing happens"
            await standby.stop()

    monkeypatch.setattr(MemoryLedgerLink, "follow", fall_silent)
    with virtual(monkeypatch) as run:
        run(live())


def test_a_replay_that_fails_is_given_up_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    replay, failures = Core.replay, [ZeroDivisionError("half-way"), ZeroDivisionError("at the takeover")]

    def fail(core: Core, fact: Fact) -> Any:
        if fail_now:
            fail_now.clear()
            raise failures.pop(0)
        return replay(core, fact)

    fail_now: list[bool] = []

    async def live() -> None:
        async with owned() as (ledger, owner):
            standby = Standby(ledger)
            owner.live(20)
            await standby.until_even()
            fail_now.append(True)
            owner.live(20)
            await until(lambda: "cannot follow" in standby.lines.getvalue(), "it says so")
            assert "half-way" in standby.lines.getvalue()
            assert not standby.follower.is_warm
            await standby.until_even()
            await standby.stop()
            owner.live(20)
            await asyncio.sleep(1)
            fail_now.append(True)
            another = await standby.take_over(2)
            assert not another.has_followed
            assert seen(another.core) == seen(owner.core)
            await another.journal.abandon()

    monkeypatch.setattr(Core, "replay", fail)
    with virtual(monkeypatch) as run:
        run(live())
