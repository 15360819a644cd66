"""A power cut keeps every acknowledged intention, and the snapshots of stores as a whole or not at all."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from gossipcontrol.server.core.knowledge.codec import write_event
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.store import KnowledgeStore
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.journal import JournalListener
from gossipcontrol.server.state.recovery import recover_book, take_book
from gossipcontrol.server.state.sqlite import SqliteJournal

from tests.kit.until import until
from tests.state.crash_images import Call, Disk, trace

CUTS = int(os.environ.get("GOSSIPCONTROL_CUTS", "300")) // 2
BATCHES = 60
PER_BATCH = 100
"""Intentions of one author, acknowledged together."""
SNAPSHOT_EVERY = 12
"""Batches between two snapshots of a store, whose parts take the place of its log."""
STORES = ("s", "t")
ACKNOWLEDGED = "acknowledged "
PARAMETERS = KnowledgeParameters(keep=1_000_000)


def name(number: int) -> bytes:
    """The hash of one intention; the numbers count over both stores."""
    return b"%032d" % number


def store_of(batch: int) -> str:
    return STORES[batch % len(STORES)]


def made(batch: int) -> IntentionsRecorded:
    """The batch of this number: it follows its store's last one."""
    first, before = batch * PER_BATCH, (batch - len(STORES) + 1) * PER_BATCH - 1
    previous = [name(before) if before >= 0 else b"", *map(name, range(first, first + PER_BATCH - 1))]
    names = map(name, range(first, first + PER_BATCH))
    batched = tuple(Intention("p", one, earlier) for one, earlier in zip(names, previous, strict=True))
    return IntentionsRecorded(store_of(batch), batched, "sender", first + PER_BATCH)


async def write(path: Path) -> None:
    """Commit batch after batch, and say so on the standard output: that is the acknowledgement."""
    journal, committed = SqliteJournal(path, full=True), [0]
    book, _ = recover_book(journal.load().knowledge, PARAMETERS)
    journal.start(JournalListener(committed.append, lambda why: None, lambda seconds: None))
    journal.snapshot({}, 0.0, take_book(book, [], 0.0))
    for batch in range(BATCHES):
        outcome = book.handle(made(batch), 1.0)
        assert outcome.fact is not None
        body = write_event(outcome.fact, outcome.room)
        number = journal.append([KnowledgeEntry(1.0, store_of(batch), "IntentionsRecorded", body)])
        if batch % SNAPSHOT_EVERY == SNAPSHOT_EVERY - 1:
            journal.snapshot_store(take_book(book, [STORES[batch // SNAPSHOT_EVERY % len(STORES)]], 1.0))
        await until(lambda number=number: committed[-1] >= number, "the journal commits", 20)
        os.write(1, f"{ACKNOWLEDGED}{batch + 1}\n".encode())
    await asyncio.to_thread(journal.close)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Call]]:
    """The directory of the state, and the calls of one run."""
    if shutil.which("strace") is None:
        pytest.skip("strace is missing: apt-get install strace")
    directory = tmp_path_factory.mktemp("recorded")
    (directory / "state").mkdir()
    calls = trace([sys.executable, "-m", __name__, str(directory / "state" / "state.db")], directory / "calls")
    if not calls:
        pytest.skip("strace may not trace here: run as root, or allow ptrace")
    return directory / "state", calls


def kept(directory: Path) -> tuple[list[list[bytes]], int]:
    """By store the hashes that a start finds, in order, and the sender's last sequence."""
    journal = SqliteJournal(directory / "state.db", full=True)
    try:
        book, _ = recover_book(journal.load().knowledge, PARAMETERS)
    finally:
        journal.close()
    return [_hashes(book, store_id) for store_id in STORES], book.last_sequence("sender")


def _hashes(book: KnowledgeStore, store_id: str) -> list[bytes]:
    tracker = book.tracker(store_id)
    incarnation = tracker.newest_incarnation("p") if tracker else None
    return list(incarnation.chains[-1].hashes) if incarnation else []


def _expected(batches: int) -> tuple[list[list[bytes]], int]:
    names = [
        [one.hash for batch in range(batches) if store_of(batch) == store_id for one in made(batch).intentions]
        for store_id in STORES
    ]
    return names, batches * PER_BATCH


def _acknowledged(calls: Sequence[Call]) -> int:
    told = [call.data for call in calls if call.name == "write" and call.data.startswith(ACKNOWLEDGED.encode())]
    return int(told[-1].decode().removeprefix(ACKNOWLEDGED)) if told else 0


def test_acknowledged_intentions_are_there_after_a_power_cut(recorded: tuple[Path, list[Call]], tmp_path: Path) -> None:
    directory, calls = recorded
    assert _acknowledged(calls) == BATCHES
    chance, disk = random.Random(7), Disk(directory)
    points = sorted(chance.choices(range(1, len(calls) + 1), k=CUTS))
    done, some_lost = 0, 0
    for number, point in enumerate(points):
        for call in calls[done:point]:
            disk.apply(call)
        done = point
        image = tmp_path / str(number)
        image.mkdir()
        disk.cut(image, chance)
        found, acknowledged = kept(image), _acknowledged(calls[:point])
        where = f"cut {number} after call {point} of {len(calls)}"
        assert found in (_expected(acknowledged), _expected(acknowledged + 1)), where
        some_lost += found == _expected(acknowledged)
        shutil.rmtree(image)
    assert some_lost > CUTS // 4, "cuts fall between a write and its sync"


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1])))
