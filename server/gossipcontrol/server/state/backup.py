"""A copy of the state file, whole and at one instant, also while the service writes to it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path


class BackupError(Exception):
    """No copy was made; the message names what is in the way."""


def back_up(source: Path, target: Path) -> int:
    """Copy the state file; returns the size of the copy. Raises BackupError, and then leaves no copy.

    SQLite's online backup reads through the write-ahead log, so nothing that was acknowledged is missing.
    """
    if not source.is_file():
        raise BackupError(f"{source}: there is no state file")
    partial = target.with_name(f"{target.name}.partial")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.close(descriptor)
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as reading,
            closing(sqlite3.connect(partial)) as copy,
        ):
            reading.backup(copy)
            found: str = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise BackupError(f"{source}: it is damaged ({found.splitlines()[-1]})")
        partial.replace(target)
    except OSError as error:
        raise BackupError(f"{target}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise BackupError(f"{source}: {error}") from error
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{partial}{suffix}").unlink(missing_ok=True)
    return target.stat().st_size
