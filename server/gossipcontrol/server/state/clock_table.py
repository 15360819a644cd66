"""The table of the clock in the SQLite file: how the clocks stood at the last commit."""

from __future__ import annotations

import sqlite3

from gossipcontrol.server.state import checksum
from gossipcontrol.server.state.journal import ClockReading

STEP = 1.0
"""Seconds by which the wall clock must differ from service time to be written again."""


def read(connection: sqlite3.Connection) -> ClockReading | None:
    """The last reading; None in a file that has none."""
    row = connection.execute("SELECT boot, boot_offset, wall_offset FROM clock").fetchone()
    return ClockReading(*row) if row else None


def write(connection: sqlite3.Connection, reading: ClockReading) -> None:
    """Replace the last reading."""
    # Adding 0.0 makes 0.0 of -0.0, which SQLite does not keep.
    checksum.replace(connection, "clock", (1, reading.boot_id, reading.boot_offset + 0.0, reading.wall_offset + 0.0))


def differs(one: ClockReading | None, other: ClockReading) -> bool:
    """Whether a reading says something new."""
    return (
        one is None
        or (one.boot_id, one.boot_offset) != (other.boot_id, other.boot_offset)
        or abs(one.wall_offset - other.wall_offset) > STEP
    )
