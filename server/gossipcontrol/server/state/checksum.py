"""A checksum per row of the SQLite file, and a tally per table, so that a start notices any row changed or lost."""

from __future__ import annotations

import math
import sqlite3
import zlib
from collections.abc import Sequence
from functools import cache

COLUMNS = {
    "log": ("seq", "at", "kind", "fields", "said", "store", "body"),
    "snapshot": ("id", "at", "body"),
    "store": ("id", "seq", "at", "generation"),
    "part": ("generation", "number", "body"),
    "book": ("id", "seq", "fields"),
    "clock": ("id", "boot", "boot_offset", "wall_offset"),
}
"""The tables that hold state, and what the checksum of a row covers, in this order."""
_SCHEMA = "schema"
"""Name of the tally of the table definitions themselves."""
_COUNT = "UPDATE tally SET rows = rows + ?, sum = sum + ? WHERE name = ?"
_DEFINITIONS = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%' ORDER BY name"

Values = tuple[int | float | str | bytes | None, ...]


class DamagedError(sqlite3.DatabaseError):
    """The file is not what was written; the message names the table and row, or the frame."""

    def __init__(self, what: str) -> None:
        super().__init__(f"it is damaged ({what})")


def row_checksum(values: Values) -> int:
    """CRC-32 of a row: of its plain values as Python's ``ascii``, then of its bytes, if it has some."""
    if isinstance(body := values[-1], bytes):
        return zlib.crc32(body, zlib.crc32(ascii(values[:-1]).encode()))
    return zlib.crc32(ascii(values).encode())


def insert(connection: sqlite3.Connection, table: str, rows: Sequence[Values]) -> None:
    """Insert rows, each with its checksum."""
    if not rows:
        return
    sums = [row_checksum(one) for one in rows]
    checked = [(*one, crc) for one, crc in zip(rows, sums, strict=True)]
    connection.executemany(_insertion(table, table), checked)
    _count(connection, table, len(sums), sum(sums))


def insert_alone(connection: sqlite3.Connection, table: str, row: Values) -> None:
    """Insert a row in a transaction of its own, on a connection to which ``add_tallied_view`` was applied."""
    connection.execute(_insertion(f"{table}_tallied", table), (*row, row_checksum(row)))


def add_tallied_view(connection: sqlite3.Connection, table: str) -> None:
    """Have one statement insert a row and tally it, where a transaction of several takes four.

    During each of them another thread may take the interpreter. The view is the connection's, never in the file.
    """
    names = f"{', '.join(COLUMNS[table])}, crc"
    values = ", ".join(f"NEW.{name}" for name in names.split(", "))
    connection.execute(f"CREATE TEMP VIEW {table}_tallied AS SELECT {names} FROM main.{table}")
    connection.execute(
        f"CREATE TEMP TRIGGER {table}_tally INSTEAD OF INSERT ON {table}_tallied BEGIN "
        f"INSERT INTO {table} ({names}) VALUES ({values}); "
        f"UPDATE tally SET rows = rows + 1, sum = sum + NEW.crc WHERE name = '{table}'; END"
    )


@cache
def _insertion(place: str, table: str) -> str:
    """The statement that inserts a row of this table there."""
    names, marks = ", ".join(COLUMNS[table]), ", ?" * len(COLUMNS[table])
    return f"INSERT INTO {place} ({names}, crc) VALUES ({marks[2:]}, ?)"


def delete(connection: sqlite3.Connection, table: str, where: str = "1", parameters: Sequence[int | str] = ()) -> None:
    """Delete rows; the tally says so in the same transaction."""
    query = f"SELECT count(*), coalesce(sum(crc), 0) FROM {table} WHERE {where}"
    rows, total = connection.execute(query, parameters).fetchone()
    if rows:
        connection.execute(f"DELETE FROM {table} WHERE {where}", parameters)
        _count(connection, table, -rows, -total)


def replace(connection: sqlite3.Connection, table: str, row: Values) -> None:
    """Put a row in the place of the one with the same first column."""
    key = row[0]
    assert isinstance(key, int | str), "the first column is the key"
    delete(connection, table, f"{COLUMNS[table][0]} = ?", (key,))
    insert(connection, table, [row])


def _count(connection: sqlite3.Connection, table: str, rows: int, total: int) -> None:
    connection.execute(_COUNT, (rows, total, table))


def fill(connection: sqlite3.Connection) -> None:
    """Compute the checksums of a file of a version that had none, and tally all rows and the table definitions."""
    for number, (table, columns) in enumerate(COLUMNS.items(), 1):
        total = rows = 0
        query = f"SELECT rowid, {', '.join(columns)} FROM {table}"
        for rowid, *values in connection.execute(query).fetchall():
            crc = row_checksum(tuple(values))
            connection.execute(f"UPDATE {table} SET crc = ? WHERE rowid = ?", (crc, rowid))
            rows, total = rows + 1, total + crc
        connection.execute("INSERT INTO tally (id, name, rows, sum) VALUES (?, ?, ?, ?)", (number, table, rows, total))
    definitions, total = _definitions(connection)
    connection.execute("INSERT INTO tally (id, name, rows, sum) VALUES (0, ?, ?, ?)", (_SCHEMA, definitions, total))


def verify(connection: sqlite3.Connection) -> dict[str, int]:
    """Check every row and every tally; returns the number of rows by table. Raises DamagedError."""
    verify_structure(connection)
    # Text that is not UTF-8 is damage too, which the checksum then finds.
    connection.text_factory = _decode
    try:
        tally = {name: (rows, total) for name, rows, total in connection.execute("SELECT name, rows, sum FROM tally")}
        if tally.pop(_SCHEMA, None) != _definitions(connection):
            raise DamagedError("the definitions of its tables are not those that were written")
        if tally.keys() != COLUMNS.keys():
            raise DamagedError("table tally: a table is missing")
        return {table: _verify_table(connection, table, *tally[table]) for table in COLUMNS}
    finally:
        connection.text_factory = str


def verify_structure(connection: sqlite3.Connection) -> None:
    """Check pages and indexes; raises DamagedError."""
    found: str = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise DamagedError(found.splitlines()[-1])


def _verify_table(connection: sqlite3.Connection, table: str, rows: int, total: int) -> int:
    columns = COLUMNS[table]
    at = columns.index("at") if "at" in columns else None
    found_rows = found_total = 0
    for *row, crc in connection.execute(f"SELECT {', '.join(columns)}, crc FROM {table} NOT INDEXED"):
        values = tuple(row)
        if row_checksum(values) != crc:
            raise DamagedError(f"table {table}, row {values[0]!a}: its checksum does not match")
        if at is not None and not _is_instant(values[at]):
            raise DamagedError(f"table {table}, row {values[0]!a}: its instant is {values[at]!a}")
        found_rows, found_total = found_rows + 1, found_total + crc
    if (found_rows, found_total) != (rows, total):
        raise DamagedError(f"table {table}: {found_rows} rows found, {rows} were written, or others")
    return found_rows


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _is_instant(value: object) -> bool:
    return isinstance(value, float) and 0.0 <= value < math.inf


def _definitions(connection: sqlite3.Connection) -> tuple[int, int]:
    """Number and checksum of the definitions of tables and indexes."""
    found = connection.execute(_DEFINITIONS).fetchall()
    return len(found), zlib.crc32(ascii(found).encode())
