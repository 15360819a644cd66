"""The tables of deciding in the SQLite file: the common log, and the snapshot that takes the place of old entries."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.core.turn import Fact
from gossipcontrol.server.state import checksum
from gossipcontrol.server.state.entry import KnowledgeEntry, read_entry, write_entry
from gossipcontrol.server.state.pack import Packer

ENTRY_BYTES = 24
"""About what a row costs beside its texts."""
PACK_TIME = 0.02
"""Seconds for which one transaction packs a snapshot that is written in steps."""
_SIZES = "SELECT count(*), coalesce(sum(length(fields) + length(said) + ?) FILTER (WHERE store IS NULL), 0) FROM log"

Row = tuple[int, float, str, str, str, str | None, bytes | None]
"""Number, instant, kind, fields, recorded reads; for knowledge also store and body."""


@dataclass(frozen=True, slots=True)
class LoadedLog:
    """The snapshot of deciding and the entries after it."""

    snapshot: Plain
    snapshot_at: float
    snapshot_bytes: int
    entries: Sequence[Fact]
    log_bytes: int


def read(connection: sqlite3.Connection) -> LoadedLog:
    """What is stored, knowledge aside; raises CodecError or zlib.error."""
    row = connection.execute("SELECT at, body FROM snapshot").fetchone()
    rows = connection.execute("SELECT at, kind, fields, said FROM log WHERE store IS NULL ORDER BY seq").fetchall()
    return LoadedLog(
        snapshot=json.loads(zlib.decompress(row[1])) if row else None,
        snapshot_at=row[0] if row else 0.0,
        snapshot_bytes=len(row[1]) if row else 0,
        entries=[read_entry(*one) for one in rows],
        log_bytes=sum(len(one[2]) + len(one[3]) + ENTRY_BYTES for one in rows),
    )


def entry_row(number: int, entry: Fact | KnowledgeEntry) -> Row:
    """The row of an entry."""
    if isinstance(entry, Fact):
        return (number, *write_entry(entry), None, None)
    return (number, float(entry.at), entry.kind, "{}", "[]", entry.store_id, entry.body)


def insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Append rows to the log."""
    checksum.insert(connection, "log", rows)


def insert_alone(connection: sqlite3.Connection, row: Row) -> None:
    """Append a row in a transaction of its own."""
    checksum.insert_alone(connection, "log", row)


def row_bytes(row: Row) -> int:
    """What a row adds to the log of deciding; 0 for knowledge."""
    return len(row[3]) + len(row[4]) + ENTRY_BYTES if row[5] is None else 0


def measure(connection: sqlite3.Connection) -> tuple[int, int]:
    """Number of all entries, and bytes of those of deciding."""
    entries, log_bytes = connection.execute(_SIZES, (ENTRY_BYTES,)).fetchone()
    return entries, log_bytes


def replace(connection: sqlite3.Connection, body: bytes, at: float, number: int) -> int:
    """Replace the entries of deciding before this number by a snapshot; returns its size."""
    checksum.replace(connection, "snapshot", (1, float(at), body))
    checksum.delete(connection, "log", "store IS NULL AND seq < ?", (number,))
    return len(body)


class SnapshotWriter:
    """Packs a snapshot in steps, one per transaction, so that other entries wait briefly; the last step stores it."""

    def __init__(self, number: int, plain: Plain, at: float) -> None:
        self._number = number
        self._packer = Packer(plain)
        self._at = at

    def step(self, connection: sqlite3.Connection) -> int:
        """Continue; returns the size of the snapshot once it is stored, 0 before."""
        body = self._packer.step(PACK_TIME)
        return 0 if body is None else replace(connection, body, self._at, self._number)
