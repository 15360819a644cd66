"""Wall clocks of replicas that a test sets: the service's ``time.time``, patched in at the start of each process.

gRPC makes deadlines with it that its core compares with the real wall clock: it gets the right time.
"""

from __future__ import annotations

import os
from pathlib import Path

PATCH = """\
import os, pathlib, sys, time
read = time.time
address = os.environ.get("GOSSIPCONTROL_LISTEN_TCP", "")
ahead = pathlib.Path(__file__).with_name("ahead" + address.rpartition(":")[2])
def wall():
    if not sys._getframe(1).f_globals["__name__"].startswith("gossipcontrol.server"):
        return read()
    try:
        return read() + float(ahead.read_text())
    except (OSError, ValueError):
        return read()
time.time = wall
"""


class WallClocks:
    """Of the processes that are started with ``path`` in PYTHONPATH, by the address that each listens at."""

    def __init__(self, directory: Path) -> None:
        self._place = directory / "wall_clocks"
        self._place.mkdir()
        (self._place / "sitecustomize.py").write_text(PATCH, encoding="utf-8")
        self.path = os.pathsep.join(filter(None, (str(self._place), os.environ.get("PYTHONPATH"))))

    def set(self, address: str, ahead: float) -> None:
        """Set the clock of a process so many seconds ahead of the right time."""
        new = self._place / "new"
        new.write_text(str(ahead), encoding="utf-8")
        new.rename(self._place / f"ahead{address.rpartition(':')[2]}")
