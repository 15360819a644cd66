"""With ``durability = "full"`` nothing acknowledged is lost when the power goes, and no such file is called damaged.

A program that uses the journal runs under strace; its files are rebuilt as hundreds of power cuts may have left them.
``GOSSIPCONTROL_CUTS=2000`` runs the long form.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

import pytest
from gossipcontrol.server.core.event import RejoinRequested
from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.state.journal import JournalListener
from gossipcontrol.server.state.sqlite import SqliteJournal

from tests.kit.until import until
from tests.state.crash_images import Call, Disk, acknowledge, acknowledged, power_cuts, record

CUTS = int(os.environ.get("GOSSIPCONTROL_CUTS", "300"))
BATCHES = 60
PER_BATCH = 10
COMPACT_EVERY = 25
"""Batches between two snapshots, which take the place of the log before them."""
EVIDENCE = "e" * 1500
"""Long enough that the log of SQLite is written back into its file several times."""


def fact(number: int) -> Fact:
    return Fact(1000.0 + number, RejoinRequested(f"n{number}", ("a",), request_id=f"q{number}", evidence=EVIDENCE))


async def write(path: Path) -> None:
    """Commit batch after batch, and say so on the standard output: that is the acknowledgement."""
    journal, committed = SqliteJournal(path, full=True), list[int]()
    journal.load()
    journal.start(JournalListener(committed.append, lambda why: None, lambda seconds: None))
    last = 0
    for batch in range(BATCHES):
        first = batch * PER_BATCH
        number = journal.append([fact(one) for one in range(first, first + PER_BATCH)])
        if batch % COMPACT_EVERY == COMPACT_EVERY - 1:
            number = journal.compact({"until": first + PER_BATCH}, 1000.0 + first + PER_BATCH)
        await until(lambda number=number: max(committed, default=0) >= number, "the journal commits", 20)
        last = first + PER_BATCH
        acknowledge(last)
    await asyncio.to_thread(journal.close)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Call]]:
    """The directory of the state, and the calls of one run."""
    return record(__name__, tmp_path_factory.mktemp("recorded"))


def kept(directory: Path) -> list[int]:
    """The numbers of the facts that a start finds, those in the snapshot included."""
    journal = SqliteJournal(directory / "state.db", full=True)
    try:
        loaded = journal.load()
    finally:
        journal.close()
    until_number = loaded.snapshot["until"] if loaded.snapshot else 0
    numbers: list[int] = []
    for entry in loaded.entries:
        if isinstance(entry.event, RejoinRequested):
            numbers.append(int(entry.event.node_id[1:]))
            assert entry == fact(numbers[-1])
    return [*range(until_number), *numbers]


def test_what_was_acknowledged_is_there_after_a_power_cut(recorded: tuple[Path, list[Call]], tmp_path: Path) -> None:
    directory, calls = recorded
    assert sum(call.name in ("fsync", "fdatasync") for call in calls) >= BATCHES, "each commit is synced"
    some_lost = 0
    for image, told, where in power_cuts(directory, calls, tmp_path, CUTS):
        found = kept(image)
        assert found == list(range(len(found))), f"{where}: nothing is invented, doubled or out of order"
        assert told <= len(found) <= told + PER_BATCH, where
        some_lost += len(found) < told + PER_BATCH
    assert some_lost > CUTS // 4, "cuts fall between a write and its sync"


def test_without_syncs_the_same_cuts_lose_what_was_acknowledged(
    recorded: tuple[Path, list[Call]], tmp_path: Path
) -> None:
    """The measurement can see a loss: a disk that ignores every sync of the log but the first ones loses facts."""
    directory, calls = recorded
    chance, disk = random.Random(7), Disk(directory)
    half = len(calls) // 2
    for number, call in enumerate(calls[:half]):
        if number < half // 2 or call.name not in ("fsync", "fdatasync"):
            disk.apply(call)
    lost = 0
    for number in range(20):
        image = tmp_path / str(number)
        image.mkdir()
        disk.cut(image, chance)
        try:
            lost += len(kept(image)) < acknowledged(calls[:half])
        except Exception:  # noqa: BLE001 - refused as damaged: noticed as well
            lost += 1
    assert lost > 0


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1])))
