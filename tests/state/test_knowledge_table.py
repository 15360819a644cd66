"""Knowledge in the SQLite file: facts in the common log, stores snapshotted in parts beside other facts."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from gossipcontrol.server.core.event import RejoinRequested
from gossipcontrol.server.core.knowledge.codec import write_event
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.snapshot import PART_BYTES
from gossipcontrol.server.core.knowledge.store import KnowledgeStore
from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.state import snapshot_policy
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.journal import Loaded, LoadedKnowledge
from gossipcontrol.server.state.recovery import recover_book, take_book
from gossipcontrol.server.state.sqlite import SqliteJournal

from tests.kit.until import until
from tests.state.test_recovery import shown
from tests.state.test_sqlite import COMMITTED, Told

PARAMETERS = KnowledgeParameters(keep=1_000_000, floating_limit=50)


class Shelf:
    """A journal on a real file, and the book that it keeps."""

    def __init__(self, path: Path, max_bytes: int = 1 << 30) -> None:
        self.path = path
        self.journal = SqliteJournal(path, max_bytes=max_bytes)
        self.told = Told()
        self.number = 0

    async def open(self) -> LoadedKnowledge:
        """Load the book, and begin as the service does."""
        kept = self.journal.load().knowledge
        self.book, anew = recover_book(kept, PARAMETERS)
        self.journal.start(self.told.listener)
        everything = take_book(self.book, self.book.store_ids(), 0.0) if anew else None
        await self.until_kept(self.journal.snapshot({}, 0.0, everything))
        return kept

    async def close(self) -> None:
        await asyncio.to_thread(self.journal.close)

    def write(self, store_id: str, authors: int = 1, each: int = 1) -> int:
        """Have each of so many authors write one after the other; returns the number of the last fact."""
        number = 0
        for _ in range(each):
            batch: list[Intention] = []
            for author in range(authors):
                self.number += 1
                before = self.last(store_id, author)
                batch.append(Intention(f"p{author}", b"%s-%029d" % (store_id.encode(), self.number), before))
            event = IntentionsRecorded(store_id, tuple(batch), "sender", self.number)
            outcome = self.book.handle(event, 1.0)
            assert outcome.fact is not None
            number = self.journal.append(
                [KnowledgeEntry(1.0, store_id, "IntentionsRecorded", write_event(outcome.fact, outcome.room))]
            )
        return number

    def last(self, store_id: str, author: int) -> bytes:
        tracker = self.book.tracker(store_id)
        incarnation = tracker.newest_incarnation(f"p{author}") if tracker else None
        return incarnation.chains[-1].hashes[-1] if incarnation else b""

    async def snapshot(self, store_id: str, at: float = 5.0) -> None:
        """Have a store snapshotted, and wait until that is done and its log is gone."""
        await self.until_kept(self.journal.snapshot_store(take_book(self.book, [store_id], at)))
        await until(lambda: self.journal.stats().entries == 0, "the log of the store is gone", COMMITTED)

    async def until_kept(self, number: int) -> None:
        await until(lambda: self.told.committed >= number, "the journal commits", COMMITTED)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """What the file says, once the journal has let go of it."""
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    made = Shelf(tmp_path / "state.db")
    await made.open()
    yield made
    await made.close()


async def again(shelf: Shelf) -> tuple[KnowledgeStore, LoadedKnowledge]:
    """The book of the next run, and what it was made of."""
    await shelf.close()
    other = Shelf(shelf.path)
    kept = await other.open()
    await other.close()
    return other.book, kept


async def test_facts_are_there_again(shelf: Shelf) -> None:
    shelf.write("s", 3, 10)
    await shelf.until_kept(shelf.write("t", 2, 10))
    book, kept = await again(shelf)
    assert (len(kept.entries), kept.stores) == (20, {})
    assert shown(book) == shown(shelf.book)


async def test_a_store_moves_into_a_snapshot_in_parts_while_other_facts_are_kept(shelf: Shelf) -> None:
    shelf.write("t", 2, 5)
    await shelf.until_kept(shelf.write("s", 200, 150))
    before = shelf.journal.stats().log_bytes
    shelf.journal.snapshot_store(take_book(shelf.book, ["s"], 5.0))
    assert shelf.journal.stats().log_bytes < before / 10
    commits = 0
    while not shelf.journal.due_store() and shelf.journal.stats().entries != 5 + 3 * commits:
        # Until the log of the store is gone, facts of all kinds are kept between its parts.
        commits += 1
        shelf.write("s", 5)
        shelf.write("t", 2)
        await shelf.until_kept(shelf.journal.append([Fact(2.0, RejoinRequested("n"))]))
    assert commits > 2
    book, kept = await again(shelf)
    assert len(kept.stores["s"]) > 3 * PART_BYTES
    assert {one.store_id for _, one in kept.entries if one.store_id == "t"} == {"t"}
    assert sum(one.store_id == "s" for _, one in kept.entries) == commits, "those before the snapshot are gone"
    assert shown(book) == shown(shelf.book)
    assert shelf.rows("SELECT count(DISTINCT generation) FROM part") == [(1,)]


async def test_a_snapshot_that_a_crash_cut_off_counts_for_nothing(shelf: Shelf) -> None:
    await shelf.until_kept(shelf.write("s", 200, 150))
    first = shelf.journal.snapshot_store(take_book(shelf.book, ["s"], 5.0))
    await shelf.until_kept(first)
    # A stop does not wait for the rest of it, no more than a crash would.
    await shelf.close()
    assert shelf.rows("SELECT count(*) FROM store") == [(0,)]
    book, kept = await again(shelf)
    assert (len(kept.entries), kept.stores) == (150, {})
    assert shown(book) == shown(shelf.book)
    assert shelf.rows("SELECT count(*) FROM part") == [(0,)]


async def test_a_newer_snapshot_takes_the_place_of_the_older(shelf: Shelf) -> None:
    for _ in range(3):
        shelf.write("s", 50, 3)
        await shelf.snapshot("s")
    book, kept = await again(shelf)
    assert (len(kept.entries), list(kept.stores)) == (0, ["s"])
    assert shown(book) == shown(shelf.book)
    assert shelf.rows("SELECT count(DISTINCT generation) FROM part") == [(1,)]


async def test_forgetting_makes_the_snapshot_smaller(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "state.db")
    await shelf.open()
    sizes: list[int] = []
    for keep in (1_000_000, 100):
        shelf.book = KnowledgeStore(KnowledgeParameters(keep=keep, forget_every=100, recent=10, name_limit=10))
        shelf.number = 0
        for _ in range(40):
            shelf.write("s", 5, 5)
            newest = tuple(shelf.last("s", author) for author in range(5))
            seen = tuple(
                Intention(f"p{author}", b"ack%d-%d" % (author, shelf.number), newest[author], newest, True)
                for author in range(5)
            )
            shelf.book.handle(IntentionsRecorded("s", seen), 1.0)
        sizes.append(sum(map(len, shelf.book.capture("s").parts())))
    await shelf.close()
    assert sizes[1] < sizes[0] / 3


async def test_a_snapshot_that_finds_no_room_is_given_up_and_facts_go_on(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "state.db", max_bytes=5 << 19)
    await shelf.open()
    await shelf.until_kept(shelf.write("s", 200, 100))
    bytes_before = shelf.journal.stats().log_bytes
    shelf.journal.snapshot_store(take_book(shelf.book, ["s"], 5.0))
    await until(lambda: bool(shelf.told.failures), "the journal reports a failure", COMMITTED)
    assert "full" in shelf.told.failures[0]
    await shelf.until_kept(shelf.write("s", 5))
    assert shelf.journal.stats().log_bytes >= bytes_before
    assert shelf.journal.due_store() is None, "the next try waits"
    book, kept = await again(shelf)
    assert (len(kept.entries), kept.stores) == (101, {})
    assert shown(book) == shown(shelf.book)


async def test_everything_is_written_anew_into_a_file_that_was_lost(shelf: Shelf) -> None:
    shelf.write("s", 200, 100)
    await shelf.until_kept(shelf.write("t", 2, 5))
    # Under way when the file goes.
    shelf.journal.snapshot_store(take_book(shelf.book, ["s"], 5.0))
    shelf.path.unlink()
    shelf.write("t", 2)
    await until(shelf.journal.wants_all, "the journal wants a full snapshot", COMMITTED)
    number = shelf.journal.snapshot({}, 6.0, take_book(shelf.book, ["s", "t"], 6.0))
    shelf.write("s", 3)
    await shelf.until_kept(number + 1)
    book, kept = await again(shelf)
    assert (len(kept.entries), sorted(kept.stores)) == (1, ["s", "t"])
    assert shown(book) == shown(shelf.book)


async def test_logs_of_many_stores_are_compacted_and_the_file_stays_bounded(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_policy, "MIN_LOG_BYTES", 50_000)
    shelf = await reopened(shelf)
    longest = 0
    for turn in range(60):
        for store_id in ("s", "t", "u"):
            await shelf.until_kept(shelf.write(store_id, 20, 2 if store_id == "s" else 1))
        longest = max(longest, shelf.journal.stats().log_bytes)
        if (due := shelf.journal.due_store()) is not None:
            shelf.journal.snapshot_store(take_book(shelf.book, [due], float(turn)))
    loaded = sum(sum(map(len, shelf.book.capture(store_id).parts())) for store_id in shelf.book.store_ids())
    assert longest < 50_000 + loaded
    book, kept = await again(shelf)
    assert len(kept.stores) == 3
    assert shown(book) == shown(shelf.book)


async def reopened(shelf: Shelf) -> Shelf:
    """The same file under a journal that is made anew; the fixture closes what is closed already."""
    await shelf.close()
    other = Shelf(shelf.path)
    await other.open()
    return other


async def test_the_service_time_of_knowledge_is_never_gone_below(shelf: Shelf) -> None:
    shelf.write("s")
    await shelf.snapshot("s", 77.0)
    await shelf.close()
    journal = SqliteJournal(shelf.path)
    loaded: Loaded = journal.load()
    journal.close()
    assert loaded.last_at == 77.0
