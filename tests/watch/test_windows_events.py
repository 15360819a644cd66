"""The sources of Windows in a real Windows Python: native threads call them, and the system's own tables are read."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import time
from contextlib import aclosing
from ctypes import c_void_p
from typing import Any

import pytest
from gossipcontrol.system.windows import library
from gossipcontrol.watch import windows_layout as layout
from gossipcontrol.watch.change import ChangeKind
from gossipcontrol.watch.fingerprint import take_fingerprint
from gossipcontrol.watch.scope import Filter
from gossipcontrol.watch.watcher import make_watcher
from gossipcontrol.watch.windows import NOTIFICATIONS, IpHelper, IpHelperSource
from gossipcontrol.watch.windows_power import SuspendSource

from tests.kit.until import DEADLINE, until
from tests.watch.windows_rows import address, luid, route

VARIABLE = "GOSSIPCONTROL_WINDOWS_EVENTS"
pytestmark = pytest.mark.only_on_windows


class Events:
    """The library that plays Windows' notifications, see tests/kit/windows_events.c."""

    def __init__(self) -> None:
        self.library: Any = library(os.environ[VARIABLE])
        self.library.fire_change.restype = self.library.fire_power.restype = c_void_p

    def change(self, table: layout.Layout, row: bytes, kind: int, times: int = 1) -> Any:
        number = [one for _, one in NOTIFICATIONS].index(table)
        return c_void_p(self.library.fire_change(number, row, len(row), kind, times))

    def power(self, kind: int) -> Any:
        return c_void_p(self.library.fire_power(kind))

    def ended(self, thread: Any, within: float) -> bool:
        return bool(self.library.ended(thread, int(within * 1000)))

    @property
    def registered(self) -> int:
        return int(self.library.registered())


@pytest.fixture
def events() -> Events:
    return Events()


async def test_native_threads_wake_the_loop_and_no_call_is_lost(events: Events) -> None:
    helper = IpHelper(notifications=events.library)
    async with asyncio.timeout(DEADLINE), aclosing(IpHelperSource(helper=helper).watch()) as states:
        first = await anext(states)
        index, losses = first.links[0].index, 0
        ours = int.from_bytes(helper.tables().links[:8], "little")
        gone = layout.ADDRESS.pack(address=address(1, "10.0.0.2")[:28], luid=ours, index=index)
        threads = [events.change(layout.ADDRESS, gone, layout.DELETE, 100) for _ in range(3)]
        threads.append(events.change(layout.ROUTE, route(9, "0.0.0.0/0", "10.0.0.1"), layout.DELETE, 3))
        while losses < 300:
            losses = (await anext(states)).links[0].losses
        assert losses == 300, "the route's interface is another one"
        assert luid(9) != ours
        assert events.registered == 3
        assert all(events.ended(one, DEADLINE) for one in threads)
    assert events.registered == 0


async def test_sleep_is_announced_from_the_thread_of_the_power_manager(events: Events) -> None:
    async with asyncio.timeout(DEADLINE), aclosing(SuspendSource(events.library).watch()) as changes:
        first = asyncio.ensure_future(anext(changes))
        await until(lambda: events.registered == 1, "registered")
        began_at = time.monotonic()
        thread = events.power(layout.PBT_APMSUSPEND)
        assert await first is ChangeKind.SLEEPING
        assert not events.ended(thread, 0), "it is held back until the sleep is announced"
        assert await asyncio.to_thread(events.ended, thread, 2.0), "but not for longer than Windows waits"
        assert 0.9 < time.monotonic() - began_at < 2.0
        for kind in (layout.PBT_APMRESUMEAUTOMATIC, layout.PBT_APMRESUMESUSPEND):
            assert await asyncio.to_thread(events.ended, events.power(kind), DEADLINE)
        assert await anext(changes) is ChangeKind.RESUMED
    assert events.registered == 0


async def test_the_systems_own_libraries_are_used_and_show_this_host() -> None:
    async with asyncio.timeout(DEADLINE), aclosing(IpHelperSource().watch()) as states:
        snapshot = await anext(states)
    assert any(link.loopback for link in snapshot.links)
    assert "127.0.0.1" in [one.address for one in snapshot.addresses]
    take_fingerprint(snapshot, Filter.default())


async def test_the_watcher_of_this_system_is_made_of_them(tmp_path: Any) -> None:
    started: list[str] = []
    watcher = make_watcher(state=tmp_path / "generation.json")

    async def follow() -> None:
        async for _ in watcher.changes(on_start=lambda source, first: started.append(source)):
            pass

    following = asyncio.create_task(follow())
    await until(lambda: bool(started), "it has started")
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert started == ["iphlpapi"]


def test_layouts_are_those_of_this_interpreter() -> None:
    assert sys.platform == "win32"
    assert ctypes.sizeof(ctypes.c_long) == 4, "the layouts must not use it"
