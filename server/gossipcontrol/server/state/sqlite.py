"""Log and snapshots in one SQLite file: WAL mode, one writer thread, everything that waits in one transaction."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gossipcontrol.server.core.codec import CodecError, Plain
from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.state import knowledge_table
from gossipcontrol.server.state.entry import KnowledgeEntry, read_entry, write_entry
from gossipcontrol.server.state.file import StateFile
from gossipcontrol.server.state.journal import JournalListener, JournalStats, KnowledgeSnapshot, Loaded, StateError
from gossipcontrol.server.state.knowledge_table import StoreSnapshotWriter
from gossipcontrol.server.state.pack import Packer, pack
from gossipcontrol.server.state.snapshot_policy import SnapshotPolicy

RETRY = 0.5
"""Seconds between two tries to keep what could not be kept."""
MOVE_RETRY = 30.0
"""Seconds after which a store is snapshotted again when that failed."""
SNAPSHOT_BYTES = 8 << 20
"""A log shorter than this is not worth a snapshot."""
CLOSE_TIME = 5.0
"""Seconds that a failing disk gets at a stop."""
ENTRY_BYTES = 24
"""What a row costs beside its texts, about."""
STEP = 0.02
"""Seconds for which a transaction packs a snapshot that is written little by little."""
_SIZES = "SELECT count(*), coalesce(sum(length(fields) + length(said) + ?) FILTER (WHERE store IS NULL), 0) FROM log"
_INSERT = "INSERT INTO log (seq, at, kind, fields, said, store, body) VALUES (?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class _Snapshot:
    plain: Plain
    at: float
    knowledge: KnowledgeSnapshot | None


class _Compaction:
    """Packs a snapshot a little per transaction, so that other facts wait for little; the last step changes over."""

    def __init__(self, number: int, plain: Plain, at: float) -> None:
        self.number = number
        self._packer = Packer(plain)
        self._at = at

    def step(self, connection: sqlite3.Connection) -> int:
        """Go on; the size of the snapshot once it is there, 0 before."""
        body = self._packer.step(STEP)
        return 0 if body is None else _replace_log(connection, body, self._at, self.number)


_Item = Fact | KnowledgeEntry | _Snapshot | _Compaction | StoreSnapshotWriter
_Batch = Sequence[tuple[int, _Item]]
"""What is to be written, by number."""


class SqliteJournal:
    """The writer thread owns the file from ``start`` on, and tells the event loop how it goes."""

    durable = True

    def __init__(self, path: Path, *, full: bool = False, max_bytes: int = 1 << 30) -> None:
        self._file = StateFile(path, full=full, max_bytes=max_bytes)
        self._max_bytes = max_bytes
        self._ready = threading.Condition()
        self._queue: list[tuple[int, _Item]] = []
        self._number = 0
        self._closing_at: float | None = None
        self._thread: threading.Thread | None = None
        self._entries = self._log_bytes = self._snapshot_bytes = 0
        self._snapshot_queued = self._whole_queued = False
        self._backlog = SnapshotPolicy(max_bytes)
        self._move_at = 0.0
        """Monotonic instant from which on stores may be snapshotted."""
        self._move: StoreSnapshotWriter | None = None
        """The snapshot of a store under way, in the writer thread."""
        self._compaction: _Compaction | None = None
        """That of deciding under way, in the writer thread."""
        self._dead: list[int] = []
        """Generations of snapshots that were given up."""

    # Opening.

    def load(self) -> Loaded:
        """Check and read the file, made if there is none; raises StateError with what to do."""
        path = self._file.path
        try:
            return self._read(self._file.open())
        except OSError as error:
            raise StateError(f"state.path {path}: {error.strerror}") from error
        except sqlite3.OperationalError as error:
            hint = "is another service using it?" if "locked" in str(error) else "is there room, and may it be written?"
            raise StateError(f"state.path {path}: {error}; {hint}") from error
        except (sqlite3.DatabaseError, CodecError, ValueError, KeyError, zlib.error) as error:
            raise StateError(
                f"state.path {path} cannot be used: {error}. "
                "Move it away to start with an empty state, or put a copy back that is whole."
            ) from error

    def _read(self, connection: sqlite3.Connection) -> Loaded:
        row = connection.execute("SELECT at, body FROM snapshot").fetchone()
        plain = json.loads(zlib.decompress(row[1])) if row else None
        rows = connection.execute("SELECT at, kind, fields, said FROM log WHERE store IS NULL ORDER BY seq").fetchall()
        entries = [read_entry(*one) for one in rows]
        self._log_bytes = sum(len(one[2]) + len(one[3]) + ENTRY_BYTES for one in rows)
        self._snapshot_bytes = len(row[1]) if row else 0
        knowledge = knowledge_table.read(connection)
        self._backlog.resize({store_id: len(body) for store_id, body in knowledge.stores.items()})
        for _, one in knowledge.entries:
            self._backlog.add(one.store_id, len(one.body) + ENTRY_BYTES)
        self._entries = len(entries) + len(knowledge.entries)
        self._number, at = knowledge_table.last(connection)
        instants = [*(one.at for one in entries), *(one.at for _, one in knowledge.entries)]
        return Loaded(plain, entries, max([row[0] if row else 0.0, at, *instants]), knowledge)

    # In the event loop.

    def start(self, watch: JournalListener) -> None:
        """Start the writer."""
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write, args=(loop, watch), name="state", daemon=True)
        self._thread.start()

    def append(self, entries: Sequence[Fact | KnowledgeEntry]) -> int:
        """Queue facts for the next transaction."""
        for one in entries:
            if type(one) is KnowledgeEntry:
                self._backlog.add(one.store_id, len(one.body) + ENTRY_BYTES)
        with self._ready:
            self._queue += enumerate(entries, self._number + 1)
            self._number += len(entries)
            self._ready.notify()
            return self._number

    def snapshot(self, plain: Plain, at: float, knowledge: KnowledgeSnapshot | None = None) -> int:
        """Queue a snapshot: the log up to here goes in the same transaction."""
        self._snapshot_queued = True
        if knowledge is not None:
            self._whole_queued = True
            self._backlog.clear()
        return self._put(_Snapshot(plain, at, knowledge))

    def compact(self, plain: Plain, at: float) -> int:
        """Queue a snapshot: it is packed with the transactions that follow, and then the log up to here goes."""
        self._snapshot_queued = True
        return self._put(_Compaction(self._number + 1, plain, at))

    def snapshot_store(self, knowledge: KnowledgeSnapshot) -> int:
        """Queue the snapshot of a store: its parts go with the transactions that follow."""
        move = StoreSnapshotWriter(self._number + 1, knowledge)
        self._backlog.begin(move.store_id, move.generation)
        return self._put(move)

    def _put(self, one: _Snapshot | _Compaction | StoreSnapshotWriter) -> int:
        with self._ready:
            self._number += 1
            self._queue.append((self._number, one))
            self._ready.notify()
            return self._number

    def wants_snapshot(self) -> bool:
        """Whether the file is lost, or the log outweighs the snapshot or a quarter of what the file may hold."""
        limit = min(max(SNAPSHOT_BYTES, 2 * self._snapshot_bytes), self._max_bytes // 4)
        return self.wants_all() or (self._log_bytes > limit and not self._snapshot_queued)

    def wants_all(self) -> bool:
        """Whether the file is lost."""
        return self._file.lost and not self._whole_queued

    def due_store(self) -> str | None:
        """The store whose log outweighs its snapshot, unless the last try failed just now."""
        return None if time.monotonic() < self._move_at else self._backlog.due()

    def has_room(self) -> bool:
        """Whether the logs and snapshots of stores take less than half of what the file may hold."""
        return not self._backlog.is_full()

    def figures(self) -> JournalStats:
        """Sizes now."""
        return JournalStats(self._log_bytes + self._backlog.bytes, self._entries)

    def close(self) -> None:
        """Wait for the writer; blocks, at most a little longer than ``CLOSE_TIME``."""
        with self._ready:
            self._closing_at = time.monotonic() + CLOSE_TIME
            self._ready.notify()
        if self._thread is not None:
            self._thread.join()
        self._file.drop()

    # In the writer thread.

    def _write(self, loop: asyncio.AbstractEventLoop, watch: JournalListener) -> None:
        batch: list[tuple[int, _Item]] = []
        while True:
            with self._ready:
                while not (self._queue or batch or self._goes_on() or self._closing_at is not None):
                    self._ready.wait()
                batch += self._queue
                self._queue.clear()
                number, closing_at = self._number, self._closing_at
            if not batch and (closing_at is not None or not self._goes_on()):
                return
            started_at = time.perf_counter()
            try:
                self._commit(batch, loop)
            except (sqlite3.Error, OSError) as error:
                self._give_up(loop)
                _tell(loop, watch.failed, f"{self._file.path}: {error}")
                if closing_at is not None and time.monotonic() > closing_at:
                    return
                time.sleep(RETRY)
                continue
            batch.clear()
            _tell(loop, watch.observed, time.perf_counter() - started_at)
            _tell(loop, watch.committed, number)

    def _commit(self, batch: _Batch, loop: asyncio.AbstractEventLoop) -> None:
        """All of it in one transaction, and a part of the store that moves; what snapshots hold need not be written."""
        snapshots = [(number, one) for number, one in batch if isinstance(one, _Snapshot)]
        wholes = [(number, one.knowledge) for number, one in snapshots if one.knowledge is not None]
        whole_at, whole = wholes[-1] if wholes else (0, None)
        rows = _rows(batch, snapshots[-1][0] if snapshots else 0, whole_at)
        packed = 0
        connection = self._file.reopen(bool(wholes))
        try:
            connection.execute("BEGIN IMMEDIATE")
            if snapshots:
                number, last = snapshots[-1]
                packed = _replace_log(connection, pack(last.plain), last.at, number)
            sizes = None if whole is None else knowledge_table.write_all(connection, whole_at, whole)
            connection.executemany(_INSERT, rows)
            connection.executemany("DELETE FROM part WHERE generation = ?", [(one,) for one in self._dead])
            moved = self._move is not None and whole is None and self._move.step(connection)
            if self._compaction is not None and not snapshots:
                packed = self._compaction.step(connection)
            entries, log_bytes = self._entries + len(rows), self._log_bytes + sum(map(_size, rows))
            if packed or moved:
                entries, log_bytes = connection.execute(_SIZES, (ENTRY_BYTES,)).fetchone()
            connection.execute("COMMIT")
        except (sqlite3.Error, OSError):
            self._file.drop()
            raise
        self._entries, self._log_bytes = entries, log_bytes
        self._dead.clear()
        if packed:
            self._snapshot_bytes, self._snapshot_queued, self._compaction = packed, False, None
        if sizes is not None:
            self._whole_queued = False
            _tell(loop, self._backlog.resize, sizes)
        if self._move is not None and moved:
            _tell(loop, self._backlog.end, self._move.generation, self._move.size)
        if moved or sizes is not None:
            self._move = None
        for number, one in batch:
            if isinstance(one, StoreSnapshotWriter) and number > whole_at:
                self._move = one
            elif isinstance(one, _Compaction) and not snapshots:
                self._compaction = one

    def _goes_on(self) -> bool:
        """Whether a snapshot is under way."""
        return self._move is not None or self._compaction is not None

    def _give_up(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop to snapshot little by little: it may be that which the disk has no room for."""
        if self._compaction is not None:
            self._compaction, self._snapshot_queued = None, False
        if self._move is not None:
            self._dead.append(self._move.generation)
            self._move_at = time.monotonic() + MOVE_RETRY
            _tell(loop, self._backlog.give_up, self._move.generation)
            self._move = None


_Row = tuple[int, float, str, str, str, str | None, bytes | None]


def _rows(batch: _Batch, snapshot_at: int, whole_at: int) -> list[_Row]:
    """The rows of the log: facts that no snapshot of the batch holds."""
    rows: list[_Row] = []
    for number, one in batch:
        if type(one) is Fact and number > snapshot_at:
            rows.append((number, *write_entry(one), None, None))
        elif type(one) is KnowledgeEntry and number > whole_at:
            rows.append((number, one.at, one.kind, "{}", "[]", one.store_id, one.body))
    return rows


def _size(row: _Row) -> int:
    """What a row of the log adds to that of deciding."""
    return len(row[3]) + len(row[4]) + ENTRY_BYTES if row[5] is None else 0


def _replace_log(connection: sqlite3.Connection, body: bytes, at: float, number: int) -> int:
    """Put a snapshot in place of the log before it, that of knowledge aside; returns its size."""
    connection.execute("INSERT OR REPLACE INTO snapshot (id, at, body) VALUES (1, ?, ?)", (at, body))
    connection.execute("DELETE FROM log WHERE store IS NULL AND seq < ?", (number,))
    return len(body)


def _tell(loop: asyncio.AbstractEventLoop, whom: Callable[..., None], *what: object) -> None:
    """Call in the loop, unless it has ended."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(whom, *what)
