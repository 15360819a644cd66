"""Files that processes share or keep from others: opened, locked, and private."""

from __future__ import annotations

import os
import sys
from pathlib import Path

BINARY: int = getattr(os, "O_BINARY", 0)
"""Windows would translate line ends otherwise."""


def open_shared(path: Path) -> int:
    """A descriptor to read and write a file, made of mode 0600 if there is none; raises OSError."""
    return os.open(path, os.O_RDWR | os.O_CREAT | BINARY, 0o600)


if sys.platform == "win32":
    from gossipcontrol.system import windows

    def lock(descriptor: int, *, wait: bool) -> None:
        """Lock an open file until it is closed.

        Raises BlockingIOError when another has it and ``wait`` is false, OSError where there are no locks.
        """
        windows.lock(descriptor, wait=wait)

    def keep_private(path: Path) -> None:
        """Let nobody but the user and the system read a file; raises OSError."""
        windows.keep_private(path)

else:
    import fcntl

    def lock(descriptor: int, *, wait: bool) -> None:
        """Lock an open file until it is closed.

        Raises BlockingIOError when another has it and ``wait`` is false, OSError where there are no locks.
        """
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)

    def keep_private(path: Path) -> None:
        """Let nobody but the user read a file; raises OSError."""
        path.chmod(0o600)
