"""One contract of journals that last: over a SQLite file, over a ledger in memory, and over a real etcd."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from gossipcontrol.server.core.event import RejoinRequested
from gossipcontrol.server.core.knowledge.codec import write_event
from gossipcontrol.server.core.knowledge.store import KnowledgeStore
from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.state import ledger_entry, ledger_journal
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.etcd_client import EtcdAccess, EtcdClient
from gossipcontrol.server.state.etcd_ledger import EtcdLedger
from gossipcontrol.server.state.journal import ClockReading, Journal, JournalListener
from gossipcontrol.server.state.ledger import Ledger
from gossipcontrol.server.state.ledger_journal import LedgerJournal
from gossipcontrol.server.state.recovery import recover_book, take_book
from gossipcontrol.server.state.sqlite import SqliteJournal

from tests.kit.etcd import needs_etcd, running_etcd
from tests.kit.memory_ledger import MemoryLedger
from tests.kit.until import until
from tests.state.test_recovery import NARROW, happen, shown

READING = ClockReading("boot", 1.5, -2.5)
Open = Callable[[], Awaitable[Journal]]


class Sure:
    """A fence that nobody disputes."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    async def sure(self) -> None:
        """At once."""


class Told:
    """What a journal reported."""

    def __init__(self) -> None:
        self.committed = 0
        self.failures: list[str] = []
        self.fenced: list[str] = []
        self.listener = JournalListener(
            self._commit, self.failures.append, lambda _: None, lambda: READING, self.fenced.append
        )

    def _commit(self, number: int) -> None:
        assert number >= self.committed
        self.committed = number


@asynccontextmanager
async def opener(kind: str, directory: Path) -> AsyncGenerator[Open]:
    """Opens what the run before has left."""
    if kind == "sqlite":

        async def open_file() -> Journal:
            return SqliteJournal(directory / "state.db")

        yield open_file
        return
    async with AsyncExitStack() as stack:
        shared, epochs = MemoryLedger(), iter(range(1, 100))
        etcd = await stack.enter_async_context(running_etcd(directory)) if kind == "etcd" else None

        async def open_ledger() -> Journal:
            ledger: Ledger = shared.link()
            if etcd is not None:
                ledger = EtcdLedger(EtcdClient(EtcdAccess(endpoints=etcd.endpoints)), "c")
                stack.push_async_callback(ledger.close)
            journal = LedgerJournal(ledger, Sure(next(epochs)))
            await journal.claim()
            return journal

        yield open_ledger


class Written:
    """What was given to a journal."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.facts: list[Fact] = []
        self.book = KnowledgeStore(NARROW)
        self.events = happen(self.rng, 60)
        self.at = 0.0

    def step(self, journal: Journal) -> int:
        """Append something, or have something snapshotted."""
        self.at += 1.0
        chosen = self.rng.random()
        if chosen < 0.06 and self.book.store_ids():
            return journal.snapshot_store(take_book(self.book, [self.rng.choice(self.book.store_ids())], self.at))
        if chosen < 0.10:
            mark, held = journal.mark(), len(self.facts)
            self._append(journal)
            return journal.compact({"core": held}, self.at, mark)
        if chosen < 0.14:
            whole = take_book(self.book, self.book.store_ids(), self.at) if self.rng.random() < 0.5 else None
            return journal.snapshot({"core": len(self.facts)}, self.at, whole)
        return self._append(journal)

    def _append(self, journal: Journal) -> int:
        entries: list[Fact | KnowledgeEntry] = []
        for _ in range(self.rng.randrange(1, 4)):
            if self.events and self.rng.random() < 0.7:
                outcome = self.book.handle(event := self.events.pop(0), self.at)
                body = write_event(outcome.fact, outcome.room) if outcome.fact else b""
                entries += [KnowledgeEntry(self.at, event.store_id, type(event).__name__, body)] if body else []
            else:
                self.facts.append(Fact(self.at, RejoinRequested("n", request_id=f"é{len(self.facts)}" * 9)))
                entries.append(self.facts[-1])
        return journal.append(entries) if entries else 0

    def check(self, journal: Journal) -> None:
        """What an earlier run left is what was given to it."""
        loaded = journal.load()
        held = loaded.snapshot["core"] if loaded.snapshot else 0
        assert list(loaded.entries) == self.facts[held:]
        book, _ = recover_book(loaded.knowledge, NARROW)
        assert shown(book) == shown(self.book)
        assert not self.at or loaded.clock == READING
        assert loaded.last_at <= self.at


# Of the faults found so far, each showed in a quarter of the histories.
KINDS = ["sqlite", *["ledger"] * 6, pytest.param("etcd", marks=needs_etcd)]


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_committed_is_there_again(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_entry, "ENTRY_BYTES", 700)
    monkeypatch.setattr(ledger_entry, "COMPRESSED_FROM", 1500)
    monkeypatch.setattr(ledger_journal, "MOST_FACTS", 5)
    async with opener(kind, tmp_path) as open_again:
        written = Written(random.randrange(1 << 30))
        for _ in range(6):
            journal = await open_again()
            written.check(journal)
            told = Told()
            journal.start(told.listener)
            if written.at == 0.0:
                journal.snapshot({"core": 0}, 0.0, take_book(written.book, [], 0.0))
            for _ in range(written.rng.randrange(40)):
                number = written.step(journal)
                if number and written.rng.random() < 0.3:
                    await until(lambda told=told, number=number: told.committed >= number, "it is committed")
            await asyncio.to_thread(journal.close)
            assert told.failures == told.fenced == []
        written.check(last := await open_again())
        last.close()
