"""A power cut keeps every acknowledged intention, and the snapshots of stores as a whole or not at all."""

from __future__ import annotations

import asyncio
import os
import sys
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
from tests.state.crash_images import Call, acknowledge, acknowledged, power_cuts, record

CUTS = int(os.environ.get("GOSSIPCONTROL_CUTS", "300")) // 2
BATCHES = 60
PER_BATCH = 100
"""Intentions of one author, acknowledged together."""
SNAPSHOT_EVERY = 12
"""Batches between two snapshots of a store, whose parts take the place of its log."""
STORES = ("s", "t")
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
        acknowledge(batch + 1)
    await asyncio.to_thread(journal.close)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Call]]:
    """The directory of the state, and the calls of one run."""
    return record(__name__, tmp_path_factory.mktemp("recorded"))


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


def test_acknowledged_intentions_are_there_after_a_power_cut(recorded: tuple[Path, list[Call]], tmp_path: Path) -> None:
    directory, calls = recorded
    assert acknowledged(calls) == BATCHES
    some_lost = 0
    for image, told, where in power_cuts(directory, calls, tmp_path, CUTS):
        found = kept(image)
        assert found in (_expected(told), _expected(told + 1)), where
        some_lost += found == _expected(told)
    assert some_lost > CUTS // 4, "cuts fall between a write and its sync"


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1])))
