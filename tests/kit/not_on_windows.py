"""What is not run on Windows, and why: it is about something that only other systems have."""

from __future__ import annotations

import sys
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

import pytest

MARKER = "not_on_windows"
FILES = {
    "watch/test_linux.py": "rtnetlink is Linux's; the same is tested with IP Helper",
    "watch/test_logind.py": "logind is Linux's; the same is tested with power notifications",
    "watch/test_route_*.py": "routing sockets belong to macOS and the BSDs",
    "watch/test_iokit.py": "IOKit is Apple's",
    "system/test_macos.py": "these names are Apple's",
}
"""Files that cannot be imported there, by pattern below ``tests/``, and why."""
_WINDOWS = sys.platform == "win32"
_left_out: Counter[str] = Counter()


def ignores(path: Path) -> bool:
    """Whether a file is left out here."""
    if not _WINDOWS:
        return False
    for pattern, reason in FILES.items():
        if fnmatch(path.as_posix(), f"*/tests/{pattern}"):
            _left_out[f"{path.name}: {reason}"] += 1
            return True
    return False


def deselect(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests with the marker, and say so."""
    if not _WINDOWS:
        return
    left_out = {item: marker for item in items if (marker := item.get_closest_marker(MARKER))}
    for marker in left_out.values():
        _left_out[str(marker.args[0])] += 1
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def summary() -> list[str]:
    """What was left out, one line per reason."""
    return [f"not on Windows ({count}): {reason}" for reason, count in sorted(_left_out.items())]
