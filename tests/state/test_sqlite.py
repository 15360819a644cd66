"""The SQLite journal: what it keeps, how it opens, how it fails and recovers; with real files and real threads."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from gossipcontrol.server.core.codec import Later
from gossipcontrol.server.core.decision import Cause
from gossipcontrol.server.core.event import NetworkChanged, NodeAttached, RejoinProved, RejoinRequested
from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.state import checksum, log_table
from gossipcontrol.server.state import file as file_module
from gossipcontrol.server.state import sqlite as sqlite_module
from gossipcontrol.server.state import writer as writer_module
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.file import StateFile
from gossipcontrol.server.state.journal import ClockReading, JournalListener, KnowledgeSnapshot, StateError
from gossipcontrol.server.state.pack import PIECE
from gossipcontrol.server.state.schema import APPLICATION, STEPS
from gossipcontrol.server.state.sqlite import SqliteJournal
from gossipcontrol.server.state.writer import Batch, FileWriter, Written

from tests.kit.until import until

COMMITTED = 20.0
"""Seconds within which the writer thread commits."""

ENTRIES = (
    Fact(1000.0, NodeAttached("n", "s", ("a", "b"), "h", addresses=("127.0.0.1:1",)), (("p", "q"), ())),
    Fact(1000.5, RejoinRequested("n", ("a",), Cause.RESUME, "q")),
    Fact(1001.25, NetworkChanged("h", (), boot_id="b", generation=7)),
    Fact(1002.0, RejoinProved("r-1", "neighbour p")),
)


class Told:
    """What a journal reported."""

    def __init__(self) -> None:
        self.committed = 0
        self.failures: list[str] = []
        self.listener = JournalListener(self._commit, self.failures.append, lambda seconds: None)

    def _commit(self, number: int) -> None:
        self.committed = number


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "state.db"


async def written(path: Path, *entries: Fact | KnowledgeEntry) -> None:
    journal = SqliteJournal(path)
    journal.load()
    told = Told()
    journal.start(told.listener)
    number = journal.append(entries)
    await until(lambda: told.committed == number, "the journal commits", COMMITTED)
    await asyncio.to_thread(journal.close)


def read(path: Path) -> tuple[object, tuple[Fact, ...], float]:
    journal = SqliteJournal(path)
    try:
        loaded = journal.load()
    finally:
        journal.close()
    return loaded.snapshot, tuple(loaded.entries), loaded.last_at


async def test_what_was_committed_is_there_again_in_order(path: Path) -> None:
    await written(path, *ENTRIES[:2])
    await written(path, *ENTRIES[2:])
    assert read(path) == (None, ENTRIES, 1002.0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_snapshot_takes_the_place_of_the_log_before_it(path: Path) -> None:
    journal = SqliteJournal(path)
    journal.load()
    told = Told()
    journal.start(told.listener)
    journal.append(ENTRIES[:2])
    journal.snapshot({"core": "x"}, 1001.0)
    number = journal.append(ENTRIES[3:])
    await until(lambda: told.committed == number, "the journal commits", COMMITTED)
    assert journal.stats().entries == 1
    await asyncio.to_thread(journal.close)
    assert read(path) == ({"core": "x"}, ENTRIES[3:], 1002.0)


async def test_facts_do_not_wait_while_a_snapshot_is_packed(path: Path, tmp_path: Path) -> None:
    journal, told, gate = SqliteJournal(path), Told(), threading.Event()
    journal.load()
    journal.start(told.listener)
    journal.append(ENTRIES[:2])
    journal.compact({"core": [Later("x", lambda one: gate.wait(20) and one)]}, 1001.0)
    number = journal.append(ENTRIES[3:])
    await until(lambda: told.committed == number, "the journal commits", COMMITTED)
    assert journal.stats().entries == 3
    copy = shutil.copytree(path.parent, tmp_path / "as a kill leaves it")
    assert read(copy / path.name) == (None, (*ENTRIES[:2], *ENTRIES[3:]), 1002.0)
    gate.set()
    await until(lambda: journal.stats().entries == 1, "one entry is left in the log", COMMITTED)
    await asyncio.to_thread(journal.close)
    assert read(path) == ({"core": ["x"]}, ENTRIES[3:], 1002.0)


async def test_a_whole_snapshot_overtakes_one_that_is_being_packed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_table, "PACK_TIME", 0.0)
    journal, told, gate = SqliteJournal(path), Told(), threading.Event()
    journal.load()
    journal.start(told.listener)
    number = journal.compact([Later("old", lambda one: gate.wait(20) and one)] * 10 * PIECE, 1000.0)
    await until(lambda: told.committed == number, "the journal commits", COMMITTED)
    number = journal.snapshot({"core": "new"}, 1001.0)
    gate.set()
    await until(lambda: told.committed == number, "the journal commits", COMMITTED)
    await asyncio.to_thread(journal.close)
    assert read(path) == ({"core": "new"}, (), 1001.0)


async def test_a_snapshot_for_which_there_is_no_room_is_given_up_and_wanted_again(path: Path) -> None:
    journal, told = SqliteJournal(path, max_bytes=1 << 18), Told()
    journal.load()
    journal.start(told.listener)
    entries = (Fact(1.0, RejoinRequested("n" * 100, request_id="q" * 100)),) * 400
    number = journal.append(entries)
    await until(lambda: told.committed == number, "the journal commits", COMMITTED)
    assert journal.wants_snapshot()
    journal.compact(random.Random(1).randbytes(1 << 18).hex(), 1.0)
    assert not journal.wants_snapshot()
    await until(lambda: bool(told.failures), "the journal reports a failure", COMMITTED)
    assert "full" in told.failures[0]
    assert journal.wants_snapshot()
    number = journal.append(ENTRIES)
    await until(lambda: told.committed == number, "the journal commits", COMMITTED)
    await asyncio.to_thread(journal.close)
    assert read(path) == (None, (*entries, *ENTRIES), 1002.0)


async def test_the_file_stays_small_as_snapshots_replace_logs(path: Path) -> None:
    journal = SqliteJournal(path)
    journal.load()
    told = Told()
    journal.start(told.listener)
    sizes: list[int] = []
    for _ in range(6):
        journal.append([Fact(1.0, RejoinRequested("n" * 100, request_id="q" * 100))] * 3000)
        number = journal.append(ENTRIES[:1])
        await until(lambda number=number: told.committed == number, "the journal commits", COMMITTED)
        number = journal.snapshot({"core": "small"}, 2.0)
        await until(lambda number=number: told.committed == number, "the journal commits", COMMITTED)
        sizes.append(path.stat().st_size)
    await asyncio.to_thread(journal.close)
    assert max(sizes) <= 2 << 20, "freed pages are used again"


async def test_a_second_service_on_the_same_file_is_told_so(path: Path) -> None:
    first = SqliteJournal(path)
    first.load()
    second = SqliteJournal(path)
    with pytest.raises(StateError, match="is another service using it"):
        second.load()
    second.close()
    first.close()


@pytest.mark.parametrize("version", range(1, len(STEPS)))
async def test_a_file_of_an_older_version_is_migrated_and_goes_on(path: Path, version: int) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.executescript(
        f"{''.join(STEPS[:version])} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {version};"
        """INSERT INTO log (at, kind, fields) VALUES (5.0, 'RejoinRequested', '{"node_id":"n"}');"""
    )
    connection.close()
    assert read(path) == (None, (Fact(5.0, RejoinRequested("n")),), 5.0)
    await written(path, ENTRIES[0], KnowledgeEntry(1001.0, "s", "IntentionsRecorded", b"body"))
    assert read(path) == (None, (Fact(5.0, RejoinRequested("n")), ENTRIES[0]), 1001.0)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("PRAGMA user_version = 99; PRAGMA application_id = 1735357299;", "newer version"),
        ("CREATE TABLE theirs (x);", "another program"),
    ],
)
async def test_a_strange_file_is_refused(path: Path, script: str, said: str) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    with pytest.raises(StateError, match=said):
        read(path)


@pytest.mark.parametrize("offset", [0, 100, 4096])
async def test_a_damaged_file_is_refused_with_what_to_do(path: Path, offset: int) -> None:
    await written(path, *ENTRIES)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * 4000)
    with pytest.raises(StateError, match=r"Move it away to start with an empty state"):
        read(path)


async def test_when_the_file_is_full_it_says_so_and_goes_on_once_there_is_room(path: Path) -> None:
    journal = SqliteJournal(path, max_bytes=1 << 17)
    journal.load()
    told = Told()
    journal.start(told.listener)
    large = [Fact(float(number), RejoinRequested("n" * 100, request_id="q" * 100)) for number in range(2000)]
    number = journal.append(large)
    await until(lambda: bool(told.failures), "the journal reports a failure", COMMITTED)
    assert "full" in told.failures[0]
    assert told.committed == 0
    number = journal.snapshot({"core": "small"}, 2000.0)
    await until(lambda: told.committed == number, "the journal commits", COMMITTED)
    await asyncio.to_thread(journal.close)
    assert read(path) == ({"core": "small"}, (), 2000.0)


@pytest.mark.parametrize("harm", ["delete", "replace"])
async def test_a_file_lost_while_it_runs_is_written_anew_from_a_snapshot(path: Path, harm: str) -> None:
    journal = SqliteJournal(path)
    journal.load()
    told = Told()
    journal.start(told.listener)
    number = journal.append(ENTRIES[:1])
    await until(lambda: told.committed == number, "the journal commits", COMMITTED)
    path.unlink()
    if harm == "replace":
        path.write_bytes(b"this is no database, and never was one\n" * 200)
    journal.append(ENTRIES[1:2])
    await until(lambda: bool(told.failures), "the journal reports a failure", COMMITTED)
    assert told.committed == number
    assert (journal.wants_snapshot(), journal.wants_all()) == (True, True)
    journal.snapshot({"core": "without knowledge"}, 1001.0)
    assert journal.wants_all(), "that one does not help"
    number = journal.snapshot({"core": "all"}, 1001.0, KnowledgeSnapshot(1001.0, {}, {}))
    await until(lambda: told.committed == number, "the journal commits", COMMITTED)
    await asyncio.to_thread(journal.close)
    assert read(path) == ({"core": "all"}, (), 1001.0)


async def test_no_thread_is_left(path: Path) -> None:
    await written(path, *ENTRIES)
    assert "state" not in {thread.name for thread in threading.enumerate()}


def test_a_damaged_file_that_was_put_aside_stays_there_when_the_new_one_fails(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = StateFile(path, full=False, max_bytes=1 << 20)
    file.open()
    file.drop()
    path.write_bytes(b"precious, damaged" * 1000)
    with pytest.raises(sqlite3.DatabaseError):
        file.reopen(whole=False)

    def no_room(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE half (made)")
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(file_module, "migrate", no_room)
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError):
            file.reopen(whole=True)
    monkeypatch.undo()
    file.reopen(whole=True)
    file.drop()
    assert Path(f"{path}.broken").read_bytes().startswith(b"precious")


async def test_a_fault_of_the_writer_is_told_and_does_not_end_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, told = SqliteJournal(path), Told()
    journal.load()
    commit, faults = FileWriter.commit, [RecursionError("too deep")]

    def faulty(self: FileWriter, batch: Batch) -> Written:
        if faults:
            raise faults.pop()
        return commit(self, batch)

    monkeypatch.setattr(FileWriter, "commit", faulty)
    journal.start(told.listener)
    number = journal.append([ENTRIES[0]])
    await until(lambda: told.committed >= number, "the journal commits", COMMITTED)
    journal.close()
    assert told.failures == [f"{path}: RecursionError('too deep')"]


class Loops:
    """A journal whose file the event loop has, and in which thread each transaction was made."""

    def __init__(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, *, full: bool = False, slow: float = COMMITTED
    ) -> None:
        monkeypatch.setattr(sqlite_module, "SLOW_COMMIT", slow)
        self.journal, self.told = SqliteJournal(path, full=full), Told()
        self.journal.load()
        self.by: list[str] = []
        self.waits: list[int] = []
        """The settings of the connection in which transactions of the loop were made."""
        for name in ("commit", "commit_short"):
            inner = getattr(FileWriter, name)
            monkeypatch.setattr(FileWriter, name, self._noting(inner))

    def _noting(self, inner: Callable[[FileWriter, Batch], object]) -> Callable[[FileWriter, Batch], object]:
        def noted(writer: FileWriter, batch: Batch) -> object:
            self.by.append(threading.current_thread().name)
            done = inner(writer, batch)
            if self.by[-1] == LOOP:
                for setting in ("busy_timeout", "wal_autocheckpoint"):
                    self.waits += writer.file.present().execute(f"PRAGMA {setting}").fetchone()
            return done

        return noted

    async def keep(self, *entries: Fact) -> None:
        number = self.journal.append(entries)
        await until(lambda: self.told.committed >= number, "the journal commits", COMMITTED)

    async def start(self) -> None:
        """Start, and wait until the file is the loop's."""
        self.journal.start(self.told.listener)
        await self.keep(ENTRIES[0])
        await until(lambda: self.journal.commits_in_loop, "the loop has the file", COMMITTED)
        self.by.clear()


LOOP = threading.current_thread().name


async def test_short_transactions_are_made_in_the_event_loop(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loops = Loops(path, monkeypatch)
    await loops.start()
    for _ in range(3):
        await loops.keep(*ENTRIES[1:])
    assert loops.by == [LOOP] * 3
    assert loops.waits == [0, 0] * 3, "nothing is waited for in the event loop, and nothing copied"
    number = loops.journal.snapshot({"core": "x"}, 1002.0)
    await until(lambda: loops.told.committed == number, "the journal commits", COMMITTED)
    await loops.keep(ENTRIES[0])
    await loops.keep(ENTRIES[1])
    assert loops.by[3:] == ["state", "state", LOOP], "what follows a snapshot may sync the disk"
    await asyncio.to_thread(loops.journal.close)
    assert read(path) == ({"core": "x"}, ENTRIES[:2], 1002.0)


async def test_what_the_event_loop_has_written_counts_as_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loops = Loops(path, monkeypatch)
    await loops.start()
    await loops.keep(*ENTRIES[1:])
    assert loops.by == [LOOP]
    stats = loops.journal.stats()
    await asyncio.to_thread(loops.journal.close)
    again = SqliteJournal(path)
    again.load()
    assert again.stats() == stats
    again.close()


def test_a_lone_entry_is_kept_with_its_tally_or_not_at_all(path: Path) -> None:
    file = StateFile(path, full=False, max_bytes=1 << 30)
    connection = file.open()
    log_table.insert_alone(connection, log_table.entry_row(1, ENTRIES[0]))
    intentions = KnowledgeEntry(1000.25, "a", "IntentionsRecorded", b"\0body")
    log_table.insert_alone(connection, log_table.entry_row(2, intentions))
    connection.execute(
        "CREATE TEMP TRIGGER refusal BEFORE UPDATE ON main.tally BEGIN SELECT RAISE(ABORT, 'refused'); END"
    )
    with pytest.raises(sqlite3.IntegrityError, match="refused"):
        log_table.insert_alone(connection, log_table.entry_row(3, ENTRIES[1]))
    assert checksum.verify(connection)["log"] == 2
    file.drop()
    file.unlock()
    with closing(sqlite3.connect(path)) as again:
        assert checksum.verify(again)["log"] == 2
        assert not again.execute("SELECT name FROM sqlite_schema WHERE type IN ('view', 'trigger')").fetchall()


async def test_how_the_clocks_stand_is_kept_by_the_event_loop_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loops = Loops(path, monkeypatch)
    reading = ClockReading("boot", 1.0, 0.0)
    loops.told.listener = replace(loops.told.listener, clock=lambda: reading)
    await loops.start()
    reading = ClockReading("boot", 1.0, 3600.0)
    await loops.keep(ENTRIES[1])
    assert loops.by == [LOOP]
    await asyncio.to_thread(loops.journal.close)
    again = SqliteJournal(path)
    assert again.load().clock == reading
    again.close()


async def test_with_syncs_every_transaction_is_made_in_the_thread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loops = Loops(path, monkeypatch, full=True)
    loops.journal.start(loops.told.listener)
    for _ in range(3):
        await loops.keep(*ENTRIES)
    assert set(loops.by) == {"state"}
    await asyncio.to_thread(loops.journal.close)


@pytest.mark.parametrize("stores", [1, 2000])
async def test_a_long_transaction_is_left_to_the_thread(
    path: Path, monkeypatch: pytest.MonkeyPatch, stores: int
) -> None:
    loops = Loops(path, monkeypatch)
    await loops.start()
    names = tuple(f"s{number}" for number in range(stores))
    await loops.keep(
        *[Fact(1001.0, NodeAttached("n", "s", names))] * (1 if stores > 1 else sqlite_module.LOOP_ROWS + 1)
    )
    assert loops.by == ["state"]
    await asyncio.to_thread(loops.journal.close)


async def test_after_a_slow_commit_the_thread_commits_for_a_while(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "SLOW_TIME", 0.05)
    loops = Loops(path, monkeypatch, slow=0.0)
    await loops.start()
    await loops.keep(ENTRIES[1])
    await loops.keep(ENTRIES[2])
    assert loops.by == [LOOP, "state"]
    while loops.by[-1] != LOOP:
        await loops.keep(ENTRIES[3])
    await asyncio.to_thread(loops.journal.close)


async def test_what_the_event_loop_cannot_write_the_thread_tries_and_tells(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock of another program is waited for in the thread only: it would stop the event loop for a second."""
    monkeypatch.setattr(file_module, "LOCK_TIME", 0.05)
    monkeypatch.setattr(sqlite_module, "COMMIT_RETRY", 0.05)
    loops = Loops(path, monkeypatch)
    await loops.start()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        before = loops.told.committed
        number = loops.journal.append(ENTRIES[1:])
        await until(lambda: bool(loops.told.failures), "the journal reports a failure", COMMITTED)
        assert loops.told.committed == before
        assert "locked" in loops.told.failures[0]
        other.execute("ROLLBACK")
    await until(lambda: loops.told.committed == number, "the journal commits", COMMITTED)
    assert loops.by[0] == LOOP
    assert set(loops.by[1:]) == {"state"}
    await asyncio.to_thread(loops.journal.close)
    assert read(path) == (None, ENTRIES, 1002.0)


async def test_the_thread_copies_into_the_file_what_the_event_loop_has_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "CHECKPOINT_PAGES", 40)
    loops = Loops(path, monkeypatch)
    await loops.start()
    for _ in range(60):
        await loops.keep(ENTRIES[1])
    assert "state" in loops.by
    assert loops.by.count(LOOP) > loops.by.count("state")
    assert Path(f"{path}-wal").stat().st_size < 120 * 4096
    await asyncio.to_thread(loops.journal.close)


async def test_a_close_keeps_what_the_event_loop_has_not_committed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loops = Loops(path, monkeypatch)
    await loops.start()
    loops.journal.append(ENTRIES[1:])
    loops.journal.close()
    loops.journal.append(ENTRIES[:1])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert loops.by == ["state"], "what comes after the end is nobody's"
    assert read(path) == (None, ENTRIES, 1002.0)


async def test_the_event_loop_commits_nothing_before_it_has_heard_of_the_threads_commits(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what is kept would seem to go backwards."""
    held: list[Callable[[], object]] = []

    def hold(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *arguments: object) -> None:
        held.append(partial(callback, *arguments))

    monkeypatch.setattr(sqlite_module, "_call", hold)
    loops = Loops(path, monkeypatch)
    loops.journal.start(loops.told.listener)
    first = loops.journal.append(ENTRIES[:1])
    await until(lambda: len(held) == 3, "the thread has committed", COMMITTED)
    second = loops.journal.append(ENTRIES[1:])
    for _ in range(5):
        await asyncio.sleep(0)
    assert loops.by == ["state"]
    heard: list[int] = []
    for one in held:
        one()
        heard.append(loops.told.committed)
    assert heard == [0, first, first]
    await until(lambda: loops.told.committed == second, "the journal commits", COMMITTED)
    assert loops.by == ["state", LOOP]
    await asyncio.to_thread(loops.journal.close)
    assert read(path) == (None, ENTRIES, 1002.0)
