"""The SQLite file: opened, checked, locked against a second service, and reopened after a failure."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from gossipcontrol.server.state import checksum, wal
from gossipcontrol.server.state.checksum import DamagedError
from gossipcontrol.server.state.schema import migrate
from gossipcontrol.system.file import lock as lock_file
from gossipcontrol.system.file import open_shared

SUFFIXES = ("", "-wal", "-shm", "-journal")
"""Of the files that make up a database."""
LOCK_SUFFIX = ".lock"
"""Of the file that the one service that writes has locked; it stays."""

LOCK_TIME = 1.0
"""Seconds for which a transaction waits for somebody else's."""
CHECKPOINT_PAGES = 1000
"""Pages of the write-ahead log after which a transaction ends with a checkpoint."""
MAX_MENDS = 8
"""Most words of a torn transaction that are tried; there are rarely more than three."""


class LockedError(OSError):
    """Another service has the file."""


def lock(path: Path) -> int:
    """Be the one that writes, until the descriptor is closed; raises LockedError.

    SQLite's own locks would keep readers out as well.
    """
    descriptor = open_shared(Path(f"{path}{LOCK_SUFFIX}"))
    try:
        lock_file(descriptor, wait=False)
    except BlockingIOError:
        os.close(descriptor)
        raise LockedError(errno.EWOULDBLOCK, "it is locked; is another service using it?") from None
    return descriptor


class StateFile:
    """One connection at a time, used by one thread at a time."""

    def __init__(self, path: Path, *, full: bool, max_bytes: int) -> None:
        self.path = path
        self._synchronous = "FULL" if full else "NORMAL"
        self._max_bytes = max_bytes
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._locked: int | None = None
        """Descriptor of the lock file, while it is locked."""
        self.lost = False
        """Whether the file is gone or damaged, so that everything must be written to a new file."""

    def open(self) -> sqlite3.Connection:
        """Open the file, made if there is none; raises OSError, sqlite3.Error or ValueError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._locked = lock(self.path)
        self.path.touch(mode=0o600)
        self._connection = self._connect(whole=True)
        return self._connection

    def unlock(self) -> None:
        """Let another service have the file."""
        if self._locked is not None:
            os.close(self._locked)
            self._locked = None

    def _connect(self, *, whole: bool = False) -> sqlite3.Connection:
        """Open and check the file, with ``whole`` every row of it: after a failure the rows are in memory too."""
        try:
            wal.verify(self.path)
        except wal.TornWordError as torn:
            wal.write(torn.log, self._choose(torn))
            whole = True
        connection = sqlite3.connect(self.path, timeout=LOCK_TIME, isolation_level=None, check_same_thread=False)
        try:
            # Others may read, to make a backup; that nobody else writes is what the lock file is for.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA journal_size_limit = 4194304")
            page: int = connection.execute("PRAGMA page_size").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {max(16, self._max_bytes // page)}")
            _check_pages(connection)
            migrate(connection)
            if whole:
                checksum.verify(connection)
            checksum.add_tallied_view(connection, "log")
            self._inode = self.path.stat().st_ino
        except BaseException:
            connection.close()
            raise
        return connection

    def _choose(self, torn: wal.TornWordError) -> wal.Mend:
        """The mend of the last transaction with which every page and row of a copy fits its checksum."""
        for mend in torn.mends[:MAX_MENDS]:
            with tempfile.TemporaryDirectory(dir=self.path.parent, prefix=f"{self.path.name}.") as directory:
                copy = Path(directory) / self.path.name
                for one in (self.path, torn.log):
                    shutil.copyfile(one, copy.with_name(one.name))
                try:
                    wal.write(copy.with_name(torn.log.name), mend)
                    wal.verify(copy)
                    with closing(sqlite3.connect(copy)) as connection:
                        _check_pages(connection)
                        checksum.verify(connection)
                except sqlite3.DatabaseError:
                    continue
                return mend
        raise torn

    def reopen(self, whole: bool) -> sqlite3.Connection:
        """The connection, reopened after a failure; with ``whole``, a lost file is moved aside for a new one."""
        if self.lost and whole:
            for suffix in SUFFIXES:
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{self.path}{suffix}").replace(f"{self.path}.broken{suffix}")
            try:
                connection = self._connection = self._connect()
            except BaseException:
                # Otherwise the next try would move this half-made file over the damaged one.
                for suffix in SUFFIXES:
                    Path(f"{self.path}{suffix}").unlink(missing_ok=True)
                raise
            self.lost = False
            return connection
        if not self._is_there():
            self.drop()
            self.lost = True
            raise FileNotFoundError("the file was deleted or replaced")
        if self._connection is None:
            try:
                self._connection = self._connect()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                self.lost = True
                raise
        return self._connection

    def present(self) -> sqlite3.Connection:
        """The connection, if it needs not be reopened; raises FileNotFoundError."""
        if self._connection is None or not self._is_there():
            raise FileNotFoundError("the file was closed, deleted or replaced")
        return self._connection

    def _is_there(self) -> bool:
        """Whether it is the file that was opened: a deleted one accepts writes, but nobody will ever read them."""
        try:
            return self.path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def be_quick(self, quick: bool) -> None:
        """Whether transactions make no checkpoint and wait for nobody from now on; raises sqlite3.Error."""
        if self._connection is not None:
            self._connection.execute(f"PRAGMA wal_autocheckpoint = {0 if quick else CHECKPOINT_PAGES}")
            self._connection.execute(f"PRAGMA busy_timeout = {0 if quick else round(LOCK_TIME * 1000)}")

    def drop(self) -> None:
        """Close a connection that failed; the next try reopens and checks the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _check_pages(connection: sqlite3.Connection) -> None:
    found: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise DamagedError(found.splitlines()[-1])
