"""Writes to the SQLite file: everything that waits goes into one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.state import clock_table, knowledge_table, log_table
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.file import CHECKPOINT_PAGES, StateFile
from gossipcontrol.server.state.journal import ClockReading, KnowledgeSnapshot
from gossipcontrol.server.state.knowledge_table import StoreSnapshotWriter
from gossipcontrol.server.state.log_table import Row, SnapshotWriter
from gossipcontrol.server.state.pack import pack


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot to be written at once; with ``knowledge`` it replaces everything in the file."""

    plain: Plain
    at: float
    knowledge: KnowledgeSnapshot | None


ENTRIES = (Fact, KnowledgeEntry)
Item = Fact | KnowledgeEntry | Snapshot | SnapshotWriter | StoreSnapshotWriter
Batch = Sequence[tuple[int, Item]]
"""What waits to be written, by number."""


@dataclass(frozen=True, slots=True)
class Written:
    """What one transaction wrote."""

    entries: int
    """Entries in the log now."""
    log_bytes: int
    """Bytes of those of deciding."""
    snapshot_bytes: int
    """Size of the snapshot of deciding, 0 when none was completed."""
    store_sizes: Mapping[str, int] | None
    """Sizes of the snapshots of all stores, None unless all were written."""
    store_snapshot: StoreSnapshotWriter | None
    """The snapshot of a store that was completed."""


class Abandoned(NamedTuple):
    """The snapshots under way that were given up."""

    snapshot: bool
    """Whether that of deciding was."""
    generation: int | None
    """That of a store."""


LEAST_PAGES = 4
"""Pages that a short transaction writes at least: of the log, its tally, and one above them."""
PAGE = 4000
"""Bytes of rows in a page."""
SETTLED_ROWS = 1000
"""Rows of a transaction after which SQLite hardly makes a checkpoint by itself."""


class _Plan(NamedTuple):
    """What a batch comes to: the last snapshots, and the rows that no snapshot of the batch covers."""

    snapshot_number: int
    snapshot: Snapshot | None
    knowledge_number: int
    knowledge: KnowledgeSnapshot | None
    rows: list[Row]


class FileWriter:
    """Owns the file while the journal runs; a snapshot under way goes on with every transaction of the thread."""

    def __init__(self, file: StateFile) -> None:
        self.file = file
        self.entries = 0
        self.log_bytes = 0
        self.clock: Callable[[], ClockReading] | None = None
        """How the clocks stand now."""
        self._reading: ClockReading | None = None
        """As last written to this file."""
        self._snapshot: SnapshotWriter | None = None
        """That of deciding under way."""
        self._store_snapshot: StoreSnapshotWriter | None = None
        """That of a store under way."""
        self._abandoned: list[int] = []
        """Generations of abandoned snapshots, whose parts the next transaction deletes."""
        self._unsynced = 0
        """About how many pages short transactions have written since the last checkpoint."""
        self._is_short = False
        """Whether the last transaction was a short one."""
        self._short_failed = False
        self.is_settled = False
        """Whether the next transaction needs no sync: after a checkpoint, which follows long ones, the first does."""

    @property
    def is_busy(self) -> bool:
        """Whether a snapshot is under way."""
        return self._store_snapshot is not None or self._snapshot is not None

    @property
    def needs_thread(self) -> bool:
        """Whether the next transaction is to sync the disk, or to do more than to append facts."""
        return self._unsynced >= CHECKPOINT_PAGES or self._short_failed or bool(self._abandoned)

    def commit_short(self, batch: Batch) -> None:
        """Append facts without a sync of the disk and without waiting for a lock; raises what ``commit`` raises.

        What it leaves behind when it fails, the next ``commit`` clears up, because that takes time.
        """
        rows = _plan(batch).rows
        self._short_failed, was_short, self._is_short = True, self._is_short, True
        connection = self.file.present()
        if not was_short:
            self.file.be_quick(True)
        reading = self._new_reading()
        if reading is None and len(rows) == 1:
            log_table.insert_alone(connection, rows[0])
        else:
            connection.execute("BEGIN IMMEDIATE")
            log_table.insert(connection, rows)
            if reading is not None:
                clock_table.write(connection, reading)
            connection.execute("COMMIT")
        self._short_failed, self._reading = False, reading or self._reading
        self.entries += len(rows)
        self.log_bytes += sum(map(log_table.row_bytes, rows))
        self._unsynced += LEAST_PAGES + sum(map(_size, rows)) // PAGE

    def _end_short(self) -> None:
        """Close a connection on which a short transaction failed; else copy what they wrote into the file in time."""
        self._is_short = False
        if self._short_failed:
            self._short_failed = False
            self.file.drop()
            self._reading = None
            return
        connection = self.file.present()
        self.file.be_quick(False)
        if self._unsynced >= CHECKPOINT_PAGES:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._unsynced = 0

    def commit(self, batch: Batch) -> Written:
        """Write a batch and the next step of what is under way; raises sqlite3.Error or OSError, nothing written."""
        plan = _plan(batch)
        try:
            if self._is_short:
                self._end_short()
            connection = self.file.reopen(plan.knowledge is not None)
            connection.execute("BEGIN IMMEDIATE")
            written = self._write(connection, plan)
            reading = self._new_reading()
            if reading is not None:
                clock_table.write(connection, reading)
            connection.execute("COMMIT")
        except (sqlite3.Error, OSError):
            self.file.drop()
            self._reading = None  # the file may be another one next time
            raise
        self._reading = reading or self._reading
        self.entries, self.log_bytes = written.entries, written.log_bytes
        self.is_settled = not self.is_busy and len(plan.rows) == len(batch) < SETTLED_ROWS
        self._go_on(batch, plan, written)
        return written

    def abandon(self) -> Abandoned:
        """Give up the snapshots under way, because the disk may have no room for them."""
        generation = None if self._store_snapshot is None else self._store_snapshot.generation
        abandoned = Abandoned(self._snapshot is not None, generation)
        self._abandoned += [] if generation is None else [generation]
        self._snapshot = self._store_snapshot = None
        return abandoned

    def _write(self, connection: sqlite3.Connection, plan: _Plan) -> Written:
        size, sizes, completed = 0, None, None
        if plan.snapshot is not None:
            size = log_table.replace(connection, pack(plan.snapshot.plain), plan.snapshot.at, plan.snapshot_number)
        if plan.knowledge is not None:
            sizes = knowledge_table.write_all(connection, plan.knowledge_number, plan.knowledge)
        log_table.insert(connection, plan.rows)
        knowledge_table.delete_parts(connection, self._abandoned)
        if self._store_snapshot is not None and plan.knowledge is None and self._store_snapshot.step(connection):
            completed = self._store_snapshot
        if self._snapshot is not None and plan.snapshot is None:
            size = self._snapshot.step(connection)
        if size or completed:
            entries, log_bytes = log_table.measure(connection)
        else:
            entries = self.entries + len(plan.rows)
            log_bytes = self.log_bytes + sum(map(log_table.row_bytes, plan.rows))
        return Written(entries, log_bytes, size, sizes, completed)

    def _new_reading(self) -> ClockReading | None:
        """How the clocks stand, when the file does not say so yet."""
        if self.clock is None or not clock_table.differs(self._reading, reading := self.clock()):
            return None
        return reading

    def _go_on(self, batch: Batch, plan: _Plan, written: Written) -> None:
        """End what was completed or overtaken, and begin what the batch asks for."""
        self._abandoned.clear()
        if written.snapshot_bytes:
            self._snapshot = None
        if written.store_snapshot or written.store_sizes is not None:
            self._store_snapshot = None
        for number, item in batch:
            if isinstance(item, StoreSnapshotWriter) and number > plan.knowledge_number:
                self._store_snapshot = item
            elif isinstance(item, SnapshotWriter) and plan.snapshot is None:
                self._snapshot = item


def _plan(batch: Batch) -> _Plan:
    snapshot_number, knowledge_number = 0, 0
    snapshot: Snapshot | None = None
    knowledge: KnowledgeSnapshot | None = None
    for number, item in batch:
        if isinstance(item, Snapshot):
            snapshot_number, snapshot = number, item
            if item.knowledge is not None:
                knowledge_number, knowledge = number, item.knowledge
    rows: list[Row] = []
    for number, item in batch:
        if isinstance(item, ENTRIES) and number > (snapshot_number if type(item) is Fact else knowledge_number):
            rows.append(log_table.entry_row(number, item))
    return _Plan(snapshot_number, snapshot, knowledge_number, knowledge, rows)


def _size(row: Row) -> int:
    return len(row[3]) + len(row[4]) + len(row[6] or b"")
