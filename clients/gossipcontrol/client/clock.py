"""The clock of ages: it goes on while the host sleeps, so that who was heard before a sleep was not just heard."""

from __future__ import annotations

import sys
import time


def boottime() -> float:
    """Seconds since some instant of this boot, sleep included where the system can tell."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    # On macOS MONOTONIC goes on during sleep (clock_gettime(3)); time.monotonic(), mach_absolute_time there, does not.
    return time.clock_gettime(time.CLOCK_MONOTONIC) if sys.platform == "darwin" else time.monotonic()
