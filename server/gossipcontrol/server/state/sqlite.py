"""Log and snapshot in one SQLite file: WAL mode, one writer thread, everything that waits in one transaction."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from gossipcontrol.server.core.codec import CodecError, Plain
from gossipcontrol.server.state.entry import Entry, read_entry, write_entry
from gossipcontrol.server.state.journal import Figures, Loaded, StateError, Watch
from gossipcontrol.server.state.schema import migrate

RETRY = 0.5
"""Seconds between two tries to keep what could not be kept."""
SNAPSHOT_BYTES = 8 << 20
"""A log shorter than this is not worth a snapshot."""
CLOSE_TIME = 5.0
"""Seconds that a failing disk gets at a stop."""
PIECE = 100
"""Entries of a list that are written at a time: about a millisecond."""
NESTING = 3
"""Objects within objects that are taken apart; the long lists of a snapshot are not deeper."""
ENTRY_BYTES = 24
"""What a row costs beside its texts, about."""


@dataclass(frozen=True, slots=True)
class _Snapshot:
    plain: Plain
    at: float


class SqliteJournal:
    """The writer thread owns the connection from ``start`` on; the file is locked against a second service."""

    durable = True

    def __init__(self, path: Path, *, full: bool = False, max_bytes: int = 1 << 30) -> None:
        self._path = path
        self._synchronous = "FULL" if full else "NORMAL"
        self._max_bytes = max_bytes
        self._connection: sqlite3.Connection | None = None
        self._ready = threading.Condition()
        self._queue: list[Entry | _Snapshot] = []
        self._number = 0
        self._closing_at: float | None = None
        self._thread: threading.Thread | None = None
        self._entries = self._log_bytes = self._snapshot_bytes = 0
        self._snapshot_queued = False
        self._inode = 0
        self._lost = False
        """Whether the file is gone or damaged: only a snapshot in a new one helps."""

    # Opening.

    def load(self) -> Loaded:
        """Check and read the file, made if there is none; raises StateError with what to do."""
        path = self._path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._connection = self._connect()
            return self._read(self._connection)
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

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=1.0, isolation_level=None, check_same_thread=False)
        try:
            # Exclusive: no second service on the same file, and no shared-memory file beside it.
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA journal_size_limit = 4194304")
            page: int = connection.execute("PRAGMA page_size").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {max(16, self._max_bytes // page)}")
            found: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(f"it is damaged ({found.splitlines()[-1]})")
            migrate(connection)
            self._inode = self._path.stat().st_ino
        except BaseException:
            connection.close()
            raise
        return connection

    def _read(self, connection: sqlite3.Connection) -> Loaded:
        row = connection.execute("SELECT at, body FROM snapshot").fetchone()
        plain = json.loads(zlib.decompress(row[1])) if row else None
        rows = connection.execute("SELECT at, kind, fields, said FROM log ORDER BY seq").fetchall()
        entries = [read_entry(*one) for one in rows]
        self._entries = len(entries)
        self._log_bytes = sum(len(one[2]) + len(one[3]) + ENTRY_BYTES for one in rows)
        self._snapshot_bytes = len(row[1]) if row else 0
        return Loaded(plain, entries, max([row[0] if row else 0.0, *(entry.at for entry in entries)]))

    # In the event loop.

    def start(self, watch: Watch) -> None:
        """Start the writer."""
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write, args=(loop, watch), name="state", daemon=True)
        self._thread.start()

    def append(self, entries: Sequence[Entry]) -> int:
        """Queue facts for the next transaction."""
        with self._ready:
            self._queue += entries
            self._number += len(entries)
            self._ready.notify()
            return self._number

    def snapshot(self, plain: Plain, at: float) -> int:
        """Queue a snapshot: the log up to here goes in the same transaction."""
        with self._ready:
            self._snapshot_queued = True
            self._queue.append(_Snapshot(plain, at))
            self._number += 1
            self._ready.notify()
            return self._number

    def wants_snapshot(self) -> bool:
        """Whether the file is lost, or the log outweighs the snapshot or a quarter of what the file may hold."""
        limit = min(max(SNAPSHOT_BYTES, 2 * self._snapshot_bytes), self._max_bytes // 4)
        return (self._lost or self._log_bytes > limit) and not self._snapshot_queued

    def figures(self) -> Figures:
        """Sizes now."""
        return Figures(self._log_bytes, self._entries)

    def close(self) -> None:
        """Wait for the writer; blocks, at most a little longer than ``CLOSE_TIME``."""
        with self._ready:
            self._closing_at = time.monotonic() + CLOSE_TIME
            self._ready.notify()
        if self._thread is not None:
            self._thread.join()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # In the writer thread.

    def _write(self, loop: asyncio.AbstractEventLoop, watch: Watch) -> None:
        batch: list[Entry | _Snapshot] = []
        while True:
            with self._ready:
                while not (self._queue or batch or self._closing_at is not None):
                    self._ready.wait()
                batch += self._queue
                self._queue.clear()
                number, closing_at = self._number, self._closing_at
            if not batch:
                return
            started_at = time.perf_counter()
            try:
                self._commit(batch)
            except (sqlite3.Error, OSError) as error:
                _tell(loop, watch.failed, f"{self._path}: {error}")
                if closing_at is not None and time.monotonic() > closing_at:
                    return
                time.sleep(RETRY)
                continue
            batch.clear()
            _tell(loop, watch.observed, time.perf_counter() - started_at)
            _tell(loop, watch.committed, number)

    def _commit(self, batch: Sequence[Entry | _Snapshot]) -> None:
        """All of it in one transaction; only facts after the last snapshot need be written."""
        last = max((index for index, one in enumerate(batch) if isinstance(one, _Snapshot)), default=-1)
        rows = [write_entry(one) for one in batch[last + 1 :] if isinstance(one, Entry)]
        snapshot = batch[last] if last >= 0 else None
        connection = self._reopen(snapshot is not None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            if isinstance(snapshot, _Snapshot):
                self._replace_log(connection, snapshot)
            connection.executemany("INSERT INTO log (at, kind, fields, said) VALUES (?, ?, ?, ?)", rows)
            connection.execute("COMMIT")
        except (sqlite3.Error, OSError):
            self._drop()
            raise
        if snapshot is not None:
            self._entries = self._log_bytes = 0
            self._snapshot_queued = False
        self._entries += len(rows)
        self._log_bytes += sum(len(row[2]) + len(row[3]) + ENTRY_BYTES for row in rows)

    def _reopen(self, whole: bool) -> sqlite3.Connection:
        """The connection, opened anew after a failure; a lost file is put aside once all can be written anew."""
        if self._lost and whole:
            for suffix in ("", "-wal", "-journal"):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{self._path}{suffix}").replace(f"{self._path}.broken{suffix}")
            connection = self._connection = self._connect()
            self._lost = False
            return connection
        # A file that was deleted still takes writes, which nobody will ever read.
        if not self._path.exists() or self._path.stat().st_ino != self._inode:
            self._drop()
            self._lost = True
            raise FileNotFoundError("the file is gone or was replaced")
        if self._connection is None:
            try:
                self._connection = self._connect()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                self._lost = True
                raise
        return self._connection

    def _drop(self) -> None:
        """A connection that failed may not know its file any more: the next try opens it anew, and checks it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _replace_log(self, connection: sqlite3.Connection, snapshot: _Snapshot) -> None:
        body = pack(snapshot.plain)
        connection.execute("INSERT OR REPLACE INTO snapshot (id, at, body) VALUES (1, ?, ?)", (snapshot.at, body))
        connection.execute("DELETE FROM log")
        self._snapshot_bytes = len(body)


def pack(plain: Plain) -> bytes:
    """Compressed JSON, made piece by piece: between two the event loop may go on."""
    packer = zlib.compressobj(1)
    return b"".join([*map(packer.compress, _pieces(plain, NESTING)), packer.flush()])


def _pieces(plain: Plain, nesting: int) -> Iterator[bytes]:
    if nesting and isinstance(plain, dict) and plain:
        before = "{"
        for name, value in cast("dict[str, Plain]", plain).items():
            yield f"{before}{json.dumps(name)}:".encode()
            yield from _pieces(value, nesting - 1)
            before = ","
        yield b"}"
    elif isinstance(plain, list):
        values = cast("list[Plain]", plain)  # type: ignore[redundant-cast] # not to pyright
        before = "["
        for start in range(0, len(values), PIECE):
            yield before.encode() + json.dumps(values[start : start + PIECE], separators=(",", ":"))[1:-1].encode()
            before = ","
        yield b"]" if values else b"[]"
    else:
        yield json.dumps(plain, separators=(",", ":")).encode()


def _tell(loop: asyncio.AbstractEventLoop, whom: Callable[..., None], what: object) -> None:
    """Call in the loop, unless it has ended."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(whom, what)
