"""Copies of the state file, whole and of one instant, also while the service writes; and a copy put back."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from gossipcontrol.server.state import wal
from gossipcontrol.server.state.check import CheckError, check, verify
from gossipcontrol.server.state.file import SUFFIXES, LockedError, lock

KEPT = ".before-restore"
"""Suffix of the file in whose place a backup was put."""


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
        wal.verify(source)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.close(descriptor)
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)) as reading,
            closing(sqlite3.connect(partial)) as copy,
        ):
            reading.backup(copy)
            verify(copy)
        partial.replace(target)
    except OSError as error:
        raise BackupError(f"{target}: {error.strerror}") from error
    except (sqlite3.Error, ValueError) as error:
        raise BackupError(f"{source}: {error}") from error
    finally:
        for suffix in SUFFIXES:
            Path(f"{partial}{suffix}").unlink(missing_ok=True)
    return target.stat().st_size


def restore(backup: Path, target: Path) -> int:
    """Put a copy of the backup in the place of the state file; returns its size. Raises BackupError, nothing changed.

    The old file stays beside it, named ``.before-restore``.
    """
    kept = target.with_name(f"{target.name}{KEPT}")
    try:
        check(backup)
        if kept.exists():
            raise BackupError(f"{kept}: it is left from an earlier restore; move it away first")
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        locked = lock(target)
    except CheckError as error:
        raise BackupError(str(error)) from error
    except LockedError as error:
        raise BackupError(f"{target}: the service is running; stop it first") from error
    except OSError as error:
        raise BackupError(f"{target}: {error.strerror}") from error
    try:
        return _put(backup, target, kept)
    finally:
        os.close(locked)


def _put(backup: Path, target: Path, kept: Path) -> int:
    copy = target.with_name(f"{target.name}.restoring")
    size = back_up(backup, copy)
    for suffix in SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            Path(f"{target}{suffix}").replace(f"{kept}{suffix}")
    copy.replace(target)
    return size
