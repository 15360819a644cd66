"""A flipped bit anywhere in the state file changes nothing, or is refused at the start with what to do.

``GOSSIPCONTROL_FLIPS=1000`` runs the long form.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from gossipcontrol.server.config import State
from gossipcontrol.server.core.event import RejoinRequested
from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.errors import StartError
from gossipcontrol.server.state import checksum, wal
from gossipcontrol.server.state.check import CheckError, check
from gossipcontrol.server.state.checksum import DamagedError
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.journal import JournalListener, Loaded, StateError
from gossipcontrol.server.state.schema import STEPS
from gossipcontrol.server.state.sqlite import SqliteJournal

from tests.kit.service_lab import config, deciding, serving
from tests.kit.until import until
from tests.state.written_before.written_state import load, unpack

FLIPS = int(os.environ.get("GOSSIPCONTROL_FLIPS", "60"))
COMMITTED = 20.0
"""Seconds within which the writer thread commits."""
WHAT_TO_DO = "Move it away to start with an empty state"
ENTRIES: list[Fact | KnowledgeEntry] = [
    *(Fact(1000.0 + number, RejoinRequested(f"n{number}", ("a",), request_id="q" * 40)) for number in range(150)),
    *(KnowledgeEntry(2000.0, "s", "IntentionsRecorded", b"%0400d" % number) for number in range(50)),
]


async def append(journal: SqliteJournal, batches: int) -> None:
    """Commit the entries, in this many transactions."""
    committed: list[int] = []
    journal.start(JournalListener(committed.append, lambda why: None, lambda seconds: None))
    size = len(ENTRIES) // batches
    for start in range(0, len(ENTRIES), size):
        number = journal.append(ENTRIES[start : start + size])
        await until(lambda number=number: number in committed, "the journal commits", COMMITTED)


async def checkpointed(directory: Path) -> Path:
    """A file that was closed: rows and snapshots of an earlier version, and new rows."""
    path = unpack(directory)
    journal = SqliteJournal(path)
    journal.load()
    await append(journal, 2)
    await asyncio.to_thread(journal.close)
    return path


async def killed(directory: Path) -> Path:
    """A file as ``kill -9`` leaves it: everything is in the write-ahead log."""
    running = directory / "running"
    journal = SqliteJournal(running / "state.db")
    journal.load()
    await append(journal, 20)
    left = directory / "left"
    shutil.copytree(running, left)
    await asyncio.to_thread(journal.close)
    return left / "state.db"


async def used_again(directory: Path) -> Path:
    """The same, and the log began again over the frames of an earlier turn."""
    running = directory / "running"
    journal = SqliteJournal(running / "state.db")
    journal.load()
    await append(journal, 20)
    with closing(sqlite3.connect(running / "state.db")) as other:
        other.execute("PRAGMA wal_checkpoint(RESTART)")
    number = journal.append(ENTRIES[:30])
    await until(lambda: journal.stats().entries == number, "the journal commits", COMMITTED)
    left = directory / "left"
    shutil.copytree(running, left)
    await asyncio.to_thread(journal.close)
    return left / "state.db"


def flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def load_flipped(path: Path, directory: Path, suffix: str, bit: int) -> Loaded:
    """What a copy with this bit flipped holds; raises StateError."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for one in ("", "-wal"):
        if Path(f"{path}{one}").exists():
            shutil.copy(f"{path}{one}", directory)
    flip(Path(f"{directory / path.name}{suffix}"), bit)
    return load(directory / path.name)


@pytest.mark.parametrize(
    ("make", "suffix"),
    [(checkpointed, ""), (killed, "-wal"), (killed, ""), (used_again, "-wal")],
    ids=["file", "log", "file beside a log", "log begun again"],
)
async def test_a_flipped_bit_changes_nothing_or_is_refused(
    make: Callable[[Path], Awaitable[Path]], suffix: str, tmp_path: Path
) -> None:
    """nats-io/nats-server#7549, dolthub/doltlite#1352: a flipped bit lost acknowledged writes, and nothing said so."""
    path = await make(tmp_path)
    shutil.copytree(path.parent, tmp_path / "whole")
    whole = load(tmp_path / "whole" / path.name)
    assert len(whole.entries) >= 150
    bits = 8 * Path(f"{path}{suffix}").stat().st_size
    rng, found = random.Random(1), Counter[str]()
    for _ in range(FLIPS):
        bit = rng.randrange(bits)
        try:
            same = load_flipped(path, tmp_path / "flipped", suffix, bit) == whole
        except StateError:
            found["refused"] += 1
        else:
            assert same, f"bit {bit} made another state of it"
            found["same"] += 1
    print(make.__name__, suffix, dict(found))
    # All of a file whose pages are in the log too is read from there, and the only transaction of a log is mended.
    assert found["refused"] or (make, suffix) in ((killed, ""), (used_again, "-wal"))


async def test_a_flipped_bit_of_the_last_frame_is_no_torn_end(tmp_path: Path) -> None:
    path = await killed(tmp_path)
    whole = load(shutil.copytree(path.parent, tmp_path / "whole") / path.name)
    size = Path(f"{path}-wal").stat().st_size
    rng, mended = random.Random(2), 0
    for _ in range(40):
        try:  # of its header, the page number, the size and the salts
            bit = rng.randrange(8 * (size - 4096 - 24), 8 * size)
            if size - 4096 - 8 <= bit // 8 < size - 4096:
                continue
            assert load_flipped(path, tmp_path / "flipped", "-wal", bit) == whole
            mended += 1
        except StateError:
            pass  # too many words may have been the one
        sums = rng.randrange(8 * (size - 4096 - 8), 8 * (size - 4096))
        with pytest.raises(StateError, match=rf"state\.db-wal: frame \d+ does not match.*{WHAT_TO_DO}"):
            load_flipped(path, tmp_path / "flipped", "-wal", sums)
    assert mended > 20


async def test_a_changed_byte_of_the_last_frame_and_a_lost_header_are_no_torn_end(tmp_path: Path) -> None:
    path = await killed(tmp_path)
    log = Path(f"{path}-wal")
    whole, rng, mended = log.read_bytes(), random.Random(3), 0
    for _ in range(20):
        place = rng.randrange(len(whole) - 4096, len(whole))
        log.write_bytes(whole[:place] + bytes([whole[place] ^ rng.randrange(1, 256)]) + whole[place + 1 :])
        with pytest.raises(DamagedError, match=r"state\.db-wal: (one word of )?frame \d+ does not match") as damaged:
            wal.verify(path)
        if isinstance(damaged.value, wal.TornWordError):
            at = [mend.offset for mend in damaged.value.mends]
            mended += any(offset <= place < offset + 4 for offset in at)
    assert mended > 10
    log.write_bytes(bytes(32) + whole[32:])
    with pytest.raises(DamagedError, match="its header does not match"):
        wal.verify(path)


async def test_a_sector_that_was_not_synced_and_differs_in_one_word_is_mended(tmp_path: Path) -> None:
    """Found by a power cut in 10,000: the log held nearly the same page there before, so one word was old."""
    path = await killed(tmp_path)
    shutil.copytree(path.parent, tmp_path / "whole")
    log = Path(f"{path}-wal")
    whole, frame = log.read_bytes(), 4096 + 24
    last = [number for number in range(len(whole) // frame) if any(whole[32 + number * frame + 4 :][:4])][-2] + 1
    assert last < len(whole) // frame - 1, "the last transaction has several frames"
    intact = load(shutil.copytree(tmp_path / "whole", tmp_path / "intact") / path.name)
    for byte in range(4):  # of which the upper ones look like changes of other words
        place = 32 + last * frame + 24 + 8 + byte
        log.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CheckError, match=rf"one word of frame {last + 1} does not match its checksum; a start"):
            check(path)
        assert load(shutil.copytree(path.parent, tmp_path / f"byte-{byte}") / path.name) == intact


@pytest.mark.parametrize("old", [8, 16], ids=["page and size", "page, size and salts"])
@pytest.mark.parametrize("place", [0, -1], ids=["first frame", "last frame"])
async def test_a_header_of_which_one_sector_was_not_synced_is_no_damage(old: int, place: int, tmp_path: Path) -> None:
    """The first bytes of the header are those of a frame that the log held there in an earlier turn."""
    path = await killed(tmp_path)
    log, frame = Path(f"{path}-wal"), 4096 + 24
    whole = log.read_bytes()
    before = load(shutil.copytree(path.parent, tmp_path / "whole") / path.name)
    ends = [number for number in range(len(whole) // frame) if any(whole[32 + number * frame + 4 :][:4])]
    at = 32 + (ends[-2] + 1 if place == 0 else ends[-1]) * frame
    for page, size in ((whole[at : at + 4], b"\0\0\0\x09"), (whole[at : at + 4], bytes(4)), (b"\0\0\0\3", bytes(4))):
        header = (page + size + b"older.as")[:old]
        log.write_bytes(whole[:at] + header + whole[at + old :])
        found = load(shutil.copytree(path.parent, tmp_path / page.hex() / size.hex(), dirs_exist_ok=True) / path.name)
        assert found.entries == before.entries[: len(found.entries)]
        assert len(found.entries) >= len(before.entries) - len(ENTRIES) // 20


async def test_the_service_does_not_start_on_a_damaged_log_and_says_why(tmp_path: Path) -> None:
    path = await killed(tmp_path)
    flip(Path(f"{path}-wal"), 8 * 20_000)
    settings = replace(config(tmp_path, deciding=deciding()), state=State(path=str(path)))
    said = rf"state\.path {path} cannot be used: it is damaged \(state\.db-wal: frame 5 is bad, and frame \d+ behind it"
    with pytest.raises(StartError, match=f"{said} was committed.*{WHAT_TO_DO}"):
        async with serving(settings):
            pass


async def test_what_stands_before_a_bad_frame_can_be_kept_as_the_document_says(tmp_path: Path) -> None:
    path = await killed(tmp_path)
    whole = load(shutil.copytree(path.parent, tmp_path / "whole") / path.name)
    flip(Path(f"{path}-wal"), 8 * Path(f"{path}-wal").stat().st_size // 2)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    kept = load(path).entries
    assert 0 < len(kept) < len(whole.entries)
    assert kept == whole.entries[: len(kept)]


async def test_a_torn_end_is_normal_after_a_crash(tmp_path: Path) -> None:
    path = await killed(tmp_path)
    log = Path(f"{path}-wal")
    frames = wal.verify(path)
    whole = log.read_bytes()
    for cut in (1, 2000, 4096, 4119):
        log.write_bytes(whole[:-cut])
        assert wal.verify(path) == frames - 1
    for cut in (512, 2000, 4096, 4119):
        log.write_bytes(whole[:-cut] + bytes(cut))
        assert wal.verify(path) in (frames - 1, frames)
    assert len(load(path).entries) < 150 + 1
    log.write_bytes(bytes(len(whole)))
    assert wal.verify(path) == 0


def test_a_large_transaction_that_was_killed_is_no_damage(tmp_path: Path) -> None:
    """A page that is changed again after it went to the log is written over its frame, and summed at the commit."""
    running = tmp_path / "running"
    running.mkdir()
    with closing(sqlite3.connect(running / "state.db", isolation_level=None)) as connection:
        connection.executescript("PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY, body);")
        connection.executescript("PRAGMA cache_size = 10; BEGIN")
        for _ in range(2):
            for number in range(100):
                connection.execute("INSERT OR REPLACE INTO t VALUES (?, randomblob(3000))", (number,))
        left = shutil.copytree(running, tmp_path / "left")
        assert wal.verify(left / "state.db") < (left / "state.db-wal").stat().st_size // 4120
        connection.execute("COMMIT")
        frames = wal.verify(running / "state.db")
        assert frames == (running / "state.db-wal").stat().st_size // 4120


async def test_frames_of_an_earlier_turn_behind_the_end_are_normal(tmp_path: Path) -> None:
    path = await used_again(tmp_path)
    size = Path(f"{path}-wal").stat().st_size
    assert 0 < wal.verify(path) < size // 4120
    assert load(path).entries[-30:] == ENTRIES[:30]


async def test_the_message_names_file_table_and_row(tmp_path: Path) -> None:
    path = await checkpointed(tmp_path)
    with closing(sqlite3.connect(path)) as connection, connection:
        ((number,),) = connection.execute("SELECT max(seq) FROM log WHERE store IS NULL").fetchall()
        connection.execute("UPDATE log SET fields = replace(fields, 'n149', 'n148') WHERE seq = ?", (number,))
    said = rf"{re.escape(str(path))} .*\(table log, row {number}: its checksum does not match\).*{WHAT_TO_DO}"
    with pytest.raises(StateError, match=said):
        load(path)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("DELETE FROM log WHERE seq = (SELECT max(seq) FROM log)", r"table log: \d+ rows found, \d+ were written"),
        ("DELETE FROM snapshot", "table snapshot: 0 rows found, 1 were written"),
        ("DELETE FROM tally WHERE name = 'part'", "table tally: a table is missing"),
        ("DROP INDEX log_store", "the definitions of its tables"),
        ("PRAGMA user_version = 4", "it says schema 4, and has the tables of a newer one"),
    ],
)
async def test_what_is_missing_is_refused(script: str, said: str, tmp_path: Path) -> None:
    path = await checkpointed(tmp_path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(script)
    with pytest.raises(StateError, match=f"{said}.*{WHAT_TO_DO}"):
        load(path)


@pytest.mark.parametrize("at", [float("inf"), -1.0])
def test_an_instant_that_is_none_is_refused(at: float, tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    load(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        checksum.insert(connection, "log", [(1, at, "TimePassed", "{}", "[]", None, None)])
    with pytest.raises(StateError, match=rf"table log, row 1: its instant is {at}"):
        load(path)


def test_a_file_of_an_earlier_version_gets_checksums(tmp_path: Path) -> None:
    path = unpack(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        rows = {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("log", "part")}
    load(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(STEPS),)
        found = checksum.verify(connection)
        assert {table: found[table] for table in rows} == rows
        connection.execute("UPDATE part SET crc = crc + 1")
        with pytest.raises(DamagedError, match="table part, row"):
            checksum.verify(connection)
