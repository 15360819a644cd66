"""A process that Wine 8 could not start is started again.

A busy Wine now and then loses a new process before it has begun: ``CreateProcess`` fails with an internal error, which
Windows never tells there, and nothing of the process has run. It is no fault of what is tested.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import tenacity

INTERNAL_ERROR = 1359
"""``ERROR_INTERNAL_ERROR`` of Windows."""
ATTEMPTS = 5
P = ParamSpec("P")
T = TypeVar("T")


def started_again(start: Callable[P, T]) -> Callable[P, T]:
    """Make ``start`` try again when Wine lost the process; any other error, and the fifth of these, is raised."""
    return tenacity.retry(
        retry=tenacity.retry_if_exception(lambda error: getattr(error, "winerror", 0) == INTERNAL_ERROR),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        reraise=True,
    )(start)


def install() -> None:
    """Have all that this process starts through ``subprocess`` started again; elsewhere than on Windows do nothing."""
    if sys.platform == "win32":
        winapi = importlib.import_module("_winapi")
        winapi.CreateProcess = started_again(winapi.CreateProcess)
