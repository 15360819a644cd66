"""The boot of this host: its id, and the clock that counts from it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
BOOT_MESSAGES = Path("/var/run/dmesg.boot")
"""What FreeBSD, OpenBSD and NetBSD keep of the kernel's first messages."""

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
    from gossipcontrol.system import macos

    def boottime() -> float:
        """Seconds since some instant of this boot, sleep included where the system can tell."""
        if hasattr(time, "CLOCK_BOOTTIME"):
            return time.clock_gettime(time.CLOCK_BOOTTIME)
        # MONOTONIC_RAW of macOS goes on during sleep (clock_gettime(3)), and no step of the wall clock touches it;
        # time.monotonic(), mach_absolute_time there, stops.
        return time.clock_gettime(time.CLOCK_MONOTONIC_RAW) if sys.platform == "darwin" else time.monotonic()

    def awake_time() -> float:
        """Seconds since some instant of this boot, without those of sleep where the system can tell."""
        # macOS, the BSDs, Linux: MONOTONIC goes on during sleep on some of the BSDs.
        names = ("CLOCK_UPTIME_RAW", "CLOCK_UPTIME", "CLOCK_MONOTONIC")
        return time.clock_gettime(next(getattr(time, name) for name in names if hasattr(time, name)))

    def boot_id() -> str:
        """The kernel's boot id; where there is none, when the boot was."""
        try:
            return BOOT_ID.read_text(encoding="ascii").strip()
        except OSError:
            return _other_boot_id()

    def _other_boot_id() -> str:
        if sys.platform == "darwin" and (named := macos.named_text("kern.bootsessionuuid")):
            return named
        try:
            # The BSDs write it once in a boot, so that all processes agree, however the wall clock is set.
            return f"boot-{BOOT_MESSAGES.stat().st_mtime_ns}"
        except OSError:
            return f"boot-{int((time.time() - boottime()) / 10)}"


def time_asleep() -> float:
    """Seconds that this host has slept since some instant of this boot; they do not grow where no clock tells."""
    return boottime() - awake_time()
