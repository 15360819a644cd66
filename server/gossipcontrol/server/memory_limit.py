"""The memory budget of this machine, and whether the limits of a configuration fit it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gossipcontrol.server.config import Config
from gossipcontrol.server.core.memory import ANSWER, DECISION, HOST, MONITOR, NODE, REJOIN, SLOT, STORE, STREAM, TRIGGER

if sys.platform == "win32":
    from gossipcontrol.system import windows

SHARE = 4
"""The default budget is one in so many bytes of the machine's memory."""
PROC = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")
HEALTH_WATCHES, UNREGISTERED = 1024, 1024
"""Calls that last, of any client: watches of health, streams that have not registered."""
MESSAGES = 8
"""Messages of the largest size that are being read at once."""


def memory_limit(config: Config) -> int:
    """The budget in bytes: as configured, or a quarter of what the machine or the control group has."""
    return config.limits.memory or default_limit()


def default_limit(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """A quarter of the machine's memory or of the control group's limit, whichever is smaller."""
    return min([machine_memory(), *_group_limits(proc, cgroups)]) // SHARE


if sys.platform == "win32":

    def machine_memory() -> int:
        """Bytes of memory of the machine."""
        return windows.total_memory()

else:

    def machine_memory() -> int:
        """Bytes of memory of the machine."""
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _group_limits(proc: Path, cgroups: Path) -> list[int]:
    """The limits of this process's control group and of those above it, of either version of control groups."""
    try:
        lines = proc.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found: list[int] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, name = (cgroups / "memory", "memory.limit_in_bytes") if controllers else (cgroups, "memory.max")
        group = root / path.lstrip("/")
        # Inside a container the path may be that of the host; the limit of the container is then at the root.
        for directory in {group, *(one for one in group.parents if one.is_relative_to(root)), root}:
            found += _read(directory / name)
    return found


def _read(path: Path) -> list[int]:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return []
    return [int(text)] if text.isdigit() else []


def fixed_bytes(config: Config) -> dict[str, int]:
    """What the limits of a configuration may take without asking the budget, by key."""
    deciding, limits = config.deciding, config.limits
    return {
        "deciding.history_limit": deciding.history_limit * (REJOIN + TRIGGER),
        "deciding.request_limit": deciding.request_limit * ANSWER,
        "deciding.generation_limit": deciding.generation_limit * ANSWER,
        "deciding.decision_limit": 2 * deciding.decision_limit * DECISION,
        "limits.watchers": limits.watchers * STREAM,
        "limits.message_bytes": MESSAGES * limits.message_bytes,
        "health watches": HEALTH_WATCHES * STREAM,
        "unregistered streams": UNREGISTERED * STREAM,
        "one attached node": NODE + HOST + SLOT + STORE + MONITOR + STREAM,
    }


def check_memory(config: Config) -> str:
    """What is wrong with ``limits.memory``, as a sentence with the sum; empty when the limits fit.

    The default is not checked: there the books are kept within it by refusing what is new.
    """
    if not config.limits.memory:
        return ""
    parts = fixed_bytes(config)
    total = sum(parts.values())
    if total <= config.limits.memory:
        return ""
    listed = " + ".join(f"{size} ({name})" for name, size in parts.items())
    return f"limits.memory: {config.limits.memory} bytes cannot hold the limits, which take {total} bytes: {listed}"
