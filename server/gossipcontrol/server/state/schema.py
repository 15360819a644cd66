"""The tables of the SQLite file, version by version."""

from __future__ import annotations

import sqlite3

from gossipcontrol.server.state import checksum
from gossipcontrol.server.state.checksum import DamagedError

APPLICATION = 0x676F7373
"""Marks a file as ours ("goss")."""
STEPS = (
    # 1: the log and its snapshot.
    """
    CREATE TABLE log (seq INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, fields TEXT NOT NULL);
    CREATE TABLE snapshot (id INTEGER PRIMARY KEY CHECK (id = 1), at REAL NOT NULL, body BLOB NOT NULL);
    """,
    # 2: what liveness said while an event was handled.
    "ALTER TABLE log ADD COLUMN said TEXT NOT NULL DEFAULT '[]';",
    # 3: knowledge: facts with a store and a body, snapshots of stores in parts, and what the book holds beside them.
    """
    ALTER TABLE log ADD COLUMN store TEXT;
    ALTER TABLE log ADD COLUMN body BLOB;
    CREATE INDEX log_store ON log (store, seq) WHERE store IS NOT NULL;
    CREATE TABLE store (id TEXT PRIMARY KEY, seq INTEGER NOT NULL, at REAL NOT NULL, generation INTEGER NOT NULL);
    CREATE TABLE part (generation INTEGER NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL,
        PRIMARY KEY (generation, number));
    CREATE TABLE book (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, fields TEXT NOT NULL);
    """,
    # 4: how the clocks stood, so that service time goes on within one boot whatever the wall clock says.
    """
    CREATE TABLE clock (id INTEGER PRIMARY KEY CHECK (id = 1), boot TEXT NOT NULL, boot_offset REAL NOT NULL,
        wall_offset REAL NOT NULL);
    """,
    # 5: a checksum per row, and per table how many rows there are and the sum of their checksums.
    """
    ALTER TABLE log ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE snapshot ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE store ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE part ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE book ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE clock ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE tally (id INTEGER PRIMARY KEY, name TEXT NOT NULL, rows INTEGER NOT NULL, sum INTEGER NOT NULL);
    """,
)
"""Step N brings a file of version N - 1 to version N, which PRAGMA user_version holds."""


CHECKED = 5
"""The first version with checksums."""


def read_version(connection: sqlite3.Connection) -> int:
    """The version of a file, 0 for an empty one; raises ValueError for a foreign one or DamagedError."""
    application: int = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    if application != APPLICATION and (application or tables):
        raise ValueError("it is the file of another program")
    if version > len(STEPS):
        raise ValueError(f"it was written by a newer version (schema {version}, this one knows {len(STEPS)})")
    if version < CHECKED and "tally" in tables:
        raise DamagedError(f"it says schema {version}, and has the tables of a newer one")
    return version


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a file to the newest version, each step in one transaction; raises ValueError or DamagedError."""
    for number in range(read_version(connection) + 1, len(STEPS) + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {STEPS[number - 1]}")
        if number == CHECKED:
            checksum.fill(connection)
        for statement in (f"PRAGMA application_id = {APPLICATION}", f"PRAGMA user_version = {number}", "COMMIT"):
            connection.execute(statement)
