"""What holds for all tests."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from gossipcontrol.system import windows
from hypothesis import HealthCheck, settings

from tests.kit import not_on_windows, wine
from tests.kit.waiting_first import waiting_first

# How long an example takes, and how long it takes to make one, says more about the machine than about the code.
settings.register_profile("gossipcontrol", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gossipcontrol")

# A shell starts jobs in the background with SIGINT ignored, which the programs under test would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


YOUNG = 20_000
"""Objects after which Python looks for garbage among the new ones; by itself it does so after 700."""


@pytest.fixture
def host_sleeps(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Have this host sleep for so many seconds: BOOTTIME goes on meanwhile, MONOTONIC and every timer do not."""
    slept = 0.0

    def sleep(seconds: float) -> None:
        nonlocal slept
        slept += seconds

    if sys.platform == "win32":
        boottime = windows.boottime
        monkeypatch.setattr(windows, "boottime", lambda: boottime() + slept)
    elif sys.platform == "linux":
        read = time.clock_gettime

        def clock_gettime(clock: int) -> float:
            return read(clock) + (slept if clock == time.CLOCK_BOOTTIME else 0.0)

        monkeypatch.setattr(time, "clock_gettime", clock_gettime)
    return sleep


def seconds_waited(item: pytest.Item) -> float:
    """Return what its marker `waits` says."""
    marker = item.get_closest_marker("waits")
    return marker.args[0] if marker else 0.0


LEFT_OUT = {"clients": "the clients of other languages: make clients builds them and runs them against the service"}
"""Markers of tests that run only with a target of their own, and what it does."""
WANTED = os.environ.get("GOSSIPCONTROL_TESTS", "")
"""The marker whose tests are wanted now; empty: those without any of them."""


ACCEPTED_LATE = (
    "ignore:Exception ignored in. <function _ProactorBasePipeTransport.__del__:pytest.PytestUnraisableExceptionWarning",
    "ignore:Exception ignored in. <socket.socket .*type=1, proto=0:pytest.PytestUnraisableExceptionWarning",
)
"""On Windows asyncio loses a connection that is accepted while its server closes, and nobody can close it then."""


def pytest_configure(config: pytest.Config) -> None:
    """Bear what asyncio on Windows leaves behind; only sockets that were accepted have no protocol there."""
    wine.install()
    if sys.platform == "win32":
        for one in ACCEPTED_LATE:
            config.addinivalue_line("filterwarnings", one)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out what cannot be imported on this system."""
    return True if not_on_windows.ignores(collection_path) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for garbage neither while the tests are collected, nor ever after in what was made then, and seldom at all.

    All that is made then lives until the end, and each worker makes 600,000 objects of it: to look through them took
    two fifths of the time of collecting, and a fifth of that of tests that make many objects.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()
        gc.set_threshold(YOUNG, 20, 20)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what has a target of its own, and start the tests that wait for real timeouts first, side by side."""
    not_on_windows.deselect(config, items)
    out = [item for item in items if any(item.get_closest_marker(name) for name in LEFT_OUT if name != WANTED)]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items[:] = waiting_first(items, seconds_waited, workers)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out. In CI nothing may be skipped: `.ci/run` installs what every test needs."""
    for line in not_on_windows.summary():
        terminalreporter.write_line(line)
    if not WANTED:
        for what in LEFT_OUT.values():
            terminalreporter.write_line(f"left out: {what}")
    if os.environ.get("CI") and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("skipped tests are failures in CI: see above what they need", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run for skips in CI."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and isinstance(reporter, pytest.TerminalReporter) and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
