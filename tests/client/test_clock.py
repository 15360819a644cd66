"""The clock of ages on every system."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pytest
from gossipcontrol.client.clock import boottime

BOOTTIME, MONOTONIC_RAW, OTHER = 3000.0, 2000.0, 1000.0


def test_it_goes_on_during_sleep(host_sleeps: Callable[[float], None]) -> None:
    before = boottime()
    host_sleeps(3600)
    assert boottime() - before > 3599.9, "on Windows it goes by ticks of 16 ms"


@pytest.mark.not_on_windows("its clock is always read through kernel32")
@pytest.mark.parametrize(("platform", "read"), [("darwin", MONOTONIC_RAW), ("win32", OTHER), ("freebsd14", OTHER)])
def test_without_boottime_it_is_the_clock_that_goes_on_where_there_is_one(
    platform: str, read: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME")
    monkeypatch.setattr(time, "clock_gettime", {time.CLOCK_MONOTONIC_RAW: MONOTONIC_RAW}.__getitem__)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr("gossipcontrol.system.boot.time.monotonic", lambda: OTHER)
    assert boottime() == read
