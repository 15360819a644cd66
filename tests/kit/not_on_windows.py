"""What is run on Windows alone, and what is not and why: it is about something that only other systems have."""

from __future__ import annotations

import os
import sys
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

import pytest

MARKER, OTHER_MARKER = "not_on_windows", "only_on_windows"
ELSEWHERE = "needs Windows: dev/windows.sh runs it under Wine (apt-get install wine wine64 gcc-mingw-w64-x86-64-win32)"
IN_CI = "a step of its own, dev/windows.sh"
FILES = {
    "watch/test_linux.py": "rtnetlink is Linux's; the same is tested with IP Helper",
    "watch/test_changes.py": "network namespaces are Linux's; test_windows_namespace.py does the same for Windows",
    "watch/test_logind.py": "logind is Linux's; the same is tested with power notifications",
    "watch/test_windows_namespace.py": "it starts Windows from Linux",
    "watch/test_route_*.py": "routing sockets belong to macOS and the BSDs",
    "watch/test_iokit.py": "IOKit is Apple's",
    "cli/test_iroh_command.py": "the library of the package iroh does not load under Wine 8",
    "cli/test_width.py": "it has no pseudo-terminals; what fits a width is the same text everywhere",
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
    """Leave out the tests with the marker, and elsewhere those of Windows, and say so."""
    if _WINDOWS:
        left_out = {item: str(marker.args[0]) for item in items if (marker := item.get_closest_marker(MARKER))}
    else:
        left_out = {item: IN_CI for item in items if item.get_closest_marker(OTHER_MARKER)}
        if not os.environ.get("CI"):
            for item in left_out:
                item.add_marker(pytest.mark.skip(reason=ELSEWHERE))
            return
    _left_out.update(left_out.values())
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def summary() -> list[str]:
    """What was left out, one line per reason."""
    where = "not on Windows" if _WINDOWS else "on Windows only"
    return [f"{where} ({count}): {reason}" for reason, count in sorted(_left_out.items())]
