"""The tables of knowledge in the SQLite file: entries in the common log, snapshots store by store, in parts."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from itertools import count

from gossipcontrol.server.core.codec import Plain
from gossipcontrol.server.state import checksum
from gossipcontrol.server.state.entry import KnowledgeEntry
from gossipcontrol.server.state.journal import KnowledgeSnapshot, LoadedKnowledge


def read(connection: sqlite3.Connection) -> LoadedKnowledge:
    """What is stored; deletes the parts of a snapshot that was never completed."""
    checksum.delete(connection, "part", "generation NOT IN (SELECT generation FROM store)")
    shared = connection.execute("SELECT seq, fields FROM book").fetchone()
    stores: dict[str, bytes] = {}
    for store_id, generation in connection.execute("SELECT id, generation FROM store").fetchall():
        parts = connection.execute("SELECT body FROM part WHERE generation = ? ORDER BY number", (generation,))
        stores[store_id] = b"".join(part for (part,) in parts)
    rows = connection.execute("SELECT seq, at, store, kind, body FROM log WHERE store IS NOT NULL ORDER BY seq")
    entries = [(seq, KnowledgeEntry(at, store_id, kind, body)) for seq, at, store_id, kind, body in rows]
    if shared is None:
        return LoadedKnowledge(stores=stores, entries=entries)
    return LoadedKnowledge(json.loads(shared[1]), shared[0], stores, entries)


def last(connection: sqlite3.Connection) -> tuple[int, float]:
    """The highest number of an entry or snapshot, and the last instant among the snapshots of stores."""
    queries = ("SELECT max(seq) FROM log", "SELECT max(seq) FROM store", "SELECT max(seq) FROM book")
    numbers = [connection.execute(query).fetchone()[0] or 0 for query in queries]
    at: float = connection.execute("SELECT max(at) FROM store").fetchone()[0] or 0.0
    return max(numbers), at


class StoreSnapshotWriter:
    """Writes the snapshot of a store in parts, one per transaction, so that other entries wait briefly.

    The last step replaces the log by the snapshot. Until then, parts of the new generation are ignored.
    """

    def __init__(self, number: int, knowledge: KnowledgeSnapshot) -> None:
        (self.store_id,) = knowledge.stores
        self.generation = number
        self._knowledge = knowledge
        self._parts = knowledge.stores[self.store_id].parts()
        self._written = 0
        self.size = 0

    def step(self, connection: sqlite3.Connection) -> bool:
        """Write the next part; returns whether the snapshot is complete."""
        part = next(self._parts, None)
        if part is not None:
            insert_part(connection, self.generation, self._written, part)
            self._written += 1
            self.size += len(part)
            return False
        old = connection.execute("SELECT generation FROM store WHERE id = ?", (self.store_id,)).fetchone()
        row = (self.store_id, self.generation, float(self._knowledge.at), self.generation)
        checksum.replace(connection, "store", row)
        if old is not None:
            checksum.delete(connection, "part", "generation = ?", old)
        checksum.delete(connection, "log", "store = ? AND seq < ?", (self.store_id, self.generation))
        write_shared(connection, self.generation, self._knowledge.shared)
        return True


def write_all(connection: sqlite3.Connection, number: int, knowledge: KnowledgeSnapshot) -> dict[str, int]:
    """Replace all knowledge by snapshots of all stores; returns their sizes."""
    checksum.delete(connection, "log", "store IS NOT NULL AND seq < ?", (number,))
    checksum.delete(connection, "store")
    checksum.delete(connection, "part")
    sizes: dict[str, int] = {}
    written = 0
    # Below zero, because StoreSnapshotWriter uses the numbers above.
    for generation, (store_id, capture) in zip(count(-1, -1), knowledge.stores.items(), strict=False):
        sizes[store_id] = 0
        for part in capture.parts():
            insert_part(connection, generation, written, part)
            written += 1
            sizes[store_id] += len(part)
        checksum.insert(connection, "store", [(store_id, number, float(knowledge.at), generation)])
    write_shared(connection, number, knowledge.shared)
    return sizes


def insert_part(connection: sqlite3.Connection, generation: int, number: int, body: bytes) -> None:
    """Store one part of a snapshot."""
    checksum.insert(connection, "part", [(generation, number, body)])


def delete_parts(connection: sqlite3.Connection, generations: Sequence[int]) -> None:
    """Delete the parts of abandoned snapshots."""
    for one in generations:
        checksum.delete(connection, "part", "generation = ?", (one,))


def write_shared(connection: sqlite3.Connection, number: int, shared: Plain) -> None:
    """Store what all stores share, as of this number."""
    fields = json.dumps(shared, separators=(",", ":"))
    checksum.replace(connection, "book", (1, number, fields))
