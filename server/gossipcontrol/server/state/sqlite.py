"""The SQLite backend: log and snapshots in one file in WAL mode.

Short transactions that need no sync of the disk are made in the event loop, because a thread costs each call more than
they do. Everything else, and everything while the disk is slow or fails, is left to the writer thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from gossipcontrol.server.core.codec import CodecError, Plain
from gossipcontrol.server.core.effect import Effect
from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.state import clock_table, knowledge_table, log_table
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.file import StateFile
from gossipcontrol.server.state.journal import JournalListener, JournalStats, KnowledgeSnapshot, Loaded, StateError
from gossipcontrol.server.state.knowledge_table import StoreSnapshotWriter
from gossipcontrol.server.state.log_table import ENTRY_BYTES, SnapshotWriter
from gossipcontrol.server.state.snapshot_policy import MIN_LOG_BYTES, SnapshotPolicy
from gossipcontrol.server.state.writer import FileWriter, Item, Snapshot, Written

COMMIT_RETRY = 0.5
"""Seconds between two tries to write what could not be written."""
STORE_SNAPSHOT_RETRY = 30.0
"""Seconds until the next snapshot of a store after one that failed."""
CLOSE_TIME = 5.0
"""Seconds for which a stop waits for a failing disk."""
LOOP_ROWS = 256
"""Most rows of a transaction in the event loop: some 3 ms."""
LOOP_WEIGHT = 1000
"""Most names in them."""
NAME_BYTES = 64
"""Bytes of knowledge that count as a name."""
SLOW_COMMIT = 0.01
"""Seconds from which on a commit in the event loop was slow."""
SLOW_TIME = 5.0
"""Seconds after a slow commit in which the thread commits."""


class Owner(Enum):
    """Who may use the file now."""

    THREAD = "the writer thread"
    OFFERED = "nobody: the event loop has yet to hear what the thread committed"
    LOOP = "the event loop"


class SqliteJournal:
    """From ``start`` on, the event loop or the writer thread owns the file. With ``full`` it is always the thread."""

    durable = True
    shared = False

    def __init__(self, path: Path, *, full: bool = False, max_bytes: int = 1 << 30) -> None:
        self._file = StateFile(path, full=full, max_bytes=max_bytes)
        self._writer = FileWriter(self._file)
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        """Held while the queue or the owner changes."""
        self._ready = threading.Condition(self._lock)
        """There may be something for the thread to do."""
        self._queue: list[tuple[int, Item]] = []
        self._number = 0
        self._closing_at: float | None = None
        self._thread: threading.Thread | None = None
        self._long_log = MIN_LOG_BYTES
        """Bytes of a log of deciding that is worth a snapshot."""
        self._snapshot_queued = False
        self._knowledge_queued = False
        """Whether a snapshot with the knowledge of every store is queued."""
        self._policy = SnapshotPolicy(max_bytes)
        self._store_snapshot_from = 0.0
        """Monotonic instant from which on stores may be snapshotted."""
        self._full = full
        self._owner = Owner.THREAD
        """The loop takes what is offered, and gives it up; the thread offers it, and takes it at the close."""
        self._in_use = threading.Lock()
        """Held during a transaction."""
        self._thread_until = 0.0
        """Monotonic instant until which the thread commits, because the disk is slow."""
        self._is_soon = False
        """Whether the event loop is about to commit."""
        self._listener: JournalListener | None = None

    # Opening.

    def load(self) -> Loaded:
        """Check and read the file, made if there is none; raises StateError with what to do."""
        path = self._file.path
        try:
            return self._read(self._file.open())
        except OSError as error:
            raise StateError(f"state.path {path}: {error.strerror}") from error
        except sqlite3.OperationalError as error:
            locked = "locked" in str(error)
            hint = "is another service using it?" if locked else "is the disk full, or the file not writable?"
            raise StateError(f"state.path {path}: {error}; {hint}") from error
        except (sqlite3.DatabaseError, CodecError, ValueError, KeyError, zlib.error) as error:
            raise StateError(
                f"state.path {path} cannot be used: {error}. "
                "Move it away to start with an empty state, or restore an intact copy."
            ) from error

    def _read(self, connection: sqlite3.Connection) -> Loaded:
        log = log_table.read(connection)
        knowledge = knowledge_table.read(connection)
        self._measure(log.snapshot_bytes)
        self._writer.log_bytes = log.log_bytes
        self._writer.entries = len(log.entries) + len(knowledge.entries)
        self._policy.resize({store_id: len(body) for store_id, body in knowledge.stores.items()})
        for _, one in knowledge.entries:
            self._policy.add(one.store_id, len(one.body) + ENTRY_BYTES)
        self._number, at = knowledge_table.last(connection)
        instants = [*(one.at for one in log.entries), *(one.at for _, one in knowledge.entries)]
        return Loaded(
            log.snapshot, log.entries, max([log.snapshot_at, at, *instants]), knowledge, clock_table.read(connection)
        )

    # In the event loop.

    def start(self, listener: JournalListener) -> None:
        """Start the writer thread."""
        loop = asyncio.get_running_loop()
        self._listener = listener
        self._writer.clock = listener.clock
        self._thread = threading.Thread(target=self._write, args=(loop, listener), name="state", daemon=True)
        self._thread.start()

    def append(self, entries: Sequence[Fact | KnowledgeEntry], effects: Sequence[Effect] = ()) -> int:
        """Queue entries for the next transaction."""
        for one in entries:
            if type(one) is KnowledgeEntry:
                self._policy.add(one.store_id, len(one.body) + ENTRY_BYTES)
        with self._lock:
            self._queue += enumerate(entries, self._number + 1)
            self._number += len(entries)
            if self._owner is Owner.LOOP:
                self._commit_soon()
            else:
                self._ready.notify()
            return self._number

    def snapshot(self, plain: Plain, at: float, knowledge: KnowledgeSnapshot | None = None) -> int:
        """Queue a snapshot; the same transaction deletes the log before it."""
        self._snapshot_queued = True
        if knowledge is not None:
            self._knowledge_queued = True
            self._policy.clear()
        return self._put(Snapshot(plain, at, knowledge))

    def mark(self) -> int:
        """A number between what was appended and what will be."""
        self._snapshot_queued = True
        with self._lock:
            self._number += 1
            return self._number

    def give_up(self) -> None:
        """No snapshot is under way."""
        self._snapshot_queued = False

    def compact(self, plain: Plain, at: float, mark: int = 0) -> int:
        """Queue a snapshot that the next transactions pack in steps; the last of them deletes the log before it."""
        return self._put(SnapshotWriter(mark or self.mark(), plain, at))

    def snapshot_store(self, knowledge: KnowledgeSnapshot) -> int:
        """Queue the snapshot of a store, whose parts the next transactions write."""
        writer = StoreSnapshotWriter(self._number + 1, knowledge)
        self._policy.begin(writer.store_id, writer.generation)
        return self._put(writer)

    def _put(self, item: Snapshot | SnapshotWriter | StoreSnapshotWriter) -> int:
        with self._lock:
            self._number += 1
            self._queue.append((self._number, item))
            self._leave_to_thread()
            return self._number

    def wants_snapshot(self) -> bool:
        """Whether the file is lost, or the log outweighs the snapshot or a quarter of the largest file."""
        if self._writer.log_bytes > self._long_log and not self._snapshot_queued:
            return True
        return self.wants_all()

    def wants_all(self) -> bool:
        """Whether the file is lost."""
        return self._file.lost and not self._knowledge_queued

    def due_store(self) -> str | None:
        """The store whose log outweighs its snapshot; None for a while after a failure."""
        return None if time.monotonic() < self._store_snapshot_from else self._policy.due()

    def has_room(self) -> bool:
        """Whether the logs and snapshots of stores take less than half of the largest file."""
        return not self._policy.is_full()

    def stats(self) -> JournalStats:
        """Sizes now."""
        return JournalStats(self._writer.log_bytes + self._policy.bytes, self._writer.entries)

    def close(self) -> None:
        """Wait for the writer; blocks, at most a little longer than ``CLOSE_TIME``."""
        with self._lock:
            self._closing_at = time.monotonic() + CLOSE_TIME
            self._ready.notify()
        if self._thread is not None:
            self._thread.join()
        self._file.drop()
        self._file.unlock()

    def _commit_soon(self) -> None:
        assert self._listener is not None
        if not self._is_soon:
            self._is_soon = True
            (self._listener.soon or asyncio.get_running_loop().call_soon)(self._commit_here)

    def _commit_here(self) -> None:
        """Commit in the event loop what is queued, or leave it to the thread."""
        self._is_soon = False
        if not self.commits_in_loop:
            return
        with self._in_use, self._lock:
            if self._closing_at is not None or not self._queue:
                return  # the thread commits the rest
            if self._is_long():
                self._leave_to_thread()
                return
            batch, self._queue, number = self._queue, [], self._number
            started_at = time.perf_counter()
            try:
                self._writer.commit_short(batch)
            except Exception:  # noqa: BLE001 - the thread tries again, and says why when it fails too
                self._queue[:0] = batch
                self._leave_to_thread()
                return
        self._heard(number, time.perf_counter() - started_at)

    @property
    def commits_in_loop(self) -> bool:
        """Whether the event loop has the file."""
        return self._owner is Owner.LOOP

    def _is_long(self) -> bool:
        """Whether what is queued takes too long for the event loop, or needs a sync of the disk."""
        if len(self._queue) > LOOP_ROWS or self._writer.needs_thread:
            return True
        return sum([_weight(item) for _, item in self._queue]) > LOOP_WEIGHT

    def _heard(self, number: int, took: float) -> None:
        """Tell of a commit in the event loop."""
        assert self._listener is not None
        if took > SLOW_COMMIT:
            self._thread_until = time.monotonic() + SLOW_TIME
            with self._lock:
                self._leave_to_thread()
        self._listener.observed(took)
        self._listener.committed(number)

    def _leave_to_thread(self) -> None:
        """Let the thread have the file, if it is the loop's, and wake it; call it with ``_lock``."""
        if self._owner is Owner.LOOP:
            self._owner = Owner.THREAD
        self._ready.notify()

    def _take(self) -> None:
        """Take the file that the thread has offered, and commit what came meanwhile."""
        with self._lock:
            if self._closing_at is not None or self._owner is not Owner.OFFERED:
                return
            self._owner = Owner.LOOP
            if self._queue:
                self._commit_soon()

    # In the writer thread.

    def _write(self, loop: asyncio.AbstractEventLoop, listener: JournalListener) -> None:
        batch: list[tuple[int, Item]] = []
        while True:
            self._wait(batch)
            with self._in_use:
                with self._lock:
                    self._owner = Owner.THREAD
                    batch += self._queue
                    self._queue.clear()
                    number, closing_at = self._number, self._closing_at
                if not batch and (closing_at is not None or not self._writer.is_busy):
                    return
                failure = self._commit(batch, number, loop, listener)
            if failure is None:
                batch.clear()
                self._offer(loop)
                continue
            _call(loop, listener.failed, f"{self._file.path}: {failure}")
            if closing_at is not None and time.monotonic() > closing_at:
                return
            time.sleep(COMMIT_RETRY)

    def _wait(self, batch: list[tuple[int, Item]]) -> None:
        """Wait until there is something to be written by the thread."""
        with self._lock:
            while self._closing_at is None and not (
                self._owner is Owner.THREAD and (self._queue or batch or self._writer.is_busy)
            ):
                self._ready.wait()

    def _commit(
        self, batch: list[tuple[int, Item]], number: int, loop: asyncio.AbstractEventLoop, listener: JournalListener
    ) -> str | None:
        """Commit, and tell the loop; returns why that failed."""
        started_at = time.perf_counter()
        try:
            written = self._writer.commit(batch)
        except Exception as error:  # noqa: BLE001 - a writer that ended would leave every call waiting for ever
            self._abandon(loop)
            return str(error) if isinstance(error, (sqlite3.Error, OSError)) else repr(error)
        self._record(written, loop)
        _call(loop, listener.observed, time.perf_counter() - started_at)
        _call(loop, listener.committed, number)
        return None

    def _offer(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the event loop have the file, unless there is more to do that takes long."""
        if self._full or not self._writer.is_settled or time.monotonic() < self._thread_until:
            return
        with self._lock:
            if self._closing_at is None:
                self._owner = Owner.OFFERED
        _call(loop, self._take)

    def _record(self, written: Written, loop: asyncio.AbstractEventLoop) -> None:
        """Record which snapshots a transaction completed."""
        if written.snapshot_bytes:
            self._measure(written.snapshot_bytes)
            self._snapshot_queued = False
        if written.store_sizes is not None:
            self._knowledge_queued = False
            _call(loop, self._policy.resize, written.store_sizes)
        if written.store_snapshot is not None:
            _call(loop, self._policy.end, written.store_snapshot.generation, written.store_snapshot.size)

    def _measure(self, snapshot_bytes: int) -> None:
        """The snapshot of deciding has this size."""
        self._long_log = min(max(MIN_LOG_BYTES, 2 * snapshot_bytes), self._max_bytes // 4)

    def _abandon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give up the snapshots under way; they are due again later."""
        abandoned = self._writer.abandon()
        if abandoned.snapshot:
            self._snapshot_queued = False
        if abandoned.generation is not None:
            self._store_snapshot_from = time.monotonic() + STORE_SNAPSHOT_RETRY
            _call(loop, self._policy.give_up, abandoned.generation)


def _call(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *arguments: object) -> None:
    """Call in the loop, unless it has ended."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(callback, *arguments)


def _weight(item: Item) -> int:
    """About how many names a row has; more than a transaction in the event loop may have for what is no row."""
    if type(item) is Fact:
        event: Any = item.event
        return len(item.reads) + len(getattr(event, "store_ids", ())) + len(getattr(event, "node_ids", ()))
    return len(item.body) // NAME_BYTES if type(item) is KnowledgeEntry else LOOP_WEIGHT + 1
