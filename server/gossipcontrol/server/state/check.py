"""Reads and verifies a whole state file without changing it, also while the service writes to it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gossipcontrol.server.state import checksum, wal
from gossipcontrol.server.state.file import LOCK_SUFFIX, lock
from gossipcontrol.server.state.schema import CHECKED, read_version


class CheckError(Exception):
    """The file is damaged or cannot be read; the message names what is wrong and where."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a file holds."""

    version: int
    """Of its schema."""
    bytes: int
    """Of the file itself."""
    frames: int
    """Frames of the write-ahead log that hold."""
    rows: dict[str, int]
    """By table; empty in a file of a version without checksums, of which only the structure was checked."""


def check(path: Path) -> Found:
    """Verify every page, row and frame; raises CheckError."""
    if not path.is_file():
        raise CheckError(f"{path}: there is no state file")
    log, shared = Path(f"{path}-wal"), Path(f"{path}-shm")
    was_shared = shared.exists()
    try:
        frames = wal.verify(path)
        # Without a log, SQLite would make one to read the file; then nobody else has it open either.
        mode = "mode=ro" if was_shared or log.exists() else "immutable=1"
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=5.0)) as connection:
            connection.isolation_level = None
            connection.execute("BEGIN")  # one instant, while a service writes
            version, rows = verify(connection)
        return Found(version, path.stat().st_size, frames, rows)
    except OSError as error:
        raise CheckError(f"{path}: {error.strerror}") from error
    except (sqlite3.Error, ValueError) as error:
        raise CheckError(f"{path}: {error}") from error
    finally:
        if not was_shared:
            _remove_shared(path)


def _remove_shared(path: Path) -> None:
    """Remove the index of the log that reading made, unless a service may have begun to use it."""
    lock_path = Path(f"{path}{LOCK_SUFFIX}")
    with contextlib.suppress(OSError):
        if lock_path.exists():
            os.close(lock(path))
        Path(f"{path}-shm").unlink(missing_ok=True)


def verify(connection: sqlite3.Connection) -> tuple[int, dict[str, int]]:
    """Verify an open file; returns its version and the rows by table. Raises sqlite3.Error or ValueError."""
    version = read_version(connection)
    if version >= CHECKED:
        return version, checksum.verify(connection)
    checksum.verify_structure(connection)
    return version, {}
