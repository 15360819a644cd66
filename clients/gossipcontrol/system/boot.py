"""The boot of this host: its id, and the clock that counts from it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

if sys.platform == "win32":
    from gossipcontrol.system import windows

    def boottime() -> float:
        """Seconds since the boot, sleep included."""
        return windows.boottime()

    def awake_time() -> float:
        """Seconds since the boot, without those of sleep."""
        return windows.awake_time()

    def boot_id() -> str:
        """The same for every program until the next boot."""
        return windows.boot_id()

else:

    def boottime() -> float:
        """Seconds since some instant of this boot, sleep included where the system can tell."""
        if hasattr(time, "CLOCK_BOOTTIME"):
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        # On macOS MONOTONIC goes on during sleep (clock_gettime(3)); time.monotonic(), mach_absolute_time there,
        # does not.
        return time.clock_gettime(time.CLOCK_MONOTONIC) if sys.platform == "darwin" else time.monotonic()

    def awake_time() -> float:
        """Seconds since some instant of this boot, without those of sleep where the system can tell."""
        if hasattr(time, "CLOCK_BOOTTIME"):
            return time.clock_gettime(time.CLOCK_MONOTONIC)
        clock: int | None = getattr(time, "CLOCK_UPTIME_RAW", None)
        return time.monotonic() if clock is None else time.clock_gettime(clock)

    def boot_id() -> str:
        """The kernel's boot id; where there is none, the time of the boot to ten seconds."""
        try:
            return BOOT_ID.read_text(encoding="ascii").strip()
        except OSError:
            return f"boot-{int((time.time() - boottime()) / 10)}"
